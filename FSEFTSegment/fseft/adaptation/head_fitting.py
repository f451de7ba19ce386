"""The head's start for novel structures: a logistic regression on sampled voxels, convex and solved in seconds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fseft.adaptation.support import SupportCase
from fseft.adapters.head import LinearHead

VOXELS_PER_CASE = 6000
RIDGE = 1e-3


def fit_head(
    head: LinearHead,
    cases: Sequence[SupportCase],
    rows: Sequence[int],
    generator: np.random.Generator,
) -> None:
    """Fit one-against-rest logistic regressions for some structures and write them into the head.

    Foreground and background are sampled in equal parts and the bias is corrected for it afterwards, so that the
    fitted scores are calibrated for the true, far rarer foreground.

    Args:
        head: changed in place; one row per structure, after the background row when there are several.
        cases: the support set.
        rows: structures (0-based) to fit; others stay.
        generator: source of randomness.
    """
    offset = 0 if head.outputs == 1 else 1
    for structure in rows:
        drawn = [_sample(case, structure, generator) for case in cases if case.known[structure]]
        sampled = [part for part in drawn if part is not None]
        if not sampled:
            continue
        features = torch.cat([s[0] for s in sampled])
        targets = torch.cat([s[1] for s in sampled])
        prior = float(np.mean([s[2] for s in sampled]))
        weight, bias = logistic_regression(features, targets)
        bias = bias + float(np.log(prior / (1 - prior)))
        _write_row(head, structure + offset, weight, bias)


def _sample(case: SupportCase, structure: int, generator: np.random.Generator) -> tuple[Tensor, Tensor, float] | None:
    """Balanced features, targets and the log-odds-relevant foreground share of one case."""
    foreground = case.foreground[structure]
    if foreground.size == 0:
        return None
    others = np.concatenate([f for i, f in enumerate(case.foreground) if i != structure] or [np.empty(0, np.int64)])
    half = VOXELS_PER_CASE // 2
    positive = generator.choice(foreground, min(half, foreground.size), replace=False)
    parts = [generator.choice(case.background, min(half, case.background.size), replace=False)]
    if others.size:
        parts.append(generator.choice(others, min(half // 4, others.size), replace=False))
    negative = np.concatenate(parts)
    index = np.concatenate([positive, negative])
    points = np.stack(np.unravel_index(index, case.labels.shape), axis=1)
    targets = torch.cat([torch.ones(positive.size), torch.zeros(negative.size)])
    return case.features.at_points(points), targets, _share_near(foreground.size)


def _share_near(foreground: int) -> float:
    """Foreground share to calibrate for: that of a box around the structure, not of the whole body, since errors
    far away are what training on crops removes."""
    return 0.15 if foreground else 0.5


def logistic_regression(features: Tensor, targets: Tensor, iterations: int = 60) -> tuple[Tensor, float]:
    """Ridge logistic regression with balanced classes, by L-BFGS on standardised features.

    Args:
        features: (n, channels).
        targets: (n,) 0 or 1.
        iterations: L-BFGS iterations at most.

    Returns:
        (channels,) weights and the bias for the features as they came.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-4)
    standardised = (features - mean) / deviation
    weight = torch.zeros(features.shape[1] + 1, requires_grad=True)
    positive = targets.sum().clamp_min(1)
    balance = torch.where(targets > 0, 0.5 / positive, 0.5 / (len(targets) - positive).clamp_min(1))
    optimiser = torch.optim.LBFGS([weight], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = standardised @ weight[:-1] + weight[-1]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        total = (losses * balance).sum() + RIDGE * weight[:-1].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    solution = weight.detach()
    unscaled = solution[:-1] / deviation
    return unscaled, float(solution[-1] - (unscaled * mean).sum())


@torch.no_grad()
def _write_row(head: LinearHead, row: int, weight: Tensor, bias: float) -> None:
    begin = 0
    for level in head.weights:
        channels = level.shape[1]
        level[row] = weight[begin : begin + channels].reshape(channels, 1, 1, 1)
        begin += channels
    head.bias[row] = bias

"""The head's start: a logistic regression on sampled voxels, convex and solved in seconds.

A structure that the backbone was pretrained on is pulled towards its pretrained row instead of towards zero, so a
good zero-shot head stays what it is and a poor one gives way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from fseft.adaptation.support import SupportCase
from fseft.adapters.head import LinearHead

VOXELS_PER_CASE = 6000
RIDGE = 1e-3
#: Foreground share that the scores are calibrated for: about that of a box around the structure. Errors far from
#: it are what training on crops removes.
FOREGROUND_SHARE = 0.15


def fit_head(
    head: LinearHead,
    cases: Sequence[SupportCase],
    base: Sequence[bool],
    generator: np.random.Generator,
    wanted: Sequence[bool] | None = None,
) -> None:
    """Fit one-against-rest logistic regressions and write them into the head.

    Args:
        head: changed in place; one row per structure, after the background row when there are several.
        cases: the support set.
        base: per structure, whether its row holds a pretrained start to stay close to.
        generator: source of randomness.
        wanted: per structure, whether to fit its row; by default all.
    """
    offset = 0 if head.outputs == 1 else 1
    for structure, pretrained in enumerate(base):
        if wanted is not None and not wanted[structure]:
            continue
        drawn = [_sample(case, structure, generator) for case in cases if case.known[structure]]
        sampled = [part for part in drawn if part is not None]
        if not sampled:
            continue
        features = torch.cat([part[0] for part in sampled])
        targets = torch.cat([part[1] for part in sampled])
        row = structure + offset
        start = _read_row(head, row) if pretrained else None
        _write_row(head, row, *logistic_regression(features, targets, start))


def _sample(case: SupportCase, structure: int, generator: np.random.Generator) -> tuple[Tensor, Tensor] | None:
    """Features and targets of one case, about half of them foreground; None where the structure is absent."""
    foreground = case.foreground[structure]
    if foreground.size == 0:
        return None
    half = VOXELS_PER_CASE // 2
    others = np.concatenate([np.empty(0, np.int64), *(f for i, f in enumerate(case.foreground) if i != structure)])
    parts = [generator.choice(foreground, min(half, foreground.size), replace=False)]
    for pool, count in ((case.background, half), (others, half // 4)):
        if pool.size:
            parts.append(generator.choice(pool, min(count, pool.size), replace=False))
    index = np.concatenate(parts)
    points = np.stack(np.unravel_index(index, case.labels.shape), axis=1)
    targets = torch.zeros(index.size)
    targets[: parts[0].size] = 1.0
    return case.features.at_points(points), targets


def logistic_regression(
    features: Tensor, targets: Tensor, start: tuple[Tensor, float] | None = None, iterations: int = 60
) -> tuple[Tensor, float]:
    """Ridge logistic regression by L-BFGS on standardised features, classes weighted to the calibrated share.

    Args:
        features: (n, channels).
        targets: (n,) 0 or 1.
        start: weights and bias to stay close to; zero without.
        iterations: L-BFGS iterations at most.

    Returns:
        (channels,) weights and the bias for the features as they came.
    """
    mean, deviation = features.mean(dim=0), features.std(dim=0).clamp_min(1e-4)
    standardised = (features - mean) / deviation
    centre = torch.zeros(features.shape[1] + 1)
    if start is not None:
        centre[:-1] = start[0] * deviation
        centre[-1] = start[1] + float((start[0] * mean).sum())
    solution = centre.clone().requires_grad_(True)
    positive = targets.sum().clamp_min(1)
    negative = (len(targets) - positive).clamp_min(1)
    weights = torch.where(targets > 0, FOREGROUND_SHARE / positive, (1 - FOREGROUND_SHARE) / negative)
    optimiser = torch.optim.LBFGS([solution], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = standardised @ solution[:-1] + solution[-1]
        losses = torch.nn.functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        total = (losses * weights).sum() + RIDGE * (solution - centre)[:-1].square().sum()
        total.backward()
        return total

    optimiser.step(closure)
    fitted = solution.detach()
    unscaled = fitted[:-1] / deviation
    return unscaled, float(fitted[-1] - (unscaled * mean).sum())


def _read_row(head: LinearHead, row: int) -> tuple[Tensor, float]:
    weight = torch.cat([level[row].detach().flatten() for level in head.weights])
    return weight, float(head.bias[row].detach())


@torch.no_grad()
def _write_row(head: LinearHead, row: int, weight: Tensor, bias: float) -> None:
    begin = 0
    for level in head.weights:
        channels = level.shape[1]
        level[row] = weight[begin : begin + channels].reshape(channels, 1, 1, 1)
        begin += channels
    head.bias[row] = bias

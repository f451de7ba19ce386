"""Moves a head as little as brings the structures' volumes into their range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fseft.transduction.penalty import size_penalty
from fseft.transduction.region import RegionFeatures

STEPS = 80
LOGIT_STEP = 0.15  # by how much a step may move a voxel's score, if all its features pull together
SHARPNESS = 4.0  # of the soft indicator; the published sum of probabilities also counts faint ones far away
INSIDE = 0.02  # the goal lies this share of a bound inside of it, so that rounding does not undo it
KEEP = 1.0  # weight of what the model is already sure of
SMALL = 1e-3  # weight of the squared change
SURE = 0.9  # probability from which a voxel should stay what it is

#: Loss of the head on annotated scans: takes weights per level (outputs, channels) and bias (outputs,).
SupportLoss = Callable[[list[Tensor], Tensor], Tensor]


@dataclass(frozen=True)
class HeadChange:
    """A changed head.

    Attributes:
        weights: (outputs, channels) per level.
        bias: (outputs,).
        steps: taken.
        volumes: (rows,) voxels of the region that each changed structure has now, by arg max.
        lost: (rows,) share of the voxels it was sure of that each structure has lost.
        gained: (rows,) share of its new voxels that something else was sure of.
    """

    weights: list[Tensor]
    bias: Tensor
    steps: int
    volumes: Tensor
    lost: Tensor
    gained: Tensor


def optimise_head(
    region: RegionFeatures,
    weights: Sequence[Tensor],
    bias: Tensor,
    rows: Sequence[int],
    low: Tensor,
    high: Tensor,
    expected: Tensor,
    support_loss: SupportLoss | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> HeadChange:
    """Gradient steps on the rows of a few structures until their volumes are in range.

    The loss is the size penalty, the divergence from what the model was sure of, a small weight decay towards the old
    head and, where annotated scans are at hand, the training loss there.

    Args:
        region: refined features.
        weights: (outputs, channels) of the head per level, finest first.
        bias: (outputs,).
        rows: outputs that may change.
        low, high, expected: (rows,) volumes in voxels of the region.
        support_loss: see :data:`SupportLoss`.
        check_cancelled: called at every step.
    """
    rows = list(rows)
    scales = [_spread(level) for level in region.levels]
    change = [torch.zeros(len(rows), weight.shape[1], requires_grad=True) for weight in weights]
    shift = torch.zeros(len(rows), requires_grad=True)
    channels = sum(weight.shape[1] for weight in weights)
    optimiser = torch.optim.Adam(
        [{"params": change, "lr": LOGIT_STEP / channels}, {"params": [shift], "lr": LOGIT_STEP / 2}]
    )
    before = region.logits
    sure = _Sure(before, rows, region.body)
    steps = 0
    for _ in range(STEPS):
        check_cancelled()
        scaled = [delta / scale for delta, scale in zip(change, scales, strict=True)]
        logits = _changed(before, rows, region.scores(scaled, shift))
        margins = _margins(logits, rows)
        if _inside(margins, region.body, low, high):
            break
        soft = (SHARPNESS * margins).sigmoid().mul(region.body).flatten(1).sum(dim=1)
        loss = size_penalty(soft, low * (1 + INSIDE), high * (1 - INSIDE), expected).sum()
        loss = loss + KEEP * sure.divergence(logits)
        loss = loss + SMALL * (sum(delta.square().sum() for delta in change) + shift.square().sum())
        if support_loss is not None:
            loss = loss + support_loss(*_head(weights, bias, rows, scaled, shift))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        steps += 1
    with torch.no_grad():
        scaled = [delta / scale for delta, scale in zip(change, scales, strict=True)]
        logits = _changed(before, rows, region.scores(scaled, shift))
        now = (_margins(logits, rows) > 0) & region.body
        new_weights, new_bias = _head(weights, bias, rows, scaled, shift)
        lost, gained = sure.lost(now), sure.gained(now)
        return HeadChange([w.detach() for w in new_weights], new_bias.detach(), steps, _count(now), lost, gained)


class _Sure:
    """Voxels that the unchanged head is sure of."""

    def __init__(self, logits: Tensor, rows: list[int], body: Tensor) -> None:
        single = logits.shape[0] == 1
        scores = torch.cat([torch.zeros_like(logits), logits]) if single else logits
        self._rows = [row + 1 for row in rows] if single else rows
        probability, label = scores.softmax(dim=0).max(dim=0)
        self._single = single
        self._sure = (probability > SURE) & body
        self._label = label
        self._before = torch.stack([label == row for row in self._rows]) & body
        self._groups = [self._sure & (label == value) for value in range(scores.shape[0])]
        self._groups = [group for group in self._groups if bool(group.any())]

    def divergence(self, logits: Tensor) -> Tensor:
        """Mean over labels of the cross-entropy at the voxels that were surely this label."""
        scores = torch.cat([torch.zeros_like(logits), logits]) if self._single else logits
        surprise = functional.cross_entropy(scores[None], self._label[None], reduction="none")[0]
        if not self._groups:
            return surprise.sum() * 0.0
        return torch.stack([surprise[group].mean() for group in self._groups]).mean()

    def lost(self, now: Tensor) -> Tensor:
        """(rows,) share of each structure's sure voxels that it no longer has."""
        sure = self._before & self._sure
        return _count(sure & ~now) / _count(sure).clamp_min(1.0)

    def gained(self, now: Tensor) -> Tensor:
        """(rows,) share of each structure's new voxels that were surely something else."""
        new = now & ~self._before
        return _count(new & self._sure) / _count(new).clamp_min(1.0)


def _spread(level: Tensor) -> Tensor:
    """(channels,) standard deviation over the region."""
    return level.flatten(2).std(dim=2)[0].clamp_min(1e-3)


def _count(mask: Tensor) -> Tensor:
    return mask.flatten(1).sum(dim=1).float()


def _changed(before: Tensor, rows: list[int], addition: Tensor) -> Tensor:
    return before.index_add(0, torch.tensor(rows), addition)


def _margins(logits: Tensor, rows: list[int]) -> Tensor:
    """(rows, x, y, z) by how much each row beats the best other output; positive where it wins."""
    if logits.shape[0] == 1:
        return logits
    margins = []
    for row in rows:
        others = [value for value in range(logits.shape[0]) if value != row]
        margins.append(logits[row] - logits[others].amax(dim=0))
    return torch.stack(margins)


def _inside(margins: Tensor, body: Tensor, low: Tensor, high: Tensor) -> bool:
    volumes = _count((margins.detach() > 0) & body)
    return bool(((volumes >= low) & (volumes <= high)).all())


def _head(
    weights: Sequence[Tensor], bias: Tensor, rows: list[int], change: Sequence[Tensor], shift: Tensor
) -> tuple[list[Tensor], Tensor]:
    index = torch.tensor(rows)
    return [w.index_add(0, index, c) for w, c in zip(weights, change, strict=True)], bias.index_add(0, index, shift)

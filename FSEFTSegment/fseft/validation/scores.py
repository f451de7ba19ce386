"""How well held-out annotations are met, per structure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fseft.adaptation.support import SupportCase
from fseft.evaluation.metrics import structure_metrics

TOLERANCE_MM = 2.0  # of the surface Dice


@dataclass(frozen=True)
class HeldOutScore:
    """One structure in one held-out case.

    Attributes:
        dice: 0..1; 0 for a structure that is predicted but not there, nan when it is neither.
        surface_dice: at 2 mm; nan with sparse annotations and slabs, whose cuts are no surfaces.
        volume_error_ml: absolute; nan in the same cases.
    """

    dice: float
    surface_dice: float
    volume_error_ml: float


@dataclass(frozen=True)
class StructureScore:
    """Means and sample standard deviations over held-out cases; nan where there are none, deviations of one too.

    Attributes:
        dice, sd: Dice, 0..1.
        surface_dice, surface_sd: surface Dice at 2 mm; nan with sparse annotations and slabs.
        volume_error_ml, volume_error_sd_ml: absolute error; nan in the same cases.
        cases: held-out cases, or slabs of one case, behind the Dice.
    """

    dice: float
    sd: float
    surface_dice: float
    surface_sd: float
    volume_error_ml: float
    volume_error_sd_ml: float
    cases: int


def score_structure(
    labels: np.ndarray, case: SupportCase, position: int, number: int, spacing_mm: Sequence[float], slabs: bool
) -> HeldOutScore:
    """Score one structure where the case is annotated.

    Args:
        labels: (x, y, z) predicted.
        case: the held-out case.
        position: of the structure in the support set.
        number: its label in ``labels``.
        spacing_mm: of the network grid.
        slabs: whether only slabs of the case are held out.
    """
    found = (labels == number) & case.annotated
    true = (case.labels == position + 1) & case.annotated
    box = _box_of(found | true)
    if box is None:
        return HeldOutScore(math.nan, math.nan, math.nan)
    figures = structure_metrics(found[box], true[box], spacing_mm, TOLERANCE_MM)
    content = tuple(slice(0, axis.content) for axis in case.features.grid.axes)
    if slabs or not case.annotated[content].all():
        return HeldOutScore(figures.dice, math.nan, math.nan)
    return HeldOutScore(figures.dice, figures.surface_dice, abs(figures.volume_error_ml))


def summarise(scores: Sequence[HeldOutScore]) -> StructureScore:
    """Means and spreads."""
    dice, sd, count = _mean([score.dice for score in scores])
    surface, surface_sd, _ = _mean([score.surface_dice for score in scores])
    error, error_sd, _ = _mean([score.volume_error_ml for score in scores])
    return StructureScore(dice, sd, surface, surface_sd, error, error_sd, count)


def mean_dice(row: dict[str, StructureScore]) -> float:
    """Mean over the structures that could be scored; nan without any."""
    return _mean([score.dice for score in row.values()])[0]


def _mean(values: Sequence[float]) -> tuple[float, float, int]:
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return math.nan, math.nan, 0
    return float(np.mean(there)), float(np.std(there, ddof=1)) if len(there) > 1 else math.nan, len(there)


def _box_of(mask: np.ndarray) -> tuple[slice, slice, slice] | None:
    boxes = ndimage.find_objects(mask.astype(np.uint8))
    return boxes[0] if boxes else None

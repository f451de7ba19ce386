"""Which structures refinement touches, and within which volumes (the paper's weak points 1 and 2, corrected)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fseft.models.adapted_model import SizePrior
from fseft.priors.plausible import plausible_range
from fseft.segmentation.volumes import StructureVolume

MARGIN = 0.3  # of the paper


@dataclass(frozen=True)
class Target:
    """A structure to refine.

    Attributes:
        position: of the structure in the model.
        low_ml, high_ml: the volume that it should reach; ``low_ml`` is 0 where the scan cuts the structure.
        expected_ml: for the penalty's scale.
    """

    position: int
    low_ml: float
    high_ml: float
    expected_ml: float


@dataclass(frozen=True)
class Outcome:
    """What refinement did to one structure.

    Attributes:
        action: "none" (inside its range, or no prior), "refined", or "refused" (outside, but left alone).
        why: one plain sentence; empty for "none".
        before_ml, after_ml: volumes on the scan's grid.
        changed_ml: volume of the voxels that joined or left the structure.
        centre_index: (x, y, z) scan index of the centre of what changed, or None.
        doubt: why a person should look at the refined structure, for the report's flags; "" for no reason.
    """

    action: str
    why: str
    before_ml: float
    after_ml: float
    changed_ml: float = 0.0
    centre_index: tuple[float, float, float] | None = None
    doubt: str = ""


def acting_range(prior: SizePrior) -> tuple[float, float]:
    """The volumes (ml) outside which refinement acts.

    A structure is grown as soon as it is smaller than the published margin allows, widened for few cases. It is only
    shrunk when hardly anyone has one that large (:func:`plausible_range`): a voxel that joins raises the Dice when it
    is right more often than half the Dice so far, which voxels at the boundary are; one that leaves raises it only when
    it was right less often than that, which voxels that the model chose hardly are. A range that a person gave, or a
    preset, is taken as it is.
    """
    cases = len(prior.volumes_ml)
    if not cases:
        return prior.low_ml, prior.high_ml
    margin = MARGIN * (1.0 + 1.0 / cases)
    low = min(prior.low_ml, prior.mean_ml * (1.0 - margin), *(v * (1.0 - MARGIN / 2) for v in prior.volumes_ml))
    return max(0.0, low), plausible_range(prior)[1]


def plan(sizes: Sequence[StructureVolume], priors: Sequence[SizePrior | None]) -> tuple[list[Target], list[Outcome]]:
    """Decide per structure.

    Args:
        sizes: of the first segmentation, in the model's order.
        priors: in the same order; None where nothing is known.

    Returns:
        The targets, and an outcome for every structure (of the targets a preliminary one).
    """
    targets, outcomes = [], []
    for position, (size, prior) in enumerate(zip(sizes, priors, strict=True)):
        why, target = _decide(position, size, prior)
        if target is not None:
            targets.append(target)
        action = "refused" if why else "none"
        outcomes.append(Outcome(action, why, size.volume_ml, size.volume_ml))
    return targets, outcomes


def _decide(position: int, size: StructureVolume, prior: SizePrior | None) -> tuple[str, Target | None]:
    if prior is None:
        return "", None
    low, high = acting_range(prior)
    if size.cut_by_border:
        low = 0.0  # the scan shows a part of it only: it may be small, never too large
    if low <= size.volume_ml <= high:
        return "", None
    if size.voxels == 0:
        return "It was not found, so there is nothing to start from.", None
    expected = prior.mean_ml if math.isfinite(prior.mean_ml) and prior.mean_ml > 0 else (low + high) / 2
    return "", Target(position, low, high, expected)

"""What is learnt from and what is held out: whole cases, or with a single case every other slab of its slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fseft.adaptation.support import SupportCase

SLABS = 6  # that the annotated slices of a single case are cut into, more where a structure is shorter
LEAST_PLANES = 4  # network planes of a slab; neighbouring slices are all but copies of one another


@dataclass(frozen=True)
class Fold:
    """One training set and what it is tested on.

    Attributes:
        train: the cases to learn from.
        held_out: the case to test on; where it is not annotated nothing counts.
    """

    train: tuple[SupportCase, ...]
    held_out: SupportCase

    def can_judge(self, position: int, single: bool) -> bool:
        """Whether this fold says anything of a structure: taught, annotated, and, in slabs, there at all."""
        taught = any(case.foreground[position].size for case in self.train)
        shown = not single or self.held_out.foreground[position].size > 0
        return taught and self.held_out.known[position] and shown


def make_folds(cases: Sequence[SupportCase]) -> list[Fold]:
    """Every case held out once, or both halves of a single one; folds with nothing to learn from are left out."""
    folds = slice_folds(cases[0]) if len(cases) == 1 else case_folds(cases)
    return [fold for fold in folds if any(part.size for case in fold.train for part in case.foreground)]


def case_folds(cases: Sequence[SupportCase]) -> list[Fold]:
    """Each case against all others."""
    return [Fold(tuple(case for case in cases if case is not held_out), held_out) for held_out in cases]


def slice_folds(case: SupportCase) -> list[Fold]:
    """Every other slab along the body axis to learn from, the others to test on, and the other way round."""
    shown = case.annotated & (case.labels > 0)
    planes = np.flatnonzero(case.annotated.any(axis=(0, 1)))
    rank = np.arange(planes.size) - np.searchsorted(planes, np.flatnonzero(shown.any(axis=(0, 1)))[0])
    odd = np.zeros(case.labels.shape[2], dtype=bool)
    odd[planes] = rank // _slab_planes(case, planes) % 2 == 1
    # Views show the slices that are held out.
    whole = replace(case, views=())
    return [
        Fold((replace(whole, annotated=case.annotated & ~held),), replace(whole, annotated=case.annotated & held))
        for held in (odd, ~odd)
    ]


def _slab_planes(case: SupportCase, planes: np.ndarray) -> int:
    """Annotated planes of a slab: a sixth of what is drawn, but no more than half of the shortest structure."""
    shape = case.labels.shape
    drawn = [np.unique(part % shape[2]) for part in case.foreground if part.size]  # z is the fastest index
    together = np.unique(np.concatenate(drawn))
    extent = int(np.count_nonzero((planes >= together[0]) & (planes <= together[-1])))
    return max(LEAST_PLANES, min(-(-extent // SLABS), min(part.size for part in drawn) // 2))

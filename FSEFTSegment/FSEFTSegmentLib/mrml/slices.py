"""On how many slices an annotation is drawn, and whether it looks as if slices were left out on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from FSEFTSegmentLib.mrml.images import image_array

#: Image -> (its modification time, its profiles).
_known: dict[str, tuple[int, tuple[np.ndarray, ...]]] = {}


@dataclass(frozen=True)
class Slices:
    """Slices along one axis.

    Attributes:
        drawn: how many are drawn on.
        spread: how many there are from the first drawn one to the last.
        runs: in how many pieces without a gap.
    """

    drawn: int = 0
    spread: int = 0
    runs: int = 0

    @property
    def looks_sparse(self) -> bool:
        """Single slices with gaps between: structures that are drawn whole leave no such pattern."""
        return 0 < self.drawn <= 2 * self.runs and (self.drawn == 1 or self.spread >= 1.6 * self.drawn)


def drawn_slices(images: Sequence[Any]) -> Slices:
    """The slices of label images, along the axis that looks sparse, else along their third one.

    Args:
        images: the layers of a segmentation that hold anything.
    """
    if not images:
        return Slices()
    # Layers may differ in extent: the one that reaches furthest speaks for the axis.
    by_axis = [
        max((_count(profiles[axis]) for profiles in map(_profiles, images)), key=lambda s: s.spread)
        for axis in range(3)
    ]
    return next((slices for slices in by_axis if slices.looks_sparse), by_axis[0])


def _count(profile: np.ndarray) -> Slices:
    places = np.flatnonzero(profile)
    if not places.size:
        return Slices()
    return Slices(int(places.size), int(places[-1] - places[0] + 1), int(np.count_nonzero(np.diff(places) > 1)) + 1)


def _profiles(image: Any) -> tuple[np.ndarray, ...]:
    """For each axis (k, j, i) which slices hold anything; remembered until the image changes."""
    key, changed = image.__this__, image.GetMTime()
    known = _known.get(key)
    if known is None or known[0] != changed:
        array = image_array(image)
        # Two passes over the voxels, each along memory, are several times faster than asking axis by axis.
        over_j, over_k = np.maximum.reduce(array, axis=1), np.maximum.reduce(array, axis=0)
        if len(_known) > 100:
            _known.clear()
        known = (changed, (over_j.any(axis=1), over_k.any(axis=1), over_j.any(axis=0)))
        _known[key] = known
    return known[1]

"""Pieces of a structure far from everywhere that the annotated scans show it: something else that looks the same.

The average of adapter and carried annotations cannot reject them alone: with an adapter that is certain and a say of
one half, a piece on the other side of the body is exactly on the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

#: mm from the box of the carried annotations beyond which no difference between people explains a piece of its own.
FAR_MM = 30.0
_CONNECTED = np.ones((3, 3, 3), dtype=bool)


def without_far_pieces(
    taken: np.ndarray, known: np.ndarray, carried: np.ndarray, spacing_mm: Sequence[float]
) -> np.ndarray:
    """Remove the connected pieces that lie farther than :data:`FAR_MM` from where a structure was carried to.

    What hangs together with the rest stays, however far it reaches: a vessel goes on where annotations stop. So does
    a piece of which the annotated scans know less than half.

    Args:
        taken: (z, y, x) bool, the structure.
        known: (z, y, x) bool, voxels that at least one case knows.
        carried: (z, y, x) bool, voxels that at least one case carries the structure to.
        spacing_mm: of the axes z, y, x.

    Returns:
        (z, y, x) bool; ``taken`` itself when nothing is far.
    """
    places = ndimage.find_objects(carried.astype(np.uint8))
    if not places:
        return taken
    near = [
        slice(max(0, part.start - int(FAR_MM / step)), part.stop + int(FAR_MM / step))
        for part, step in zip(places[0], spacing_mm, strict=True)
    ]
    if np.count_nonzero(taken[tuple(near)]) == np.count_nonzero(taken):
        return taken
    box = ndimage.find_objects(taken.astype(np.uint8))[0]
    pieces, count = ndimage.label(taken[box], structure=_CONNECTED)
    is_far = np.ones(count + 1, dtype=bool)
    is_far[np.unique(pieces[_within(near, box)])] = False
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    is_far &= np.bincount(pieces[known[box]], minlength=count + 1) >= sizes / 2
    is_far[0] = False
    kept = taken.copy()
    kept[box] &= ~is_far[pieces]
    return kept


def _within(part: Sequence[slice], box: Sequence[slice]) -> tuple[slice, ...]:
    """A part of an array as seen from a box of it."""
    return tuple(
        slice(max(0, inner.start - outer.start), max(0, inner.stop - outer.start))
        for inner, outer in zip(part, box, strict=True)
    )

"""The largest connected component of each structure."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_CONNECTED = np.ones((3, 3, 3), dtype=bool)  # 26 neighbours, as published


def keep_largest(labels: np.ndarray, structures: int) -> int:
    """Remove all but the largest 26-connected component of every structure, in place.

    Args:
        labels: (z, y, x), 0 background, 1..structures.
        structures: number of structures.

    Returns:
        Voxels removed.
    """
    removed = 0
    for value, box in enumerate(ndimage.find_objects(labels, max_label=structures), start=1):
        if box is None:
            continue
        part = labels[box]
        mask = part == value
        pieces, count = ndimage.label(mask, structure=_CONNECTED)
        if count > 1:
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            lost = mask & (pieces != int(sizes.argmax()))
            removed += int(lost.sum())
            part[lost] = 0
    return removed

"""What a prediction holds of each structure: where it might be, and how sure it is."""

from __future__ import annotations

import numpy as np

from fseft.segmentation.scoring import Box

PLAUSIBLE = 0.05  # probability from which a voxel might belong to the structure
LIKELY = 0.3  # probability from which a voxel belongs to the region that refinement looks at
CONFIDENT = 0.95  # probability from which refinement may not argue


class Survey:
    """Counts over the blocks of one prediction.

    Args:
        outputs: of the adapter; 1 is one structure, more are background and structures.
    """

    def __init__(self, outputs: int) -> None:
        self._first = 0 if outputs == 1 else 1
        count = outputs - self._first
        self.plausible = np.zeros(count, dtype=np.int64)
        self.confident = np.zeros(count, dtype=np.int64)
        self.boxes: list[Box | None] = [None] * count

    def add(self, box: Box, probabilities: np.ndarray) -> None:
        """Take in one block: its network box and its (outputs, x, y, z) probabilities."""
        for position, values in enumerate(probabilities[self._first :]):
            if values.max() < PLAUSIBLE:
                continue
            self.plausible[position] += np.count_nonzero(values > PLAUSIBLE)
            self.confident[position] += np.count_nonzero(values > CONFIDENT)
            likely = values > LIKELY
            if likely.any():
                self.boxes[position] = _join(self.boxes[position], _bounds(likely, box))


def _bounds(mask: np.ndarray, box: Box) -> Box:
    """Bounds of a block's mask in the network grid."""
    bounds = []
    for axis, (begin, _) in enumerate(box):
        present = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        bounds.append((begin + int(present[0]), begin + int(present[-1]) + 1))
    return (bounds[0], bounds[1], bounds[2])


def _join(first: Box | None, second: Box) -> Box:
    if first is None:
        return second
    joined = [(min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first, second, strict=True)]
    return (joined[0], joined[1], joined[2])


def region_around(boxes: list[Box], margin: int, stride: int, shape: tuple[int, int, int]) -> Box:
    """The smallest box of whole coarse voxels around several boxes and a margin.

    Args:
        boxes: in network voxels, at least one.
        margin: network voxels added on every side.
        stride: bounds become multiples of it.
        shape: of the network grid, itself a multiple of ``stride``.
    """
    joined: Box | None = None
    for box in boxes:
        joined = _join(joined, box)
    assert joined is not None
    bounds = []
    for (begin, end), limit in zip(joined, shape, strict=True):
        low = max(0, begin - margin) // stride * stride
        high = min(limit, -(-(end + margin) // stride) * stride)
        bounds.append((low, high))
    return (bounds[0], bounds[1], bounds[2])

"""How large structures are, and whether the scan cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fseft.scan.geometry import Geometry


@dataclass(frozen=True)
class StructureVolume:
    """Size of one structure in one labelmap.

    Attributes:
        voxels: count.
        volume_ml: voxels times voxel volume, exact to the voxel.
        cut_by_border: touches the first or last voxel of an axis of the scan.
        pieces: connected components of at least 1 % of the structure's voxels.
        box: (z, y, x) bounds, start and stop, or None when empty.
    """

    voxels: int
    volume_ml: float
    cut_by_border: bool
    pieces: int
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None

    @property
    def centre(self) -> tuple[float, float, float] | None:
        """Centre of the bounding box, (x, y, z) index."""
        if self.box is None:
            return None
        z, y, x = ((low + high - 1) / 2 for low, high in self.box)
        return (x, y, z)


def measure(labels: np.ndarray, values: Sequence[int], geometry: Geometry) -> list[StructureVolume]:
    """Measure the structures of a labelmap.

    Args:
        labels: (z, y, x).
        values: label value of each structure.
        geometry: the labelmap's grid.
    """
    boxes = ndimage.find_objects(labels, max_label=max(values, default=0))
    return [_measure_one(labels, value, boxes[value - 1], geometry) for value in values]


def _measure_one(
    labels: np.ndarray, value: int, box: tuple[slice, slice, slice] | None, geometry: Geometry
) -> StructureVolume:
    if box is None:
        return StructureVolume(0, 0.0, False, 0, None)
    mask = labels[box] == value
    voxels = int(mask.sum())
    bounds = tuple((int(s.start), int(s.stop)) for s in box)
    cut = any(low == 0 or high == size for (low, high), size in zip(bounds, labels.shape, strict=True))
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    if count > 1:
        sizes = np.bincount(pieces.ravel())[1:]
        count = int((sizes >= max(2, 0.01 * voxels)).sum())
    return StructureVolume(voxels, voxels * geometry.voxel_volume_ml, cut, max(1, count), bounds)  # type: ignore[arg-type]

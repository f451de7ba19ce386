"""How large structures are, and whether the scan cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from fseft.scan.geometry import Geometry

#: The share of a structure's voxels that a piece needs to count as the structure itself.
CONSIDERABLE = 0.1
_COUNTED = 0.01


@dataclass(frozen=True)
class StructureVolume:
    """Size of one structure in one labelmap.

    Attributes:
        voxels: count.
        volume_ml: voxels times voxel volume, exact to the voxel.
        cut_by_border: a considerable piece of it (:data:`CONSIDERABLE`) touches the first or last voxel of an axis of
            the scan; a stray fragment there does not make a whole organ a cut one.
        pieces: connected components of at least 1 % of the structure's voxels.
        box: (z, y, x) bounds, start and stop, or None when empty.
        apart_mm: how far the farthest of the other pieces lies from the largest one, surface to surface.
    """

    voxels: int
    volume_ml: float
    cut_by_border: bool
    pieces: int
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None
    apart_mm: float = 0.0

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
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3), dtype=bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    considerable = sizes >= CONSIDERABLE * voxels
    cut = any(
        bool(considerable[pieces.take(end, axis=axis)].any())
        for axis in range(3)
        for end, outermost in ((0, 0), (-1, labels.shape[axis]))
        if bounds[axis][end] == outermost
    )
    counted = np.flatnonzero(sizes >= max(2, _COUNTED * voxels)) if count > 1 else np.array([1])
    apart = _apart_mm(pieces, counted, int(sizes.argmax()), geometry)
    return StructureVolume(
        voxels, voxels * geometry.voxel_volume_ml, cut, max(1, len(counted)), bounds, apart  # type: ignore[arg-type]
    )  # fmt: skip


def _apart_mm(pieces: np.ndarray, counted: np.ndarray, largest: int, geometry: Geometry) -> float:
    """The gap between the largest piece and the farthest of the other counted ones; 0 for a single piece."""
    others = [int(piece) for piece in counted if piece != largest]
    if not others:
        return 0.0
    # Pieces never touch, so that one erosion finds the surfaces of all.
    surface = np.argwhere((pieces > 0) & ~ndimage.binary_erosion(pieces > 0))
    owners, points = pieces[tuple(surface.T)], surface * np.asarray(geometry.spacing)[::-1]  # z, y, x as the pieces are
    tree = cKDTree(points[owners == largest])
    return float(max(tree.query(points[owners == piece])[0].min() for piece in others))

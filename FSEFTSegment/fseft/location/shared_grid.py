"""Two scans on one grid around what both of them show, so that only their differences there are left to explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from fseft.location.affine import Affine
from fseft.location.coarse import WORLD_AXES, CoarseScan
from fseft.scan.geometry import Geometry

#: Coarse voxels around what both scans show.
MARGIN = 4


@dataclass(frozen=True)
class SharedGrid:
    """A query and a support scan, the latter moved by an affine.

    Attributes:
        fixed: (z, y, x) float32, the query's values; the support's where the query shows nothing.
        moved: (z, y, x) float32, the support's values; the query's where the support shows nothing.
        both: (z, y, x) bool, the query's body voxels that both scans show.
        geometry: the grid, the query's own voxels or their continuation.
    """

    fixed: np.ndarray
    moved: np.ndarray
    both: np.ndarray
    geometry: Geometry


def share_grid(query: CoarseScan, support: CoarseScan, affine: Affine) -> SharedGrid:
    """Bring the support scan to the part of the query's grid that both show, with a margin."""
    transform = affine.transform()
    shown = support.geometry.image_of(support.inside.astype(np.uint8))

    def support_shows(grid: Geometry) -> np.ndarray:
        reference = grid.image_of(np.zeros(grid.array_shape, dtype=np.uint8))
        return sitk.GetArrayFromImage(sitk.Resample(shown, reference, transform, sitk.sitkNearestNeighbor, 0)) > 0

    around = _around(query, support_shows(query.geometry) & query.body)
    reference = around.geometry.image_of(around.values)
    values = sitk.Resample(support.geometry.image_of(support.values), reference, transform, sitk.sitkLinear, 0.0)
    there = support_shows(around.geometry)
    moved = np.where(there, sitk.GetArrayFromImage(values), around.values).astype(np.float32)
    fixed = np.where(around.inside, around.values, moved)
    return SharedGrid(fixed, moved, there & around.inside & around.body, around.geometry)


def _around(scan: CoarseScan, region: np.ndarray) -> CoarseScan:
    """The part of a scan around a region, :data:`MARGIN` voxels more on every side, beyond the scan if need be."""
    spots = np.argwhere(region) if region.any() else np.argwhere(np.ones_like(region))
    low, high = spots.min(axis=0) - MARGIN, spots.max(axis=0) + MARGIN + 1
    before = np.maximum(0, -low)
    after = np.maximum(0, high - np.asarray(region.shape))
    box = tuple(slice(int(a + b), int(z + b)) for a, z, b in zip(low, high, before, strict=True))
    widths = [(int(b), int(a)) for b, a in zip(before, after, strict=True)]
    values, inside, body = (np.pad(array, widths)[box] for array in (scan.values, scan.inside, scan.body))
    origin = np.asarray(scan.geometry.origin) + low[::-1] * scan.spacing_mm
    nz, ny, nx = values.shape
    place = (float(origin[0]), float(origin[1]), float(origin[2]))
    return CoarseScan(values, inside, body, Geometry((nx, ny, nz), scan.geometry.spacing, place, WORLD_AXES))

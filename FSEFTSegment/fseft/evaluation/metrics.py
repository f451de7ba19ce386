"""How well one structure's prediction matches its reference, on the scan's own grid.

Conventions, the same in every table:

* both empty: there is nothing to find and nothing was found; every figure is nan and left out of means;
* one empty: Dice and surface Dice are 0, the distance is infinite;
* a structure's surface is its voxels with a face on the outside, the border of the scan included, as MONAI counts it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

#: Distances within this relative error of the tolerance count as within: 2 * 0.7 mm is not exactly 1.4 mm.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class StructureMetrics:
    """Figures of one structure in one case.

    Attributes:
        dice: 0..1.
        surface_dice: share of both surfaces that lies within the tolerance of the other, 0..1.
        hd95_mm: the larger of the two directed 95th percentiles of surface distance.
        reference_ml, predicted_ml: volumes.
        volume_error_ml: predicted minus reference.
        volume_error_percent: of the reference's volume; infinite when that is empty.
    """

    dice: float
    surface_dice: float
    hd95_mm: float
    reference_ml: float
    predicted_ml: float
    volume_error_ml: float
    volume_error_percent: float


def structure_metrics(
    prediction: np.ndarray, reference: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float = 2.0
) -> StructureMetrics:
    """Compare two masks.

    Distances run between surface voxels through a search tree. MONAI's functions give the same figures but hold
    distance maps of the whole volume for every structure; the surfaces alone are some thousand times smaller.

    Args:
        prediction: (z, y, x) bool.
        reference: (z, y, x) bool on the same grid.
        spacing_mm: along z, y, x.
        tolerance_mm: of the surface Dice.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    predicted, expected = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    predicted_ml, reference_ml = predicted * voxel_ml, expected * voxel_ml
    if not predicted and not expected:
        nan = math.nan
        return StructureMetrics(nan, nan, nan, 0.0, 0.0, nan, nan)
    error_ml = predicted_ml - reference_ml
    percent = 100.0 * error_ml / reference_ml if expected else math.inf
    if not predicted or not expected:
        return StructureMetrics(0.0, 0.0, math.inf, reference_ml, predicted_ml, error_ml, percent)
    dice = 2.0 * int(np.count_nonzero(prediction & reference)) / (predicted + expected)
    surface_dice, hd95 = surface_figures(prediction, reference, spacing_mm, tolerance_mm)
    return StructureMetrics(dice, surface_dice, hd95, reference_ml, predicted_ml, error_ml, percent)


def surface_figures(
    first: np.ndarray, second: np.ndarray, spacing_mm: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """Surface Dice at a tolerance, and the 95th percentile Hausdorff distance in mm, of two masks with voxels."""
    points = [surface_points(mask, spacing_mm) for mask in (first, second)]
    distances = [cKDTree(points[1]).query(points[0])[0], cKDTree(points[0]).query(points[1])[0]]
    limit = tolerance_mm * (1 + _ROUNDING)
    near = sum(int(np.count_nonzero(d <= limit)) for d in distances)
    hd95 = max(float(np.percentile(d, 95)) for d in distances)
    return near / (len(points[0]) + len(points[1])), hd95


def surface_points(mask: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """(N, 3) positions in mm along z, y, x of a mask's surface voxels."""
    inside = np.argwhere(mask)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    box = mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    surface = box & ~binary_erosion(box)
    points: np.ndarray = (np.argwhere(surface) + low) * np.asarray(spacing_mm, dtype=np.float64)
    return points

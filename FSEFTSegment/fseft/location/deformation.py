"""From an affine to a smooth deformation: diffeomorphic demons on the voxels that both scans show."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk

from fseft.compute import use_threads
from fseft.errors import Cancelled
from fseft.location.affine import Affine, correlation
from fseft.location.coarse import WORLD_AXES, CoarseScan, coarser
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry

#: (block of voxels per axis, iterations): at twice the coarse spacing, then at it.
LEVELS = ((2, 80), (1, 25))
#: Standard deviation in voxels of the Gaussian that smooths the whole field after every iteration.
FIELD_SIGMA = 1.5
#: The same for each update.
UPDATE_SIGMA = 0.5
#: Coarse voxels around what both scans show.
MARGIN = 4


@dataclass(frozen=True)
class Deformation:
    """Displacements of query points, added before the affine.

    Attributes:
        field: (z, y, x, 3) float32, LPS mm, zero outside the grid.
        geometry: its grid.
        correlation: of query and deformed support over the body voxels that both show.
        folded: share of those voxels where space turns inside out.
    """

    field: np.ndarray
    geometry: Geometry
    correlation: float
    folded: float


def register_deformable(
    query: CoarseScan, support: CoarseScan, affine: Affine, reporter: Reporter = SILENT, detail: str = ""
) -> Deformation:
    """Refine an affine (T. Vercauteren et al., NeuroImage 45, 2009, as ITK implements it).

    The support scan is brought to the query's grid first. Where only one of both shows anything, the other gets the
    same values: there is no difference to explain, and no force. The result does not depend on the number of threads:
    every voxel's update is its own. Filters inside the library's own use all cores, whatever number is asked for.

    Raises:
        Cancelled: within an iteration of the user's wish.
    """
    fixed_scan, moved, both = _bring(query, support, affine)
    field: sitk.Image | None = None
    done, total = 0, sum(count * (2 // block) ** 3 for block, count in LEVELS)
    for block, count in LEVELS:
        level = coarser(fixed_scan, block)
        fixed = level.geometry.image_of(level.values)
        moving = level.geometry.image_of(coarser(replace(fixed_scan, values=moved), block).values)
        weight = (2 // block) ** 3
        field = _demons(fixed, moving, field, count, reporter, (done, total, weight, detail))
        done += count * weight
    assert field is not None
    reporter.progress("registration", total, total, detail)
    array = sitk.GetArrayFromImage(field).astype(np.float32)
    alike = _final_correlation(fixed_scan, moved, both, field)
    return Deformation(array, fixed_scan.geometry, alike, _folded(field, both))


def _bring(query: CoarseScan, support: CoarseScan, affine: Affine) -> tuple[CoarseScan, np.ndarray, np.ndarray]:
    """Both scans on a grid around what they share.

    Returns:
        The query with the support's values where it shows nothing itself, the support with the query's values where
        *it* shows nothing, and a mask of the body voxels that both show.
    """
    transform = sitk.AffineTransform(3)
    transform.SetMatrix([float(v) for v in affine.matrix.ravel()])
    transform.SetTranslation([float(v) for v in affine.offset])
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
    everywhere = np.ones_like(around.inside)
    return CoarseScan(fixed, everywhere, around.body, around.geometry), moved, there & around.inside & around.body


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


def _demons(
    fixed: sitk.Image,
    moving: sitk.Image,
    field: sitk.Image | None,
    iterations: int,
    reporter: Reporter,
    place: tuple[int, int, int, str],
) -> sitk.Image:
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfThreads(use_threads())
    demons.SetNumberOfIterations(iterations)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(FIELD_SIGMA)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(UPDATE_SIGMA)
    demons.SetMaximumUpdateStepLength(1.0)
    demons.SetIntensityDifferenceThreshold(1e-3)
    stopped: list[Cancelled] = []
    done, total, weight, detail = place

    def between_iterations() -> None:
        if stopped:  # the library comes by once more on its way out
            return
        try:
            reporter.progress("registration", done + weight * demons.GetElapsedIterations(), total, detail)
            reporter.check_cancelled()
        except Cancelled as wish:  # no exception passes through the library's own loop
            stopped.append(wish)
            demons.Abort()

    demons.AddCommand(sitk.sitkIterationEvent, between_iterations)
    try:
        if field is None:
            result = demons.Execute(fixed, moving)
        else:
            start = sitk.Resample(field, fixed, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID())
            result = demons.Execute(fixed, moving, start)
    except RuntimeError:
        if stopped:
            raise stopped[0] from None
        raise
    if stopped:
        raise stopped[0]
    return result


def _final_correlation(fixed: CoarseScan, moved: np.ndarray, both: np.ndarray, field: sitk.Image) -> float:
    transform = sitk.DisplacementFieldTransform(sitk.Image(field))
    image = fixed.geometry.image_of(moved)
    warped = sitk.GetArrayFromImage(sitk.Resample(image, image, transform, sitk.sitkLinear, math.nan))
    counted = both & np.isfinite(warped)
    return correlation(fixed.values[counted], warped[counted]) if int(counted.sum()) > 1 else 0.0


def _folded(field: sitk.Image, both: np.ndarray) -> float:
    determinant = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(field, True))
    return float((determinant[both] <= 0).mean()) if both.any() else 0.0

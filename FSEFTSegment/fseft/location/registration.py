"""Registration of a support scan to a query: good enough to carry an annotation, or refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from fseft.location.affine import Affine, AffineFit, register_affine
from fseft.location.coarse import CoarseScan, coarse_scan
from fseft.location.deformation import Deformation, field_image, register_deformable
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan

#: Raised whenever a change here or in what this module calls changes its results: cached ones are then not used.
REGISTRATION_VERSION = 3
#: Correlations after the affine and after the deformation below which two scans do not show the same anatomy. Measured:
#: pairs of heads and necks, of torsos, or of a torso and a slab of it, 30 pairs: 0.54 to 0.74 and then 0.76 to 0.92; a
#: neck and a chest that share the shoulders, 8 pairs: 0.44 to 0.56 and 0.70 to 0.78, and where both show the spinal
#: cord it meets (Dice 0.8); abdomen and pelvis against head and neck, 16 pairs: up to 0.53 and up to 0.68.
LEAST_CORRELATION = 0.45
LEAST_REFINED = 0.72
#: Share of the query's body, or of the support's whichever is smaller, that both must show.
LEAST_OVERLAP = 0.15
#: Singular values of the affine's linear part outside these are no difference between two people.
SCALES = (0.6, 1.7)
#: Largest share of folded voxels. The most seen between two people was 0.012, and what was carried was as good as ever.
MOST_FOLDED = 0.05


@dataclass(frozen=True)
class Registration:
    """Where every point of a query lies in a support scan.

    Attributes:
        affine: applied last.
        field: (z, y, x, 3) float16 displacements in LPS mm, applied first, on ``grid``; as precise as they are kept.
        grid: a coarse grid around the query's body.
        correlation: of the two scans' windowed values, 0..1, over the body voxels that both show; after the affine.
        refined_correlation: the same after the deformation.
        overlap: share of the query's body that the support scan shows.
        failure: why this registration must not be used; "" when it may.
    """

    affine: Affine
    field: np.ndarray
    grid: Geometry
    correlation: float
    refined_correlation: float
    overlap: float
    failure: str = ""

    def transform(self) -> sitk.Transform:
        """Query world to support world, for resampling the support onto the query."""
        bent = sitk.DisplacementFieldTransform(field_image(self.field, self.grid))
        # A composite applies what was added last first.
        return sitk.CompositeTransform([self.affine.transform(), bent])

    def to_support(self, world: np.ndarray) -> np.ndarray:
        """(n, 3) LPS positions in mm in the query to those in the support scan, as :meth:`transform` maps them."""
        index = ((world - np.asarray(self.grid.origin)) / np.asarray(self.grid.spacing)).T[::-1]
        moved = np.array(world, dtype=np.float64)
        for axis in range(3):
            moved[:, axis] += map_coordinates(self.field[..., axis].astype(np.float32), index, order=1)
        placed: np.ndarray = moved @ self.affine.matrix.T + self.affine.offset
        return placed


def register(query: Scan, support: Scan, reporter: Reporter = SILENT) -> Registration:
    """Register a support scan (moving) to a query (fixed); deterministic.

    Args:
        query: gives the space of the result.
        support: may show more or less of the body.
        reporter: hears phase "registration" and is asked between iterations whether to stop.

    Returns:
        A registration whose ``failure`` says, in words without file names, why it is unusable, if it is.
    """
    return register_coarse(coarse_scan(query), coarse_scan(support), reporter, support.name)


def register_coarse(
    query: CoarseScan, support: CoarseScan, reporter: Reporter = SILENT, detail: str = ""
) -> Registration:
    """The same for scans already brought to a coarse grid, which pays when one is registered often."""
    reporter.check_cancelled()
    fit = register_affine(query, support, reporter)
    if fit is None:
        return _refused(query, None, "the two scans share too short a stretch of the body")
    failure = _affine_failure(fit, query, support)
    if failure:
        return _refused(query, fit, failure)
    deformation = register_deformable(query, support, fit.affine, reporter, detail)
    failure = _deformation_failure(fit, deformation)
    return Registration(
        affine=fit.affine,
        field=deformation.field.astype(np.float16),
        grid=deformation.geometry,
        correlation=fit.correlation,
        refined_correlation=deformation.correlation,
        overlap=fit.overlap,
        failure=failure,
    )


def _refused(query: CoarseScan, fit: AffineFit | None, failure: str) -> Registration:
    affine = Affine(np.eye(3), np.zeros(3)) if fit is None else fit.affine
    alike = 0.0 if fit is None else fit.correlation
    overlap = 0.0 if fit is None else fit.overlap
    field = np.zeros((*query.geometry.array_shape, 3), dtype=np.float16)
    return Registration(affine, field, query.geometry, alike, alike, overlap, failure)


def _affine_failure(fit: AffineFit, query: CoarseScan, support: CoarseScan) -> str:
    scales = np.linalg.svd(fit.affine.matrix, compute_uv=False)
    if np.linalg.det(fit.affine.matrix) <= 0 or scales.min() < SCALES[0] or scales.max() > SCALES[1]:
        return f"the fit stretches the body {scales.min():.2f} to {scales.max():.2f} times, more than people differ"
    bodies = [float(s.body.sum()) * s.spacing_mm**3 for s in (query, support)]
    share = fit.overlap * bodies[0] / max(1e-6, min(bodies))
    if share < LEAST_OVERLAP:
        return f"the two scans share only {min(1.0, share):.0%} of the body that they show"
    if fit.correlation < LEAST_CORRELATION:
        return _unlike(fit.correlation, LEAST_CORRELATION)
    return ""


def _unlike(found: float, needed: float) -> str:
    return f"the two scans do not look alike where they should (correlation {found:.2f}, {needed:g} is needed)"


def _deformation_failure(fit: AffineFit, deformation: Deformation) -> str:
    if deformation.folded > MOST_FOLDED:
        return f"the deformation folds {deformation.folded:.1%} of the body over itself"
    if deformation.correlation < LEAST_REFINED:
        return _unlike(deformation.correlation, LEAST_REFINED)
    if deformation.correlation < fit.correlation - 0.02:
        return "the deformation makes the two scans less alike"
    return ""

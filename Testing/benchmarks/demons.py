"""What registers annotations today: SimpleITK's diffeomorphic demons, after the same affine. A baseline, not a method.

The engine used it before; kept so that what came after can be laid beside it.
"""

from __future__ import annotations

import few_shot_pool  # noqa: F401 - puts the engine on the path
import numpy as np
import SimpleITK as sitk
from fseft.compute import use_threads
from fseft.location import registration
from fseft.location.affine import Affine
from fseft.location.coarse import CoarseScan, coarser
from fseft.location.deformation import Deformation, judged
from fseft.location.shared_grid import share_grid
from fseft.reporting import SILENT, Reporter

#: (block of voxels per axis, iterations): at twice the coarse spacing, then at it. Chosen on 24 pairs of others.
LEVELS = ((2, 80), (1, 25))
#: Standard deviations in voxels of the Gaussians that smooth the whole field, and each update.
FIELD_SIGMA, UPDATE_SIGMA = 1.5, 0.5


def use_demons() -> None:
    """Let every registration of this process end with demons. Its cache must be off: entries do not tell."""
    registration.register_deformable = register_demons
    registration.LEAST_REFINED = 0.67  # another optimiser reaches other correlations


def register_demons(
    query: CoarseScan, support: CoarseScan, affine: Affine, reporter: Reporter = SILENT, detail: str = ""
) -> Deformation:
    """As :func:`fseft.location.deformation.register_deformable` (T. Vercauteren et al., NeuroImage 45, 2009)."""
    shared = share_grid(query, support, affine)
    everywhere = np.ones_like(shared.both)
    field: sitk.Image | None = None
    for block, iterations in LEVELS:
        reporter.check_cancelled()
        images = []
        for values in (shared.fixed, shared.moved):
            level = coarser(CoarseScan(values, everywhere, everywhere, shared.geometry), block)
            images.append(level.geometry.image_of(level.values))
        field = _demons(images[0], images[1], field, iterations)
    assert field is not None
    return judged(sitk.GetArrayFromImage(field).astype(np.float32), shared)


def _demons(fixed: sitk.Image, moving: sitk.Image, field: sitk.Image | None, iterations: int) -> sitk.Image:
    demons = sitk.DiffeomorphicDemonsRegistrationFilter()
    demons.SetNumberOfThreads(use_threads())
    demons.SetNumberOfIterations(iterations)
    demons.SetSmoothDisplacementField(True)
    demons.SetStandardDeviations(FIELD_SIGMA)
    demons.SetSmoothUpdateField(True)
    demons.SetUpdateFieldStandardDeviations(UPDATE_SIGMA)
    demons.SetMaximumUpdateStepLength(1.0)
    demons.SetIntensityDifferenceThreshold(1e-3)
    if field is None:
        return demons.Execute(fixed, moving)
    start = sitk.Resample(field, fixed, sitk.Transform(), sitk.sitkLinear, 0.0, field.GetPixelID())
    return demons.Execute(fixed, moving, start)

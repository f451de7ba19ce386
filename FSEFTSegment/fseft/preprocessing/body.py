"""Where the body is: air around it and the table under it need no network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from fseft.scan.scan import Scan

TISSUE_HU = -350.0
COARSE_MM = 4.0
MARGIN_MM = 12.0


@dataclass(frozen=True)
class BodyRegion:
    """The body on a coarse grid of the scan.

    Attributes:
        mask: (z, y, x) bool on every ``step``-th voxel of the scan.
        step: voxels skipped per axis (z, y, x).
        start, stop: bounding box with margin in scan voxels, (z, y, x), stop exclusive.
    """

    mask: np.ndarray
    step: tuple[int, int, int]
    start: tuple[int, int, int]
    stop: tuple[int, int, int]


def find_body(scan: Scan) -> BodyRegion:
    """The patient's bounding box, without table and surrounding air.

    Thin shells (table tops, blankets) are opened away and pieces under 2 % of the largest dropped, then a margin
    is added; when nothing is left the whole scan counts, so that unusual scans lose time and never tissue.
    """
    spacing = scan.geometry.spacing[::-1]
    step = tuple(max(1, int(COARSE_MM / s)) for s in spacing)
    coarse = scan.hounsfield[:: step[0], :: step[1], :: step[2]]
    spacing_coarse = np.array(spacing) * step
    tissue = coarse > TISSUE_HU
    opened = _open(tissue, radius_mm=6.0, spacing=spacing_coarse)
    pieces, count = ndimage.label(opened)
    if count:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        opened = (sizes >= 0.02 * sizes.max())[pieces]
    if not opened.any():
        opened = np.ones_like(tissue)
    grown = ndimage.distance_transform_edt(~opened, sampling=spacing_coarse) <= MARGIN_MM
    start, stop = [], []
    for axis in range(3):
        used = np.flatnonzero(grown.any(axis=tuple(a for a in range(3) if a != axis)))
        start.append(max(0, (int(used[0]) - 1) * step[axis] + 1))
        stop.append(min(scan.hounsfield.shape[axis], (int(used[-1]) + 1) * step[axis]))
    return BodyRegion(grown, step, tuple(start), tuple(stop))  # type: ignore[arg-type]


def _open(mask: np.ndarray, radius_mm: float, spacing: np.ndarray) -> np.ndarray:
    """Morphological opening with a ball in mm, by two distance transforms."""
    padded = np.pad(mask, 1, mode="edge")
    core = ndimage.distance_transform_edt(padded, sampling=spacing) > radius_mm
    if not core.any():
        return mask
    opened: np.ndarray = (ndimage.distance_transform_edt(~core, sampling=spacing) <= radius_mm) & padded
    return opened[1:-1, 1:-1, 1:-1]

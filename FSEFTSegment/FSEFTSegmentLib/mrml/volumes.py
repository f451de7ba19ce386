"""Volume nodes as scans: what can be used, and writing it for the worker."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fseft.errors import ScanError
from vtk.util.numpy_support import vtk_to_numpy

from FSEFTSegmentLib.mrml.grid import Grid, own_grid, world_grid
from FSEFTSegmentLib.mrml.nrrd import STEP_BYTES, write_nrrd_steps
from FSEFTSegmentLib.steps import Steps

#: The engine needs some thickness to segment in 3-D.
FEWEST_SLICES = 4


def voxels_of(volume: Any) -> np.ndarray:
    """The voxels of a scalar volume node, (k, j, i), a view that must not be kept or written to."""
    image = volume.GetImageData()
    i, j, k = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def check_volume(volume: Any) -> Grid:
    """Make sure a node is a 3-D scalar volume with a usable grid; returns its grid in the world.

    Raises:
        ScanError: with what to do, for labelmaps, colour, vector and 4-D volumes, single slices, empty volumes,
            warping transforms and skewed grids.
    """
    name = volume.GetName()
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ScanError(
            "scan-is-labelmap",
            f"“{name}” is a labelmap, not a scan.",
            "Choose the CT; a labelmap can be imported as an annotation instead.",
        )
    if not volume.IsA("vtkMRMLScalarVolumeNode"):
        raise ScanError("scan-not-volume", f"“{name}” is not a volume.", "Choose a CT volume.")
    grid = own_grid(volume)
    scalars = volume.GetImageData().GetPointData().GetScalars()
    if scalars is None:
        raise ScanError("scan-empty", f"The volume “{name}” has no voxels.", "Load its image file, or remove it.")
    if scalars.GetNumberOfComponents() != 1:
        raise ScanError(
            "scan-not-scalar",
            f"“{name}” has {scalars.GetNumberOfComponents()} values per voxel (a colour, vector or 4-D volume).",
            "Choose a volume with one Hounsfield value per voxel; load a 4-D image as a sequence.",
        )
    if min(grid.size) < FEWEST_SLICES:
        raise ScanError(
            "scan-2d",
            f"“{name}” has only {min(grid.size)} voxel(s) along one axis.",
            "Choose a three-dimensional CT; a single slice cannot be segmented.",
        )
    return world_grid(volume)


def looks_like_ct(volume: Any) -> bool:
    """A quick look at some ten thousand voxels: do the values span Hounsfield units as tissue does?

    The engine looks at all voxels and has the last word; this is for the live status of the case table.
    """
    sample = _sample(volume)
    low, high = float(sample.min()), float(sample.max())
    if not np.isfinite([low, high]).all():
        return False
    # CT holds air or fat below zero and soft tissue above; MR and display volumes start at zero.
    return -5000 <= low < -20 and 20 < high <= 40000


def has_gaps(volume: Any) -> bool:
    """A quick look at the same voxels: is one of them no number?"""
    return not np.isfinite(_sample(volume)).all()


def _sample(volume: Any) -> np.ndarray:
    voxels = voxels_of(volume)
    return voxels.reshape(-1)[:: max(1, voxels.size // 20000)]


def fingerprint(volume: Any) -> str:
    """A quick digest of voxels and grid: equal for copies of a scan, whatever they are called."""
    voxels = voxels_of(volume)
    digest = hashlib.blake2b(digest_size=16)
    grid = own_grid(volume)
    digest.update(repr((grid.size, np.round(grid.spacing, 4).tolist(), voxels.dtype.str)).encode())
    step = max(1, voxels.size // 50000)
    digest.update(np.ascontiguousarray(voxels.reshape(-1)[::step]).tobytes())
    return digest.hexdigest()


def write_scan_steps(volume: Any, path: Path) -> Steps[Grid]:
    """Write a volume for the worker, where it stands in the world; returns the grid written.

    A linear parent transform is applied to the written geometry, the node is left alone. The current frame of a
    sequence is copied first, since browsing on would change it under the writer.

    Raises:
        ScanError: as :func:`check_volume`, and "scan-changed".
        ResourceError: "disk-full", "cannot-write".
    """
    grid = check_volume(volume)
    view, image = voxels_of(volume), volume.GetImageData()
    changed = image.GetMTime()
    voxels = np.empty_like(view)
    position = 0
    for slab in slabs_of(view):
        voxels[position : position + len(slab)] = slab
        position += len(slab)
        yield 0.0
        if position < len(view) and (volume.GetImageData() is not image or image.GetMTime() != changed):
            raise ScanError(
                "scan-changed",
                f"“{volume.GetName()}” was changed while it was being copied.",
                "Start again, and do not browse its sequence in the first second.",
            )
    yield from write_nrrd_steps(path, slabs_of(voxels), voxels.dtype, grid)
    return grid


def slabs_of(array: np.ndarray) -> Iterator[np.ndarray]:
    """Consecutive parts of an array along its first axis, each of a step's size."""
    slices = max(1, STEP_BYTES // max(1, array[0].nbytes))
    for start in range(0, array.shape[0], slices):
        yield array[start : start + slices]


def frame_label(volume: Any, sequences: Any | None) -> str:
    """Which frame of a sequence a proxy volume shows ("time 3 s"), or "" for an ordinary volume.

    Args:
        volume: the volume node.
        sequences: Slicer's sequences logic, None where it is not loaded.
    """
    browser = sequences.GetFirstBrowserNodeForProxyNode(volume) if sequences is not None else None
    if browser is None:
        return ""
    sequence = browser.GetSequenceNode(volume)
    position = browser.GetSelectedItemNumber()
    if sequence is None or position < 0:
        return ""
    value = sequence.GetNthIndexValue(position)
    return " ".join(part for part in (sequence.GetIndexName(), value, sequence.GetIndexUnit()) if part)

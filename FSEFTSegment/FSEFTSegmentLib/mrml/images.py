"""Labelmaps as Slicer's segmentations hold them, to and from numpy, on any grid."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, vtk_to_numpy

from FSEFTSegmentLib.mrml.grid import Grid, to_numpy, to_vtk
from FSEFTSegmentLib.steps import Steps, run_steps


def image_array(image: Any) -> np.ndarray:
    """The voxels of an oriented image, (k, j, i) over its extent; a view."""
    extent = image.GetExtent()
    shape = tuple(extent[2 * axis + 1] - extent[2 * axis] + 1 for axis in (2, 1, 0))
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape)


def image_start(image: Any) -> np.ndarray:
    """Index (i, j, k) of the first voxel."""
    return np.array(image.GetExtent()[::2])


def is_empty_image(image: Any) -> bool:
    """True when the image holds no voxel at all."""
    extent = image.GetExtent()
    return (
        any(extent[2 * axis] > extent[2 * axis + 1] for axis in range(3)) or image.GetPointData().GetScalars() is None
    )


def image_matrix(image: Any) -> np.ndarray:
    """4x4 from index to RAS."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return to_numpy(matrix)


def oriented_image(array: np.ndarray, grid: Grid, start: tuple[int, int, int] = (0, 0, 0)) -> Any:
    """A ``vtkOrientedImageData`` holding a copy of ``array`` (k, j, i), whose first voxel is index ``start``."""
    return run_steps(oriented_image_steps(array, grid, start, array.dtype))


def oriented_image_steps(array: np.ndarray, grid: Grid, start: tuple[int, int, int], dtype: np.dtype) -> Steps[Any]:
    """As :func:`oriented_image`, with another voxel type and in short steps."""
    image = slicer.vtkOrientedImageData()
    extent: list[int] = []
    for axis in range(3):
        extent += [start[axis], start[axis] + array.shape[2 - axis] - 1]
    image.SetExtent(*extent)
    image.SetImageToWorldMatrix(to_vtk(grid.ijk_to_ras))
    image.AllocateScalars(get_vtk_array_type(np.dtype(dtype)), 1)
    target = image_array(image)
    thickness = max(1, (8 << 20) // max(1, array[0].nbytes))
    for position in range(0, len(array), thickness):
        target[position : position + thickness] = array[position : position + thickness]
        yield position / len(array)
    return image


def on_grid(image: Any, matrix: np.ndarray, grid: Grid) -> tuple[np.ndarray, tuple[slice, slice, slice]] | None:
    """The part of a label image that lies on ``grid``, by nearest neighbour.

    Args:
        image: an oriented label image.
        matrix: its index-to-RAS matrix, transforms included.
        grid: the wanted grid.

    Returns:
        The labels and the (k, j, i) slices of the grid they belong to, or None when they do not meet.
    """
    shift = _whole_shift(matrix, grid)
    if shift is None:
        image = _resampled(image, matrix, grid)
        if is_empty_image(image):
            return None
        shift = np.zeros(3, dtype=int)
    array = image_array(image)
    first = image_start(image) + shift
    last = first + np.array(array.shape[::-1])
    low, high = np.maximum(first, 0), np.minimum(last, grid.size)
    if (low >= high).any():
        return None
    source = tuple(slice(int(low[a] - first[a]), int(high[a] - first[a])) for a in (2, 1, 0))
    target = tuple(slice(int(low[a]), int(high[a])) for a in (2, 1, 0))
    return array[source], (target[0], target[1], target[2])


def _whole_shift(matrix: np.ndarray, grid: Grid) -> np.ndarray | None:
    """The whole number of voxels between two grids that are otherwise the same, else None."""
    relative = np.linalg.solve(grid.ijk_to_ras, matrix)
    shift = np.rint(relative[:3, 3])
    expected = np.eye(4)
    expected[:3, 3] = shift
    # A hundredth of a voxel at the far end of the volume is still the same voxel.
    tolerance = 0.01 / max(grid.size)
    same_axes = np.abs(relative[:3, :3] - np.eye(3)).max() <= tolerance
    return shift.astype(int) if same_axes and np.abs(relative[:3, 3] - shift).max() <= 0.01 else None


def _resampled(image: Any, matrix: np.ndarray, grid: Grid) -> Any:
    moved = slicer.vtkOrientedImageData()
    moved.ShallowCopy(image)
    moved.SetImageToWorldMatrix(to_vtk(matrix))
    reference = slicer.vtkOrientedImageData()
    reference.SetExtent(0, grid.size[0] - 1, 0, grid.size[1] - 1, 0, grid.size[2] - 1)
    reference.SetImageToWorldMatrix(to_vtk(grid.ijk_to_ras))
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(moved, reference, result, False)
    return result

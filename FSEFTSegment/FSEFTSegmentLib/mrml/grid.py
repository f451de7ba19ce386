"""Where voxels are, in Slicer's terms: RAS matrices of volumes and segments, with their parent transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from fseft.errors import ScanError

#: A voxel may lie this far from its twin on "the same" grid, mm.
SAME_GRID_MM = 1e-2

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Grid:
    """A voxel grid.

    Attributes:
        size: voxels along i, j, k.
        ijk_to_ras: 4x4 matrix from (i, j, k, 1) to RAS in mm.
    """

    size: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """Shape (k, j, i) of an array on this grid."""
        return (self.size[2], self.size[1], self.size[0])

    @property
    def ijk_to_lps(self) -> np.ndarray:
        """4x4 matrix from (i, j, k, 1) to LPS in mm."""
        return _FLIP @ self.ijk_to_ras

    @property
    def spacing(self) -> np.ndarray:
        """mm along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return abs(float(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def moved(self, transform: np.ndarray) -> Grid:
        """The grid after a linear transform (4x4, RAS)."""
        return Grid(self.size, transform @ self.ijk_to_ras)

    def corners(self) -> np.ndarray:
        """RAS positions (8, 3) of the corner voxels' centres."""
        last = [n - 1 for n in self.size]
        index = [[i, j, k, 1] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])]
        return (np.array(index, dtype=float) @ self.ijk_to_ras.T)[:, :3]

    def same_as(self, other: Grid, tolerance_mm: float = SAME_GRID_MM) -> bool:
        """True when both have the same voxels at the same places."""
        return self.size == other.size and bool(np.abs(self.corners() - other.corners()).max() <= tolerance_mm)


def grid_of_lps(size: tuple[int, int, int], ijk_to_lps: np.ndarray) -> Grid:
    """A grid given in LPS, as files give it."""
    return Grid(size, _FLIP @ ijk_to_lps)


def to_numpy(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as a (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_vtk(matrix: np.ndarray) -> Any:
    """A (4, 4) array as a vtkMatrix4x4."""
    result = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            result.SetElement(row, column, float(matrix[row, column]))
    return result


def own_grid(volume: Any) -> Grid:
    """The grid of a volume node, its parent transform left aside.

    Raises:
        ScanError: "scan-empty" when it has no voxels.
    """
    image = volume.GetImageData()
    if image is None or 0 in image.GetDimensions():
        raise ScanError(
            "scan-empty", f"The volume “{volume.GetName()}” has no voxels.", "Load its image file, or remove it."
        )
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    size = image.GetDimensions()
    return Grid((int(size[0]), int(size[1]), int(size[2])), to_numpy(matrix))


def world_transform(node: Any) -> np.ndarray:
    """The linear transform (4x4, RAS) that places a node in the world; identity without a parent transform.

    Raises:
        ScanError: "transform-not-linear" for a warping transform.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise ScanError(
            "transform-not-linear",
            f"“{node.GetName()}” is under the warping transform “{parent.GetName()}”.",
            "Harden the transform (Transforms module), or take the volume out of it.",
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return to_numpy(matrix)


def world_grid(volume: Any) -> Grid:
    """The grid of a volume node where it stands in the world, as if its transform were hardened.

    Raises:
        ScanError: "scan-empty", "transform-not-linear", or "grid-not-orthogonal".
    """
    grid = own_grid(volume).moved(world_transform(volume))
    axes = grid.ijk_to_ras[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(grid.ijk_to_ras).all() or lengths.min() <= 1e-9:
        raise ScanError(
            "grid-singular",
            f"The volume “{volume.GetName()}” has voxels without size.",
            "Load it again, or set its spacing in the Volumes module.",
        )
    unit = axes / lengths
    if np.abs(unit.T @ unit - np.eye(3)).max() > 1e-3:
        raise ScanError(
            "grid-not-orthogonal",
            f"The axes of “{volume.GetName()}” are not at right angles (a shearing transform, or gantry tilt).",
            "Resample it to a straight grid first, for example with “Resample Scalar Volume”.",
        )
    return grid

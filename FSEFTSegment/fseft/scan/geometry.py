"""Where voxels are in the patient: size, spacing, origin, direction.

World coordinates are LPS in mm (SimpleITK's and DICOM's convention); ``x, y, z`` index order here,
while arrays are ``(z, y, x)`` as SimpleITK gives them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

_LPS_LETTERS = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True)
class Geometry:
    """Geometry of a voxel grid.

    Attributes:
        size: voxels along the index axes (x, y, z).
        spacing: mm along the index axes.
        origin: LPS position in mm of the centre of voxel (0, 0, 0).
        direction: 3x3 matrix, row-major, whose columns are the unit vectors of the index axes in LPS.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: tuple[float, float, float, float, float, float, float, float, float]

    @classmethod
    def of_image(cls, image: sitk.Image) -> Geometry:
        """Geometry of a 3-D SimpleITK image."""
        return cls(
            tuple(int(n) for n in image.GetSize()),  # type: ignore[arg-type]
            tuple(float(s) for s in image.GetSpacing()),  # type: ignore[arg-type]
            tuple(float(o) for o in image.GetOrigin()),  # type: ignore[arg-type]
            tuple(float(d) for d in image.GetDirection()),  # type: ignore[arg-type]
        )

    @property
    def direction_matrix(self) -> np.ndarray:
        """The direction as a (3, 3) array."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing)) / 1000.0

    @property
    def array_shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of an array on this grid."""
        return (self.size[2], self.size[1], self.size[0])

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-2) -> bool:
        """True when both grids have the same voxels, no voxel further than ``tolerance_mm`` from its twin."""
        if self.size != other.size:
            return False
        ours, theirs = self._corners(), other._corners()
        return bool(np.abs(ours - theirs).max() <= tolerance_mm)

    def _corners(self) -> np.ndarray:
        last = np.asarray(self.size) - 1
        corners = np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
        return self.to_world(corners)

    def to_world(self, index: np.ndarray) -> np.ndarray:
        """LPS positions in mm of (N, 3) continuous (x, y, z) indices."""
        scaled = np.asarray(index, dtype=np.float64) * np.asarray(self.spacing)
        return scaled @ self.direction_matrix.T + np.asarray(self.origin)

    def to_index(self, world: np.ndarray) -> np.ndarray:
        """Continuous (x, y, z) indices of (N, 3) LPS positions in mm."""
        offset = np.asarray(world, dtype=np.float64) - np.asarray(self.origin)
        return offset @ np.linalg.inv(self.direction_matrix).T / np.asarray(self.spacing)

    def axis_codes(self) -> str:
        """Nearest anatomical direction of increasing x, y, z index, for example "LPS"."""
        axes, signs = self.nearest_axes()
        return "".join(_LPS_LETTERS[a][1 if s > 0 else 0] for a, s in zip(axes, signs, strict=True))

    def nearest_axes(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """For each index axis the nearest LPS axis (a permutation) and its sign.

        Greedy by the largest cosine, so that an oblique grid still gets a permutation.
        """
        cosines = np.abs(self.direction_matrix)
        axes = [-1, -1, -1]
        for _ in range(3):
            row, column = np.unravel_index(int(np.argmax(cosines)), (3, 3))
            axes[int(column)] = int(row)
            cosines[row, :] = -1
            cosines[:, column] = -1
        signs = [1 if self.direction_matrix[axes[i], i] > 0 else -1 for i in range(3)]
        return tuple(axes), tuple(signs)  # type: ignore[return-value]

    def image_of(self, array: np.ndarray) -> sitk.Image:
        """A SimpleITK image of ``array`` (z, y, x) on this grid."""
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image

"""Smooth random fields anchored in the patient, not in the grid: B-spline lattices evaluated axis by axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Half extent in mm along the grid's axes (x, y, z) around the body's origin within which a lattice has control points.
REACH_MM: tuple[float, float, float] = (420.0, 360.0, 780.0)


@dataclass(frozen=True)
class Lattice:
    """Control points of a smooth random field.

    Attributes:
        controls: (components, nz, ny, nx) float32.
        spacing_mm: distance of control points.
    """

    controls: np.ndarray
    spacing_mm: float

    @classmethod
    def random(cls, rng: np.random.Generator, spacing_mm: float, components: int = 1) -> Lattice:
        """A lattice whose field has a standard deviation of about 1."""
        counts = [int(2 * reach / spacing_mm) + 4 for reach in reversed(REACH_MM)]
        controls = rng.standard_normal((components, *counts), dtype=np.float32)
        # Cubic B-spline smoothing keeps about 0.48 of the variance along each axis.
        return cls(controls * np.float32(0.48**-1.5), spacing_mm)

    def sample(self, axes_mm: tuple[np.ndarray, np.ndarray, np.ndarray], component: int = 0) -> np.ndarray:
        """Field values on a grid, (z, y, x) float32.

        Args:
            axes_mm: positions in mm along the grid's axes (x, y, z), relative to the body's origin.
            component: which component of a vector field.
        """
        (wx, x0), (wy, y0), (wz, z0) = (
            self._weights(at, reach, count)
            for at, reach, count in zip(axes_mm, REACH_MM, self.controls.shape[:0:-1], strict=True)
        )
        used = self.controls[
            component, z0 : z0 + wz.shape[1], y0 : y0 + wy.shape[1], x0 : x0 + wx.shape[1]
        ]
        values = (wz @ used.reshape(len(used), -1)).reshape(len(wz), used.shape[1], used.shape[2])
        # One matrix product per slice keeps every operand contiguous.
        return np.matmul(np.matmul(wy, values), wx.T)

    def _weights(self, at_mm: np.ndarray, reach: float, count: int) -> tuple[np.ndarray, int]:
        """Cubic B-spline weights (positions, used controls) and the first used control."""
        where = np.clip((np.asarray(at_mm, dtype=np.float64) + reach) / self.spacing_mm, 0, count - 4 - 1e-6)
        cell = np.floor(where).astype(int)
        t = where - cell
        basis = np.stack(
            [(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1
        ) / 6
        first, last = int(cell.min()), int(cell.max()) + 4
        weights = np.zeros((len(where), last - first), dtype=np.float32)
        for k in range(4):
            weights[np.arange(len(where)), cell - first + k] += basis[:, k]
        return weights, first

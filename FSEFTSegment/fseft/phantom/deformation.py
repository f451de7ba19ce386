"""Smooth random fields anchored in the patient, not in the grid: B-spline lattices evaluated axis by axis."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

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
        values = self.controls[component]
        x, y, z = (
            _weights(at, reach, self.spacing_mm, count)
            for at, reach, count in zip(axes_mm, REACH_MM, reversed(values.shape), strict=True)
        )
        # Sparse products: four terms for each value, in an order that depends on neither machine nor threads.
        # The long axis comes last, when there is most to multiply, so that nothing large is transposed.
        depth, height, _ = values.shape
        along = np.ascontiguousarray((x @ values.reshape(depth * height, -1).T).T).reshape(depth, height, -1)
        across = y @ np.ascontiguousarray(along.transpose(1, 0, 2)).reshape(height, -1)
        across = np.ascontiguousarray(across.reshape(y.shape[0], depth, -1).transpose(1, 0, 2))
        return (z @ across.reshape(depth, -1)).reshape(z.shape[0], y.shape[0], x.shape[0])


def _weights(at_mm: np.ndarray, reach: float, spacing_mm: float, count: int) -> sparse.csr_matrix:
    """Cubic B-spline weights, (positions, control points)."""
    where = np.clip((np.asarray(at_mm, dtype=np.float64) + reach) / spacing_mm, 0, count - 4 - 1e-6)
    cell = np.floor(where).astype(int)
    t = where - cell
    basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    columns = cell[:, None] + np.arange(4)
    starts = np.arange(0, 4 * len(where) + 1, 4)
    shape = (len(where), count)
    return sparse.csr_matrix((basis.ravel().astype(np.float32), columns.ravel(), starts), shape=shape)

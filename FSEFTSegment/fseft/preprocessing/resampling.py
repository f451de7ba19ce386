"""Separable linear resampling between two grids that share their axes.

The network grid keeps the scan's own axes (only their order, sense and spacing change), so resampling is one
small matrix per axis. Matrices make the way there and the way back explicit, exact at equal spacing, and fast.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

SLAB = 16  # slices handled at once: bounds the working memory whatever the scan's length


def linear_matrix(positions: np.ndarray, source_size: int, support: float = 1.0) -> np.ndarray:
    """Rows of weights that sample a line of ``source_size`` voxels at continuous ``positions``.

    Args:
        positions: (n,) source indices; those outside clamp to the border.
        source_size: voxels of the source line.
        support: half-width of the triangle in source voxels; above 1 it averages (antialiasing).

    Returns:
        (n, source_size) float32, rows sum to 1.
    """
    centre = np.clip(positions, 0, source_size - 1)[:, None]
    distance = np.abs(np.arange(source_size)[None, :] - centre)
    weights = np.maximum(0.0, 1.0 - distance / max(1.0, support))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(volume: np.ndarray, matrices: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """Apply one matrix per axis to a (z, y, x) volume; float32 result of the matrices' heights."""
    z_matrix, y_matrix, x_matrix = matrices
    reduced = np.empty((volume.shape[0], y_matrix.shape[0], x_matrix.shape[0]), dtype=np.float32)
    for start in range(0, volume.shape[0], SLAB):
        slab = volume[start : start + SLAB].astype(np.float32)
        reduced[start : start + SLAB] = np.matmul(np.matmul(y_matrix, slab), x_matrix.T)
    return np.tensordot(z_matrix, reduced, axes=(1, 0))


def resample_slabs(
    volume: np.ndarray, matrices: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Iterator[tuple[slice, np.ndarray]]:
    """The same as :func:`resample`, yielded in slabs along z so that the full result never exists."""
    z_matrix, y_matrix, x_matrix = matrices
    for start in range(0, z_matrix.shape[0], SLAB):
        rows = z_matrix[start : start + SLAB]
        used = np.flatnonzero(rows.any(axis=0))
        if used.size == 0:
            yield slice(start, start + rows.shape[0]), np.zeros((1, 1, 1), np.float32)
            continue
        first, last = int(used[0]), int(used[-1]) + 1
        slab = np.tensordot(rows[:, first:last], volume[first:last].astype(np.float32), axes=(1, 0))
        yield slice(start, start + rows.shape[0]), np.matmul(np.matmul(y_matrix, slab), x_matrix.T)

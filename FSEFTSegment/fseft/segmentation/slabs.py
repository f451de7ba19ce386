"""Probabilities of network planes to labels of scan slices."""

from __future__ import annotations

import numpy as np

from fseft.preprocessing.grid import NetworkGrid

FAINT = 1e-3  # probability below which an output is not brought to the scan


def slab_labels(probabilities: np.ndarray, rows: np.ndarray, grid: NetworkGrid) -> np.ndarray:
    """Labels of some scan slices.

    Each output is interpolated where it can win, one after the other, and the best so far is kept.

    Args:
        probabilities: (outputs, z', y', x') of network planes in the scan's order of axes.
        rows: (scan slices, z') weights that bring network planes to scan slices.
        grid: the scan's.

    Returns:
        (scan slices, y, x) uint16.
    """
    used = np.flatnonzero(rows.any(axis=0))
    planes = slice(int(used[0]), int(used[-1]) + 1)
    probabilities, rows = probabilities[:, planes], rows[:, planes]
    matrices = grid.back_matrix(1), grid.back_matrix(2)
    shape = (rows.shape[0], matrices[0].shape[0], matrices[1].shape[0])
    labels = np.zeros(shape, dtype=np.uint16)
    single = probabilities.shape[0] == 1
    outputs = range(0 if single else 1, probabilities.shape[0])
    found = {output: _Window.around(probabilities[output] > FAINT, matrices) for output in outputs}
    windows = {output: window for output, window in found.items() if window is not None}
    if not windows:
        return labels
    best = np.full(shape, 0.5, np.float32)
    if not single:
        together = _Window.together(list(windows.values()), matrices)
        best[together.target] = together.bring(probabilities[0], rows, matrices)
    for output, window in windows.items():
        value = window.bring(probabilities[output], rows, matrices)
        wins = value > best[window.target]
        best[window.target][wins] = value[wins]
        labels[window.target][wins] = output + 1 if single else output
    return labels


class _Window:
    """A rectangle of network rows and columns and the scan rows and columns that depend on it."""

    def __init__(
        self, bounds: tuple[tuple[int, int], tuple[int, int]], matrices: tuple[np.ndarray, np.ndarray]
    ) -> None:
        self.bounds = bounds
        self.source = tuple(slice(b, e) for b, e in bounds)
        reached = [np.flatnonzero(m[:, s].any(axis=1)) for m, s in zip(matrices, self.source, strict=True)]
        rows, columns = (slice(int(r[0]), int(r[-1]) + 1) if r.size else slice(0, 0) for r in reached)
        self.target = (slice(None), rows, columns)

    @classmethod
    def around(cls, mask: np.ndarray, matrices: tuple[np.ndarray, np.ndarray]) -> _Window | None:
        """The window of a (z, y, x) mask, one voxel wider; None of an empty one."""
        present = [np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 2), (0, 1))]
        if not present[0].size:
            return None
        (y, x), (_, height, width) = present, mask.shape
        bounds = (
            (max(0, int(y[0]) - 1), min(height, int(y[-1]) + 2)),
            (max(0, int(x[0]) - 1), min(width, int(x[-1]) + 2)),
        )
        return cls(bounds, matrices)

    @classmethod
    def together(cls, windows: list[_Window], matrices: tuple[np.ndarray, np.ndarray]) -> _Window:
        """The window around several."""
        rows, columns = ([w.bounds[axis] for w in windows] for axis in (0, 1))
        return cls(
            (
                (min(b for b, _ in rows), max(e for _, e in rows)),
                (min(b for b, _ in columns), max(e for _, e in columns)),
            ),
            matrices,
        )

    def bring(self, values: np.ndarray, rows: np.ndarray, matrices: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Values (z', y', x') interpolated to the target, (scan z, y, x)."""
        _, y, x = self.target
        slab = np.tensordot(rows, values[:, self.source[0], self.source[1]], axes=(1, 0))
        return np.matmul(np.matmul(matrices[0][y, self.source[0]], slab), matrices[1][x, self.source[1]].T)

"""Slices of a scan as a radiologist looks at them: patient's right on the left, front on top, head on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fseft.scan.geometry import Geometry


@dataclass(frozen=True)
class Plane:
    """How one kind of slice is shown.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        normal: the LPS axis that is fixed: 2, 1 or 0.
        across, down: the LPS axes shown to the right and downwards.
        flip_down: whether the lower end of ``down`` is at the bottom.
        letters: directions at the left, right, top and bottom.
    """

    name: str
    normal: int
    across: int
    down: int
    flip_down: bool
    letters: tuple[str, str, str, str]


PLANES: tuple[Plane, ...] = (
    Plane("axial", 2, 0, 1, False, ("R", "L", "A", "P")),
    Plane("coronal", 1, 0, 2, True, ("R", "L", "S", "I")),
    Plane("sagittal", 0, 1, 2, True, ("A", "P", "S", "I")),
)


@dataclass(frozen=True)
class Standing:
    """A grid turned, by permuting and flipping alone, so that indices increase towards left, posterior, superior.

    Attributes:
        permutation: array axes (z, y, x order) that become LPS axes 0, 1, 2.
        flips: whether each of these is reversed.
        spacing_mm: along LPS axes 0, 1, 2.
        tilt_degrees: the largest angle between an axis of the grid and its nearest patient axis.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: tuple[float, float, float]
    tilt_degrees: float

    @classmethod
    def of(cls, geometry: Geometry) -> Standing:
        """How this grid is turned."""
        axes, signs = geometry.nearest_axes()
        index_of = [axes.index(world) for world in range(3)]
        cosines = [abs(geometry.direction_matrix[world, index_of[world]]) for world in range(3)]
        return cls(
            tuple(2 - index for index in index_of),  # type: ignore[arg-type]
            tuple(signs[index] < 0 for index in index_of),  # type: ignore[arg-type]
            tuple(geometry.spacing[index] for index in index_of),  # type: ignore[arg-type]
            float(np.degrees(np.arccos(min(1.0, min(cosines))))),
        )

    def turn(self, array: np.ndarray) -> np.ndarray:
        """A (z, y, x) array as a view with axes left, posterior, superior."""
        turned = np.transpose(array, self.permutation)
        view: np.ndarray = turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return view

    def position(self, geometry: Geometry, plane: Plane, index: int) -> str:
        """Where a slice of the turned grid lies, as the viewer tells it: "S 12 mm" (of its centre when oblique)."""
        centre = [0.0, 0.0, 0.0]  # x, y, z index of the grid
        for world in range(3):
            size = geometry.array_shape[self.permutation[world]]
            at = float(index) if world == plane.normal else (size - 1) / 2
            centre[2 - self.permutation[world]] = size - 1 - at if self.flips[world] else at
        lps = geometry.to_world(np.asarray([centre]))[0, plane.normal]
        value = lps if plane.normal == 2 else -lps  # right and anterior count upwards there
        letters = (("R", "L"), ("A", "P"), ("S", "I"))[plane.normal]
        return f"{letters[0] if value >= 0 else letters[1]} {abs(value):.0f} mm"

    def extent_mm(self, plane: Plane, shape: Sequence[int]) -> tuple[float, float]:
        """Width and height in mm of a slice image of this shape (rows, columns)."""
        return shape[1] * self.spacing_mm[plane.across], shape[0] * self.spacing_mm[plane.down]


def slice_of(turned: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """One slice (rows downwards, columns to the right) of a turned array."""
    part = np.take(turned, index, axis=plane.normal)
    # np.take keeps the order of the two axes left; down comes after across in all three planes.
    image: np.ndarray = part.T
    return image[::-1] if plane.flip_down else image


def occupied(grey: np.ndarray, marked: np.ndarray, threshold: float = -300.0) -> tuple[slice, slice]:
    """Rows and columns of a slice that show the body or a label; all of them when nothing does.

    Args:
        grey: (rows, columns) HU.
        marked: (rows, columns) bool.
        threshold: below is air, in HU. Lines with less than 2 % of body are left out: table and noise.
    """
    body = grey > threshold
    spans = []
    for axis in (1, 0):
        there = np.flatnonzero((body.mean(axis=axis) > 0.02) | marked.any(axis=axis))
        size = grey.shape[1 - axis]
        margin = max(2, round(0.03 * size))
        first, last = (int(there[0]), int(there[-1])) if len(there) else (0, size - 1)
        spans.append(slice(max(0, first - margin), min(size, last + 1 + margin)))
    return spans[0], spans[1]


def relevant_indices(turned: Sequence[np.ndarray], values: Sequence[int]) -> tuple[int, int, int]:
    """For each LPS axis the slice to look at: of most disagreement between labelmaps, else of most labelled voxels.

    Args:
        turned: one or more label arrays with axes left, posterior, superior.
        values: the label values that matter.
    """
    first = turned[0]
    wanted = np.zeros(int(max([*values, *(int(t.max()) for t in turned)], default=0)) + 1, dtype=bool)
    wanted[list(values)] = True
    interest = np.zeros(first.shape, dtype=bool)
    for other in turned[1:]:
        interest |= (other != first) & (wanted[other] | wanted[first])
    if not interest.any():
        interest = wanted[first]
        for other in turned[1:]:
            interest |= wanted[other]
    if not interest.any():
        return tuple(n // 2 for n in first.shape)  # type: ignore[return-value]
    counts = [interest.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
    return tuple(int(np.argmax(count)) for count in counts)  # type: ignore[return-value]

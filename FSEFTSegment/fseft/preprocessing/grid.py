"""The network grid: a scan's body region with axes right, anterior, superior at the backbone's spacing.

Obliqueness stays: the grid keeps the scan's axes, reordered and flipped to the nearest anatomical ones, so that
going there and back never rotates a voxel. Network voxels of the first index sit at the patient's left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from fseft.backbones.specification import BackboneSpecification
from fseft.preprocessing.body import BodyRegion, find_body
from fseft.preprocessing.resampling import linear_matrix, resample, resample_slabs
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan


@dataclass(frozen=True)
class NetworkAxis:
    """How one network axis lies in the scan.

    Attributes:
        scan_axis: array axis of the scan (0 = z, 1 = y, 2 = x).
        flipped: True when increasing network index decreases the scan index.
        first: scan index at the centre of network voxel 0.
        ratio: network spacing over scan spacing.
        scan_size: voxels of the scan along this axis.
        start, stop: scan voxels covered, stop exclusive.
        content: network voxels that hold scan; the rest up to ``size`` is padding.
        size: network voxels, padding included.
    """

    scan_axis: int
    flipped: bool
    first: float
    ratio: float
    scan_size: int
    start: int
    stop: int
    content: int
    size: int

    def scan_positions(self) -> np.ndarray:
        """Continuous scan indices of the network voxels that hold scan."""
        sign = -1.0 if self.flipped else 1.0
        return self.first + sign * self.ratio * np.arange(self.content)

    def network_positions(self) -> np.ndarray:
        """Continuous network indices of all scan voxels along this axis."""
        sign = -1.0 if self.flipped else 1.0
        return sign * (np.arange(self.scan_size) - self.first) / self.ratio


@dataclass(frozen=True)
class NetworkGrid:
    """A scan's network grid.

    Attributes:
        geometry: the scan's grid.
        axes: right, anterior, superior.
        spacing_mm: network voxel size.
    """

    geometry: Geometry
    axes: tuple[NetworkAxis, NetworkAxis, NetworkAxis]
    spacing_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Network voxels (x, y, z), padding included."""
        return tuple(axis.size for axis in self.axes)  # type: ignore[return-value]

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one network voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def scan_order(self) -> tuple[int, int, int]:
        """Network axes in the order of the scan's array axes z, y, x."""
        by_scan_axis = {axis.scan_axis: position for position, axis in enumerate(self.axes)}
        return (by_scan_axis[0], by_scan_axis[1], by_scan_axis[2])

    def to_network(self, volume: np.ndarray, antialias: bool, fill: float) -> np.ndarray:
        """Resample a scan-grid volume (z, y, x) linearly to the network grid (x, y, z), float32."""
        inner = resample(volume[self._covered], self._matrices(antialias))
        inner = inner.transpose([axis.scan_axis for axis in self.axes])
        padded = np.full(self.shape, fill, dtype=np.float32)
        padded[tuple(slice(0, axis.content) for axis in self.axes)] = inner
        return padded

    @property
    def _covered(self) -> tuple[slice, slice, slice]:
        """The part of the scan's array (z, y, x) that the grid covers."""
        z, y, x = (slice(self.axes[n].start, self.axes[n].stop) for n in self.scan_order)
        return z, y, x

    def _matrices(self, antialias: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (content, covered scan voxels) along the scan's array axes z, y, x."""
        matrices = []
        for n in self.scan_order:
            axis = self.axes[n]
            support = max(1.0, axis.ratio) if antialias else 1.0
            matrices.append(linear_matrix(axis.scan_positions() - axis.start, axis.stop - axis.start, support))
        return (matrices[0], matrices[1], matrices[2])

    def mask_to_network(self, body: BodyRegion) -> np.ndarray:
        """The coarse body mask on the network grid (x, y, z), bool, nearest neighbour."""
        inner = body.mask
        for n in self.scan_order:
            axis = self.axes[n]
            limit = body.mask.shape[axis.scan_axis] - 1
            index = np.clip(np.rint(axis.scan_positions() / body.step[axis.scan_axis]), 0, limit).astype(int)
            inner = np.take(inner, index, axis=axis.scan_axis)
        padded = np.zeros(self.shape, dtype=bool)
        padded[tuple(slice(0, axis.content) for axis in self.axes)] = inner.transpose(
            [axis.scan_axis for axis in self.axes]
        )
        return padded

    def labels_to_network(self, labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
        """A labelmap (z, y, x) on the network grid (x, y, z), uint16: each structure's indicator is resampled
        linearly and the largest wins, which keeps surfaces smooth on grids finer than the scan."""
        covered = labels[self._covered]
        matrices = self._matrices(antialias=True)
        shape = tuple(matrix.shape[0] for matrix in matrices)
        best, inner = np.ones(shape, dtype=np.float32), np.zeros(shape, dtype=np.uint16)
        boxes = find_objects(covered)
        present = [(value, boxes[value - 1]) for value in range(1, len(boxes) + 1) if boxes[value - 1] is not None]
        shares = {value: _share(covered[box] == value, box, matrices) for value, box in present}
        for reached, share in shares.values():
            best[reached] -= share
        np.maximum(best, 0.0, out=best)  # rounding must not make a structure's share of nothing the largest
        for value in values:
            if value in shares:
                reached, share = shares[value]
                wins = share > best[reached]
                best[reached][wins] = share[wins]
                inner[reached][wins] = value
        result = np.zeros(self.shape, dtype=np.uint16)
        content = tuple(slice(0, axis.content) for axis in self.axes)
        result[content] = inner.transpose([axis.scan_axis for axis in self.axes])
        return result

    def nearest_to_network(self, mask: np.ndarray) -> np.ndarray:
        """A boolean scan-grid mask (z, y, x) on the network grid (x, y, z), nearest neighbour, padding False."""
        index = [np.clip(np.rint(axis.scan_positions()), 0, axis.scan_size - 1).astype(int) for axis in self.axes]
        inner = mask.transpose([axis.scan_axis for axis in self.axes])[np.ix_(*index)]
        padded = np.zeros(self.shape, dtype=bool)
        padded[tuple(slice(0, axis.content) for axis in self.axes)] = inner
        return padded

    def axis_along_scan(self, scan_axis: int) -> int:
        """The network axis that lies along a scan array axis."""
        return self.scan_order[scan_axis]

    def shape_with(self, network_axis: int, extent: int) -> tuple[int, int, int]:
        """The grid's shape with another extent along one axis."""
        shape = list(self.shape)
        shape[network_axis] = extent
        return (shape[0], shape[1], shape[2])

    def back_matrix(self, scan_axis: int) -> np.ndarray:
        """Weights (scan voxels, content) that bring network voxels back along a scan array axis; zero rows for scan
        voxels outside the covered region."""
        axis = self.axes[self.axis_along_scan(scan_axis)]
        matrix = linear_matrix(axis.network_positions(), axis.content)
        outside = np.ones(axis.scan_size, dtype=bool)
        outside[axis.start : axis.stop] = False
        matrix[outside] = 0.0
        return matrix

    def to_scan_slabs(self, volume: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Resample a network volume (x, y, z) back to the scan's grid, slab by slab along scan z.

        Yields ``(slice along z, (slab, y, x) float32)``; scan voxels outside the covered region are 0.
        """
        content = volume[tuple(slice(0, axis.content) for axis in self.axes)]
        matrices = (self.back_matrix(0), self.back_matrix(1), self.back_matrix(2))
        yield from resample_slabs(content.transpose(self.scan_order), matrices)


Box = tuple[slice, slice, slice]


def _share(mask: np.ndarray, box: Box, matrices: tuple[np.ndarray, np.ndarray, np.ndarray]) -> tuple[Box, np.ndarray]:
    """Where along z, y, x a mask that fills a box of the source reaches, and its resampled share there."""
    columns = [matrix[:, part] for matrix, part in zip(matrices, box, strict=True)]
    used = [np.flatnonzero(matrix.any(axis=1)) for matrix in columns]
    z, y, x = (slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0) for rows in used)
    return (z, y, x), resample(mask, (columns[0][z], columns[1][y], columns[2][x]))


def make_grid(scan: Scan, specification: BackboneSpecification, body: BodyRegion | None = None) -> NetworkGrid:
    """The network grid that covers the scan's body region at the backbone's spacing."""
    body = body or find_body(scan)
    lps_axes, signs = scan.geometry.nearest_axes()
    axes = []
    for network_axis in range(3):
        index_axis = lps_axes.index(network_axis)
        scan_axis = 2 - index_axis
        # RAS grows to the right and to the front, LPS to the left and to the back; both grow upwards.
        flipped = (signs[index_axis] > 0) == (network_axis < 2)
        axes.append(
            _axis(
                scan_axis,
                flipped,
                specification.spacing_mm[network_axis] / scan.geometry.spacing[index_axis],
                scan.hounsfield.shape[scan_axis],
                (body.start[scan_axis], body.stop[scan_axis]),
                specification,
                network_axis,
            )
        )
    return NetworkGrid(scan.geometry, tuple(axes), specification.spacing_mm)  # type: ignore[arg-type]


def _axis(
    scan_axis: int,
    flipped: bool,
    ratio: float,
    scan_size: int,
    covered: tuple[int, int],
    specification: BackboneSpecification,
    network_axis: int,
) -> NetworkAxis:
    start, stop = covered
    content = max(1, int(np.ceil((stop - start) / ratio - 1e-6)))
    # Voxel edges, not centres, coincide where the axis begins: at equal spacing voxels then coincide too.
    first = (stop - 0.5 - 0.5 * ratio) if flipped else (start - 0.5 + 0.5 * ratio)
    patch = specification.patch[network_axis]
    if content >= patch or specification.window_multiple == 0:
        multiple = specification.window_multiple or specification.largest_stride
        size = max(patch, -(-content // multiple) * multiple)
    else:
        size = -(-content // specification.window_multiple) * specification.window_multiple
    return NetworkAxis(scan_axis, flipped, first, ratio, scan_size, start, stop, content, size)

"""Painting shapes into a volume: later layers cover earlier ones, each evaluated only inside its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fseft.phantom.shapes import Shape, Solid
from fseft.phantom.tissues import TISSUE_IDS, TISSUES

Slices = tuple[slice, slice, slice]
_OUTSIDE = np.float32(1e3)


@dataclass(frozen=True)
class Layer:
    """One stroke of the painter.

    Attributes:
        tissue: what to paint.
        shape: where.
        within: names of regions (see :class:`Body`) it must stay inside.
        over: tissues it may cover; empty means all.
        wobble: mm by which slow and fine noise move the surface.
        clearance: mm by which it stays away from the walls of ``within``.
        core: further tissues, each with the depth in mm from which it takes over.
    """

    tissue: str
    shape: Solid
    within: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    wobble: tuple[float, float] = (0.0, 0.0)
    clearance: float = 0.0
    core: tuple[tuple[str, float], ...] = ()


@dataclass
class Body:
    """A body as layers in painting order, independent of any voxel grid."""

    layers: list[Layer] = field(default_factory=list)
    regions: dict[str, Shape] = field(default_factory=dict)

    def paint(
        self,
        tissue: str,
        shape: Solid,
        *,
        within: tuple[str, ...] | str = (),
        over: tuple[str, ...] | str = (),
        wobble: tuple[float, float] = (0.0, 0.0),
        clearance: float = 0.0,
        core: tuple[tuple[str, float], ...] = (),
    ) -> None:
        """Add a layer on top; see :class:`Layer`."""
        within = (within,) if isinstance(within, str) else within
        over = (over,) if isinstance(over, str) else over
        for name in (tissue, *over, *(t for t, _ in core)):
            if name not in TISSUE_IDS:
                raise KeyError(f"unknown tissue {name!r}")
        self.layers.append(Layer(tissue, shape, within, over, wobble, clearance, core))


class Canvas:
    """A block of voxels that layers are painted on."""

    def __init__(
        self,
        coordinates: tuple[np.ndarray, np.ndarray, np.ndarray],
        to_index: np.ndarray,
        slack_mm: float,
        noise: Sequence[np.ndarray],
    ) -> None:
        """
        Args:
            coordinates: body coordinates x, y, z in mm, each (z, y, x) float32.
            to_index: (3, 4) affine from undeformed body mm to this block's (x, y, z) indices.
            slack_mm: how far the deformation moves any point, per axis, at most.
            noise: slow and fine noise, (z, y, x), standard deviation 1.
        """
        self.coordinates = coordinates
        self.tissues = np.zeros(coordinates[0].shape, dtype=np.uint8)
        self._to_index = to_index
        self._slack = slack_mm
        self._noise = noise
        self._regions: dict[str, np.ndarray] = {}

    def paint(self, body: Body) -> None:
        """Paint every layer of ``body``, first to last."""
        for layer in body.layers:
            self._paint_layer(layer, body.regions)

    def box(self, lo: np.ndarray, hi: np.ndarray, margin: float = 0.0) -> Slices | None:
        """Slices (z, y, x) that hold the body box, or None when it is outside this block."""
        first, last = self._index_boxes(np.asarray(lo)[None], np.asarray(hi)[None], margin)
        (x0, y0, z0), (x1, y1, z1) = first[0].tolist(), last[0].tolist()
        if x1 <= x0 or y1 <= y0 or z1 <= z0:
            return None
        return slice(z0, z1), slice(y0, y1), slice(x0, x1)

    def distance(self, solid: Solid, where: Slices, margin: float = 0.0) -> np.ndarray:
        """The field of a shape in ``where``; far from all its parts it is merely large."""
        if len(solid.parts) == 1:
            return solid.parts[0].field(*(c[where] for c in self.coordinates))
        total = np.full(self.tissues[where].shape, _OUTSIDE, dtype=np.float32)
        start = np.array([s.start for s in reversed(where)])
        stop = np.array([s.stop for s in reversed(where)])
        first, last = self._index_boxes(*solid.boxes, margin)
        first, last = np.maximum(first, start), np.minimum(last, stop)
        for number in np.flatnonzero(np.all(last > first, axis=1)):
            (x0, y0, z0), (x1, y1, z1) = first[number].tolist(), last[number].tolist()
            at = slice(z0, z1), slice(y0, y1), slice(x0, x1)
            local = total[z0 - start[2] : z1 - start[2], y0 - start[1] : y1 - start[1], x0 - start[0] : x1 - start[0]]
            values = solid.parts[number].field(*(c[at] for c in self.coordinates))
            np.minimum(local, values, out=local)
        return total

    def _index_boxes(self, lo: np.ndarray, hi: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
        """First and past-the-last indices (N, 3), x y z, of (N, 3) body boxes, cut at this block's ends."""
        reach = self._slack + margin
        matrix = self._to_index[:, :3]
        middle = (lo + hi) / 2 @ matrix.T + self._to_index[:, 3]
        extent = ((hi - lo) / 2 + reach) @ np.abs(matrix).T
        first = np.maximum(np.floor(middle - extent), 0).astype(int)
        last = np.minimum(np.ceil(middle + extent) + 1, self.tissues.shape[::-1]).astype(int)
        return first, last

    def _paint_layer(self, layer: Layer, regions: Mapping[str, Shape]) -> None:
        slow, fine = layer.wobble
        margin = 3 * (slow + fine)
        where = self.box(layer.shape.lo, layer.shape.hi, margin)
        if where is None:
            return
        inside = self.distance(layer.shape, where, margin)
        if slow:
            inside += np.float32(slow) * self._noise[0][where]
        if fine:
            inside += np.float32(fine) * self._noise[1][where]
        mask = inside < 0
        for name in layer.within:
            mask &= self._region(name, regions)[where] < -layer.clearance
        target = self.tissues[where]
        if layer.over:
            lut = np.zeros(len(TISSUES), dtype=bool)
            lut[[TISSUE_IDS[t] for t in layer.over]] = True
            mask &= lut[target]
        target[mask] = TISSUE_IDS[layer.tissue]
        for tissue, depth in layer.core:
            mask &= inside < -depth
            target[mask] = TISSUE_IDS[tissue]

    def _region(self, name: str, regions: Mapping[str, Shape]) -> np.ndarray:
        if name not in self._regions:
            field = np.full(self.tissues.shape, _OUTSIDE, dtype=np.float32)
            where = self.box(regions[name].lo, regions[name].hi)
            if where is not None:
                field[where] = self.distance(regions[name], where)
            self._regions[name] = field
        return self._regions[name]

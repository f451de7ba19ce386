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
        grow_within: mm by which the surface stays away from the walls of ``within``.
    """

    tissue: str
    shape: Solid
    within: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    wobble: tuple[float, float] = (0.0, 0.0)
    grow_within: float = 0.0


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
    ) -> None:
        """Add a layer on top."""
        within = (within,) if isinstance(within, str) else within
        over = (over,) if isinstance(over, str) else over
        for name in (tissue, *over):
            if name not in TISSUE_IDS:
                raise KeyError(f"unknown tissue {name!r}")
        self.layers.append(Layer(tissue, shape, within, over, wobble, clearance))


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
        reach = self._slack + margin
        low, high = np.asarray(lo, dtype=np.float64) - reach, np.asarray(hi, dtype=np.float64) + reach
        matrix = self._to_index[:, :3]
        centre, half = (low + high) / 2, (high - low) / 2
        middle, extent = matrix @ centre + self._to_index[:, 3], np.abs(matrix) @ half
        shape = self.tissues.shape[::-1]
        first = np.maximum(np.floor(middle - extent), 0).astype(int)
        last = np.minimum(np.ceil(middle + extent) + 1, shape).astype(int)
        if np.any(last <= first):
            return None
        return (slice(first[2], last[2]), slice(first[1], last[1]), slice(first[0], last[0]))

    def distance(self, solid: Solid, where: Slices, margin: float = 0.0) -> np.ndarray:
        """The field of a shape in ``where``; far from all parts it is merely large."""
        parts = solid.parts
        if len(parts) == 1:
            return parts[0].field(*(c[where] for c in self.coordinates))
        total = np.full(self.tissues[where].shape, _OUTSIDE, dtype=np.float32)
        for part in parts:
            inner = self.box(part.lo, part.hi, margin)
            if inner is None:
                continue
            first = [max(i.start, w.start) for i, w in zip(inner, where, strict=True)]
            last = [min(i.stop, w.stop) for i, w in zip(inner, where, strict=True)]
            if any(b <= a for a, b in zip(first, last, strict=True)):
                continue
            at = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
            local = tuple(slice(a - w.start, b - w.start) for a, b, w in zip(first, last, where, strict=True))
            values = part.field(*(c[at] for c in self.coordinates))
            np.minimum(total[local], values, out=total[local])
        return total

    def _paint_layer(self, layer: Layer, regions: Mapping[str, Shape]) -> None:
        slow, fine = layer.wobble
        margin = 3 * (slow + fine)
        where = self.box(layer.shape.lo, layer.shape.hi, margin)
        if where is None:
            return
        inside = self.distance(layer.shape, where, margin)
        if slow:
            inside = inside + np.float32(slow) * self._noise[0][where]
        if fine:
            inside = inside + np.float32(fine) * self._noise[1][where]
        mask = inside < 0
        for name in layer.within:
            mask &= self._region(name, regions)[where] < -layer.grow_within
        target = self.tissues[where]
        if layer.over:
            lut = np.zeros(len(TISSUES), dtype=bool)
            lut[[TISSUE_IDS[t] for t in layer.over]] = True
            mask &= lut[target]
        target[mask] = TISSUE_IDS[layer.tissue]

    def _region(self, name: str, regions: Mapping[str, Shape]) -> np.ndarray:
        if name not in self._regions:
            full = (slice(None), slice(None), slice(None))
            self._regions[name] = self.distance(regions[name], full)
        return self._regions[name]

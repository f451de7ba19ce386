"""Implicit shapes: functions of body coordinates (mm) that are negative inside and grow roughly by 1 per mm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

Field = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
#: A position or size in mm: three numbers.
Point = Sequence[float] | np.ndarray
#: Radii in mm: one for all, or one per point.
Radii = float | Sequence[float] | np.ndarray
_FAR = 1e4


@dataclass(frozen=True)
class Shape:
    """A primitive with the box that holds it.

    Attributes:
        lo: (3,) lowest body coordinates (x, y, z) in mm of the box.
        hi: (3,) highest body coordinates of the box.
        field: signed distance, approximately, in mm, of arrays x, y, z.
    """

    lo: np.ndarray
    hi: np.ndarray
    field: Field

    @property
    def parts(self) -> tuple[Shape, ...]:
        """Primitives whose union this is; each is evaluated in its own box."""
        return (self,)

    @property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corners, each (1, 3), in mm."""
        return self.lo[None], self.hi[None]


@dataclass(frozen=True)
class Union:
    """Many primitives as one shape, for example the segments of a tube."""

    parts: tuple[Shape, ...]

    @cached_property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corners, each (parts, 3), in mm."""
        return np.array([p.lo for p in self.parts]), np.array([p.hi for p in self.parts])

    @cached_property
    def lo(self) -> np.ndarray:
        """(3,) lowest corner of the box around all parts, in mm."""
        return self.boxes[0].min(axis=0)

    @cached_property
    def hi(self) -> np.ndarray:
        """(3,) highest corner of the box around all parts, in mm."""
        return self.boxes[1].max(axis=0)


Solid = Shape | Union


def _vector(values: Point) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def shift(point: Point, x: float, y: float, z: float) -> np.ndarray:
    """``point`` moved by x, y, z mm."""
    return np.asarray(point, dtype=float) + np.array((x, y, z))


def union(*solids: Solid) -> Union:
    """The union of shapes, each still evaluated in its own box."""
    return Union(tuple(part for solid in solids for part in solid.parts))


def ellipsoid(centre: Point, radii: Point, turn: Point = (0, 0, 0), boxy: bool = False) -> Shape:
    """An ellipsoid, turned by Euler angles ``turn`` (degrees about x, y, z); ``boxy`` makes it a superellipsoid."""
    c, r = _vector(centre), _vector(radii)
    matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix().astype(np.float32)
    turned = any(turn)
    reach = np.sqrt((matrix**2) @ (r.astype(np.float64) ** 2)) if turned else r
    if boxy and turned:
        reach = np.abs(matrix) @ r
    scale = np.float32(np.min(r))
    rows = matrix.T / r[:, None]

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - c[0], y - c[1], z - c[2]
        if turned:
            u, v, w = (row[0] * dx + row[1] * dy + row[2] * dz for row in rows)
        else:
            u, v, w = dx / r[0], dy / r[1], dz / r[2]
        u, v, w = u * u, v * v, w * w
        if boxy:
            return (np.sqrt(np.sqrt(u * u + v * v + w * w)) - 1) * scale
        return (np.sqrt(u + v + w) - 1) * scale

    return Shape(c - reach, c + reach, field)


def cone(start: Point, end: Point, radius_start: float, radius_end: float) -> Shape:
    """A round cone: spheres of linearly changing radius swept from ``start`` to ``end``."""
    # Plain floats: a body has thousands of cones, and small numpy arrays are slow to handle one by one.
    ax, ay, az = (float(v) for v in start)
    bx, by, bz = (float(v) for v in end)
    ra, rb = float(radius_start), float(radius_end)
    ux, uy, uz = bx - ax, by - ay, bz - az
    length2 = max(ux * ux + uy * uy + uz * uz, 1e-6)
    sx, sy, sz = ux / length2, uy / length2, uz / length2
    widening = rb - ra

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - ax, y - ay, z - az
        t = np.minimum(np.maximum(dx * sx + dy * sy + dz * sz, 0), 1)
        dx -= t * ux
        dy -= t * uy
        dz -= t * uz
        distance = np.sqrt(dx * dx + dy * dy + dz * dz)
        distance -= t * widening
        distance -= ra
        return distance

    lo = np.array((min(ax - ra, bx - rb), min(ay - ra, by - rb), min(az - ra, bz - rb)))
    hi = np.array((max(ax + ra, bx + rb), max(ay + ra, by + rb), max(az + ra, bz + rb)))
    return Shape(lo, hi, field)


def spline(points: Sequence[Point] | np.ndarray, step: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth curve through ``points``: (N, 3) samples about ``step`` mm apart and (N,) knots in 0..len-1."""
    knots = np.asarray(points, dtype=np.float64)
    if len(knots) < 3:
        length = float(np.linalg.norm(knots[-1] - knots[0]))
        at = np.linspace(0, len(knots) - 1, max(2, int(length / step) + 1))
        return knots[0] + at[:, None] * (knots[-1] - knots[0]), at
    chords = np.maximum(np.linalg.norm(np.diff(knots, axis=0), axis=1), 1e-3)
    where = np.concatenate([[0], np.cumsum(chords)])
    samples = np.linspace(0, where[-1], max(len(knots), int(where[-1] / step) + 1))
    curve = CubicSpline(where, knots, bc_type="natural")(samples)
    return curve, np.interp(samples, where, np.arange(len(knots)))


def tube(points: Sequence[Point] | np.ndarray, radii: Radii, step: float = 8.0) -> Union:
    """A tube along the spline through ``points``; ``radii`` in mm, one or one per point."""
    curve, at = spline(points, step)
    per_point = np.broadcast_to(np.asarray(radii, dtype=np.float64), (len(points),))
    along = np.interp(at, np.arange(len(points)), per_point)
    return tube_through(curve, along)


def tube_through(curve: np.ndarray, radii: np.ndarray) -> Union:
    """A tube through (N, 3) samples with (N,) radii, all in mm."""
    points, sizes = curve.tolist(), radii.tolist()
    segments = zip(points[:-1], points[1:], sizes[:-1], sizes[1:], strict=True)
    return Union(tuple(cone(a, b, ra, rb) for a, b, ra, rb in segments))


def blend(shapes: Sequence[Solid], softness: float) -> Shape:
    """A smooth union of shapes: neighbours within ``softness`` mm melt together."""
    parts = [p for s in shapes for p in s.parts]
    soft = np.float32(softness)

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        total = parts[0].field(x, y, z)
        for part in parts[1:]:
            other = part.field(x, y, z)
            overlap = np.maximum(soft - np.abs(total - other), 0)
            total = np.minimum(total, other) - overlap * overlap / (4 * soft)
        return total

    lo = np.min([p.lo for p in parts], axis=0) - softness / 4
    hi = np.max([p.hi for p in parts], axis=0) + softness / 4
    return Shape(lo, hi, field)


def cut(shape: Shape, *tools: Solid) -> Shape:
    """``shape`` without ``tools``."""
    removed = [p for t in tools for p in t.parts]

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        total = shape.field(x, y, z)
        for tool in removed:
            total = np.maximum(total, -tool.field(x, y, z))
        return total

    return Shape(shape.lo, shape.hi, field)


def clip(shape: Shape, *limits: Shape) -> Shape:
    """The part of ``shape`` inside every one of ``limits``."""

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        total = shape.field(x, y, z)
        for limit in limits:
            total = np.maximum(total, limit.field(x, y, z))
        return total

    lo = np.max([shape.lo, *(s.lo for s in limits)], axis=0)
    hi = np.min([shape.hi, *(s.hi for s in limits)], axis=0)
    return Shape(lo, hi, field)


def shell(shape: Shape, thickness: float) -> Shape:
    """A wall of ``thickness`` mm centred on the surface of ``shape``."""
    half = np.float32(thickness / 2)

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.abs(shape.field(x, y, z)) - half

    # Fields grow by the smallest radius, so along the longer axes the wall is thicker than asked for.
    return Shape(shape.lo - 3 * thickness, shape.hi + 3 * thickness, field)


def grow(shape: Shape, amount: float) -> Shape:
    """``shape`` made larger by ``amount`` mm, or smaller when negative."""
    by = np.float32(amount)

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return shape.field(x, y, z) - by

    pad = 3 * max(amount, 0.0)
    return Shape(shape.lo - pad, shape.hi + pad, field)


def everywhere(lo: Point, hi: Point) -> Shape:
    """The whole of a box; for layers whose outline is a region."""
    return Shape(_vector(lo), _vector(hi), lambda x, y, z: np.full(x.shape, -1, dtype=np.float32))


def below(point: Point, normal: Point) -> Shape:
    """The half space on the side of ``point`` that ``normal`` points away from."""
    p, n = _vector(point), _vector(normal)
    n = n / np.float32(np.linalg.norm(n))

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return (x - p[0]) * n[0] + (y - p[1]) * n[1] + (z - p[2]) * n[2]

    return Shape(np.full(3, -_FAR), np.full(3, _FAR), field)


def profile(levels: Sequence[tuple[float, float, float, float]], grow_by: Point = (0, 0, 0)) -> Shape:
    """A trunk: rounded cross-sections stacked along z.

    Args:
        levels: rows (z, half width, front y, back y) in mm, z increasing.
        grow_by: mm added to the half width, the front and the back.
    """
    table = np.asarray(levels, dtype=np.float64)
    heights = np.arange(np.floor(table[0, 0]), np.ceil(table[-1, 0]) + 1)
    side, front, back = (np.interp(heights, table[:, 0], table[:, i]) for i in (1, 2, 3))
    side, front, back = side + grow_by[0], front - grow_by[1], back + grow_by[2]
    middle, depth = (front + back) / 2, (back - front) / 2
    middle32, inverse_depth, inverse_side = (v.astype(np.float32) for v in (middle, 1 / depth, 1 / side))
    scale = (np.minimum(side, depth) / 2.5).astype(np.float32)
    z0 = np.float32(heights[0])
    z_top = np.float32(heights[-1])

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        level = (z - z0).astype(np.intp)
        u = np.abs(x) * inverse_side.take(level, mode="clip")
        v = np.abs(y - middle32.take(level, mode="clip")) * inverse_depth.take(level, mode="clip")
        # |u|^2.5 by square roots, which are an order of magnitude faster than a general power.
        inside = (u * u * np.sqrt(u) + v * v * np.sqrt(v) - 1) * scale.take(level, mode="clip")
        return np.maximum(inside, np.maximum(z0 - z, z - z_top))

    lo = np.array([-side.max(), front.min(), heights[0]], dtype=np.float32)
    hi = np.array([side.max(), back.max(), heights[-1]], dtype=np.float32)
    return Shape(lo, hi, field)

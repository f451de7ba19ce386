"""A support annotation carried to the query's own grid, one structure at a time and no more of it than needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from fseft.location.registration import Registration
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry

#: Spacing in mm at which boxes of interest are found; the structures themselves are sampled at every voxel.
SEARCH_MM = 6.0
#: Support voxels kept around a structure, so that interpolation finds its neighbours.
MARGIN = 2

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Carrier:
    """Carries one support annotation along its registration.

    Attributes:
        annotation: the support case's.
        support: grid of the annotation.
        query: grid to carry to.
        registration: query to support.
    """

    annotation: Annotation
    support: Geometry
    query: Geometry
    registration: Registration

    def box_of(self, value: int) -> Box | None:
        """The part of the query's grid (z, y, x) that can hold the structure; None when it lies outside.

        The box holds every voxel whose position in the support lies in the structure's bounding box there.
        """
        found = self._box_in_support(value)
        if found is None:
            return None
        steps, positions = self._map
        reach = self._reach
        near = np.ones(positions.shape[1:], dtype=bool)
        for axis, part in enumerate(found):
            near &= (positions[axis] >= part.start - 1 - reach[axis]) & (positions[axis] <= part.stop + reach[axis])
        if not near.any():
            return None
        box = []
        for axis, (step, size) in enumerate(zip(steps, self.query.array_shape, strict=True)):
            used = np.flatnonzero(near.any(axis=tuple(a for a in range(3) if a != axis)))
            box.append(slice(max(0, (int(used[0]) - 1) * step), min(size, (int(used[-1]) + 1) * step + 1)))
        return box[0], box[1], box[2]

    def carry(self, value: int, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """One structure in a box of the query's grid.

        Args:
            value: the structure's label in the annotation.
            box: see :meth:`box_of`; may be larger.

        Returns:
            (z, y, x) float32 of the box: how much of each voxel is the structure, 0..1, and how much of it the
            annotation knows, 0..1. Slices left unannotated and places that the support does not show are unknown.
        """
        crop = self._crop_for(box)
        shape = tuple(part.stop - part.start for part in box)
        if crop is None:
            return np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if self.annotation.annotated is None and self._shows(box):
            mask = (self.annotation.labels[crop] == value).astype(np.float32)
            return self._sample(mask, crop, box), np.ones(shape, np.float32)
        known = np.ones(tuple(part.stop - part.start for part in crop), dtype=np.float32)
        if self.annotation.annotated is not None:
            known *= np.broadcast_to(self.annotation.annotated, self.support.array_shape)[crop]
        mask = (self.annotation.labels[crop] == value) * known
        part_known = self._sample(known, crop, box)
        return self._share(self._sample(mask, crop, box), part_known), part_known

    def knows(self, value: int, box: Box) -> np.ndarray:
        """Where the case can tell whether a structure is there: (z, y, x) bool of a box of the query's grid.

        To :data:`SEARCH_MM`. Slices left unannotated are unknown, and so is what the support scan does not show, unless
        the structure ends inside of it: then there is no more of it beyond.
        """
        beyond = self._ends_inside(value)
        if self.annotation.annotated is None and (beyond or self._shows(box)):
            return np.ones([part.stop - part.start for part in box], dtype=bool)
        shown, annotated = self._known
        known = np.where(shown, annotated, beyond)
        nearest = []
        for part, step, count in zip(box, self._map[0], known.shape, strict=True):
            nearest.append(np.minimum((np.arange(part.start, part.stop) + step // 2) // step, count - 1))
        there: np.ndarray = known[np.ix_(*nearest)]
        return there

    def _box_in_support(self, value: int) -> Box | None:
        return self._boxes[value - 1] if value <= len(self._boxes) else None

    def _ends_inside(self, value: int) -> bool:
        """Whether the support scan shows background around the whole structure."""
        found = self._box_in_support(value)
        if found is None:
            return False
        return all(p.start > 0 and p.stop < size for p, size in zip(found, self.support.array_shape, strict=True))

    @staticmethod
    def _share(mask: np.ndarray, known: np.ndarray) -> np.ndarray:
        # Interpolation reaches into unannotated slices, which count as nothing and not as background.
        share: np.ndarray = np.divide(mask, known, out=np.zeros_like(mask), where=known > 1e-3)
        return share

    @cached_property
    def _transform(self) -> sitk.Transform:
        return self.registration.transform()

    @cached_property
    def _boxes(self) -> list[Box | None]:
        boxes: list[Box | None] = ndimage.find_objects(self.annotation.labels)
        return boxes

    @cached_property
    def _map(self) -> tuple[tuple[int, int, int], np.ndarray]:
        """Every ``steps``-th query voxel (z, y, x) and where it lies in the support, (3, ...) z, y, x indices."""
        steps = [max(1, int(SEARCH_MM / s)) for s in self.query.spacing]
        size = [(n - 1) // step + 1 for n, step in zip(self.query.size, steps, strict=True)]
        spacing = [s * step for s, step in zip(self.query.spacing, steps, strict=True)]
        moved = sitk.TransformToDisplacementField(
            self._transform, sitk.sitkVectorFloat64, size, self.query.origin, spacing, self.query.direction
        )
        displacement = sitk.GetArrayFromImage(moved)
        grid = Geometry(tuple(size), tuple(spacing), self.query.origin, self.query.direction)  # type: ignore[arg-type]
        index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.array_shape], indexing="ij"), axis=-1)
        world = grid.to_world(index.reshape(-1, 3)[:, ::-1]) + displacement.reshape(-1, 3)
        positions = self.support.to_index(world)[:, ::-1].T.reshape(3, *grid.array_shape)
        return (steps[2], steps[1], steps[0]), positions.astype(np.float32)

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels of the search grid that the support scan shows, and those whose slices (the nearest) are annotated."""
        index = np.rint(self._map[1]).astype(int)
        last = np.array(self.support.array_shape).reshape(3, 1, 1, 1) - 1
        shown: np.ndarray = ((index >= 0) & (index <= last)).all(axis=0)
        if self.annotation.annotated is None:
            return shown, np.ones_like(shown)
        z, y, x = np.clip(index, 0, last)
        return shown, np.broadcast_to(self.annotation.annotated, self.support.array_shape)[z, y, x]

    @cached_property
    def _reach(self) -> np.ndarray:
        """Support voxels (z, y, x) between neighbours of the search grid: no structure slips between them."""
        _, positions = self._map
        reach = np.ones(3)
        for axis in range(3):
            if positions.shape[axis + 1] > 1:
                jumps = np.abs(np.diff(positions, axis=axis + 1)).reshape(3, -1)
                reach = np.maximum(reach, jumps.max(axis=1))
        return reach

    def _positions_in(self, box: Box) -> np.ndarray:
        """(3, N) z, y, x indices in the support of a box's voxels on the search grid, and of those around it."""
        steps, positions = self._map
        around = [slice(None)]
        around += [slice(max(0, b.start // step - 1), b.stop // step + 2) for b, step in zip(box, steps, strict=True)]
        return positions[tuple(around)].reshape(3, -1)

    def _shows(self, box: Box) -> bool:
        """Whether the support scan shows every voxel of a box of the query."""
        here, last = self._positions_in(box), np.array(self.support.array_shape) - 1
        low, high = here.min(axis=1) - self._reach, here.max(axis=1) + self._reach
        return bool((low >= 0).all() and (high <= last).all())

    def _crop_for(self, box: Box) -> Box | None:
        """The part of the support that a box of the query lies in; None when it lies beside the scan."""
        here = self._positions_in(box)
        crop = []
        for axis, size in enumerate(self.support.array_shape):
            low = max(0, int(np.floor(here[axis].min() - self._reach[axis])) - MARGIN)
            high = min(size, int(np.ceil(here[axis].max() + self._reach[axis])) + MARGIN + 1)
            if low >= high:
                return None
            crop.append(slice(low, high))
        return crop[0], crop[1], crop[2]

    def _sample(self, array: np.ndarray, crop: Box, box: Box) -> np.ndarray:
        image = sub_grid(self.support, crop).image_of(array)
        target = sub_grid(self.query, box)
        moved = sitk.Resample(
            image, target.size, self._transform, sitk.sitkLinear, target.origin, target.spacing, target.direction, 0.0
        )
        sampled: np.ndarray = sitk.GetArrayFromImage(moved)
        return sampled


def sub_grid(geometry: Geometry, box: Sequence[slice]) -> Geometry:
    """The grid of a box (z, y, x) of a grid: the same voxels in the same places."""
    start = np.array([[part.start for part in box[::-1]]])
    size = tuple(part.stop - part.start for part in box[::-1])
    origin = tuple(float(v) for v in geometry.to_world(start)[0])
    return Geometry(size, geometry.spacing, origin, geometry.direction)  # type: ignore[arg-type]


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of one or more boxes."""
    joined = [slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(3)]
    return joined[0], joined[1], joined[2]

"""Support cases on the network grid: cached features beside labels, ready to be cropped and sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from fseft.errors import AnnotationError
from fseft.features.volume import FeatureVolume
from fseft.scan.annotation import Annotation
from fseft.structures import Structure


@dataclass(frozen=True, eq=False)
class SupportCase:
    """One annotated scan as training sees it.

    Attributes:
        name: for messages only.
        features: the scan's feature volume.
        labels: (x, y, z) uint8/uint16 on the network grid: 0 background, i + 1 for structure i of the support set.
        annotated: (x, y, z) bool, voxels whose label counts.
        known: per structure, whether this case annotates it; the others are ignored here, not background.
        views: the same scan seen otherwise, to learn from beside it; see :mod:`fseft.adaptation.views`.
    """

    name: str
    features: FeatureVolume
    labels: np.ndarray
    annotated: np.ndarray
    known: tuple[bool, ...]
    views: tuple[SupportCase, ...] = ()

    @cached_property
    def foreground(self) -> tuple[np.ndarray, ...]:
        """Flat indices of each structure's annotated voxels."""
        labels = np.where(self.annotated, self.labels, 0).ravel()
        return tuple(np.flatnonzero(labels == i + 1) for i in range(len(self.known)))

    @cached_property
    def background(self) -> np.ndarray:
        """Flat indices of annotated background voxels inside the body."""
        return np.flatnonzero((self.annotated & (self.labels == 0) & self.features.body).ravel())


def make_support_case(
    name: str, features: FeatureVolume, annotation: Annotation, structures: Sequence[Structure]
) -> SupportCase:
    """Bring an annotation to its scan's network grid.

    Args:
        name: for messages.
        features: the scan's feature volume.
        annotation: on the scan's own grid.
        structures: the support set's, which fix the order of outputs; matched to the annotation's by name.

    Raises:
        AnnotationError: "annotation-empty" when no wanted structure has a voxel on the network grid.
    """
    grid = features.grid
    values = {structure.name: structure.value for structure in annotation.structures}
    known = tuple(structure.name in values for structure in structures)
    wanted = np.zeros(annotation.labels.shape, dtype=np.uint16)
    for position, structure in enumerate(structures, start=1):
        if structure.name in values:
            wanted[annotation.labels == values[structure.name]] = position
    labels = grid.labels_to_network(wanted, tuple(range(1, len(structures) + 1)))
    annotated = np.zeros(grid.shape, dtype=bool)
    annotated[tuple(slice(0, axis.content) for axis in grid.axes)] = True
    if annotation.annotated is not None:
        annotated &= grid.nearest_to_network(np.broadcast_to(annotation.annotated, annotation.labels.shape))
        # Linear label resampling blurs between annotated slices and ignored ones; nearest keeps drawn voxels drawn.
        nearest = np.zeros(grid.shape, dtype=np.uint16)
        for position in range(1, len(structures) + 1):
            nearest[grid.nearest_to_network(wanted == position)] = position
        labels = nearest
    if not (annotated & (labels > 0)).any():
        raise AnnotationError(
            "annotation-empty",
            f"The annotation of {name!r} holds none of the structures to learn.",
            "Annotate at least one of them in this scan, or take the scan out of the support set.",
        )
    return SupportCase(name, features, labels, annotated, known)


@dataclass(frozen=True)
class CropBatch:
    """Crops of one support case.

    Attributes:
        levels: (crops, channels, ...) per level with ``context`` voxels on every side.
        labels: (crops, x, y, z) int64.
        annotated: (crops, x, y, z) bool.
        known: per structure.
    """

    levels: list[torch.Tensor]
    labels: torch.Tensor
    annotated: torch.Tensor
    known: tuple[bool, ...]


def sample_crops(
    case: SupportCase,
    crop: int,
    count: int,
    positive_fraction: float,
    context: int,
    generator: np.random.Generator,
    device: torch.device | str = "cpu",
) -> CropBatch:
    """Random crops, a share of them through an annotated structure, each structure equally often.

    Args:
        case: the case.
        crop: edge in network voxels, clipped to the volume.
        count: number of crops.
        positive_fraction: share of crops that contain a voxel of a randomly chosen structure.
        context: see :meth:`FeatureVolume.crop`.
        generator: source of randomness.
        device: where tensors go.
    """
    shape = np.array(case.labels.shape)
    stride = max(level.stride for level in case.features.levels)
    size = np.minimum(crop, shape) // stride * stride
    present = [indices for indices in case.foreground if indices.size]
    positives = round(count * positive_fraction)
    levels, labels, annotated = [], [], []
    for number in range(count):
        pool = present[generator.integers(len(present))] if number < positives or not case.background.size else None
        indices = case.background if pool is None else pool
        voxel = np.array(np.unravel_index(indices[generator.integers(indices.size)], case.labels.shape))
        start = _start_around(voxel, size, shape, stride, generator)
        levels.append(case.features.crop(start, size, context, device))
        region = tuple(slice(int(b), int(b + e)) for b, e in zip(start, size, strict=True))
        labels.append(torch.from_numpy(case.labels[region].astype(np.int64)))
        annotated.append(torch.from_numpy(case.annotated[region]))
    stacked = [torch.stack(blocks) for blocks in zip(*levels, strict=True)]
    return CropBatch(stacked, torch.stack(labels).to(device), torch.stack(annotated).to(device), case.known)


def _start_around(
    voxel: np.ndarray, size: np.ndarray, shape: np.ndarray, stride: int, generator: np.random.Generator
) -> list[int]:
    """A crop start, multiple of the stride, such that the crop holds the voxel."""
    low = np.maximum(0, voxel - size + 1)
    high = np.minimum(voxel, shape - size)
    first, last = -(-low // stride), high // stride
    return [int(generator.integers(a, max(a, b) + 1)) * stride for a, b in zip(first, last, strict=True)]

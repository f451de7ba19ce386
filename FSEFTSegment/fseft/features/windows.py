"""Sliding windows over a network grid, ordered so that finished slabs can be written while later ones are computed.

MONAI is imported where windows are needed: loading it takes seconds, and cached feature volumes need none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fseft.backbones.specification import BackboneSpecification


@dataclass(frozen=True)
class WindowPlan:
    """Windows of one scan.

    Attributes:
        size: network voxels per window (x, y, z).
        starts: (x, y, z) of every window, sorted by z.
    """

    size: tuple[int, int, int]
    starts: tuple[tuple[int, int, int], ...]


def plan_windows(
    shape: Sequence[int], specification: BackboneSpecification, overlap: float | None = None
) -> WindowPlan:
    """MONAI's dense windows: the interval is ``patch * (1 - overlap)`` and the last one ends at the border.

    The interval is rounded down to the largest stride so that windows begin on every level's voxels.
    """
    from monai.data.utils import dense_patch_slices

    overlap = specification.overlap if overlap is None else overlap
    size = tuple(min(patch, extent) for patch, extent in zip(specification.patch, shape, strict=True))
    stride = specification.largest_stride
    interval = [
        edge if edge == extent else max(stride, int(edge * (1 - overlap)) // stride * stride)
        for edge, extent in zip(size, shape, strict=True)
    ]
    slices = dense_patch_slices(tuple(shape), size, interval)
    starts = {tuple(int(s.start) for s in window) for window in slices}
    return WindowPlan(size, tuple(sorted(starts, key=lambda start: (start[2], start[1], start[0]))))  # type: ignore[arg-type]


def blending_weights(size: Sequence[int], stride: int) -> Tensor:
    """Gaussian importance of a window's voxels at a level, (x, y, z), as MONAI's sliding window weighs them."""
    from monai.data.utils import compute_importance_map

    level_size = tuple(edge // stride for edge in size)
    return compute_importance_map(level_size, mode="gaussian", sigma_scale=0.125, dtype=torch.float32)

"""Probabilities of an adapter on the network grid, block by block, equal to scoring the whole volume at once.

What limits this is the adapter's convolutions. A block therefore brings no more context than its result depends on:
on every level as many feature voxels as the adapter reaches, and one more for the upsampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fseft.adapters.adapter import Adapter
from fseft.adapters.head import upsample_scores
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume

BLOCK = 96  # network voxels per side of a scored block

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Network voxels (begin, end) along x, y and z."""


def refined_levels(
    adapter: Adapter, features: FeatureVolume, box: Box, context: int, device: torch.device | str
) -> list[Tensor]:
    """The adapter's refined features of a box.

    Args:
        adapter: on ``device``.
        features: the scan's.
        box: multiples of every stride.
        context: voxels of each level on all sides beside the box; beyond the volume they mean nothing.
        device: where to compute.

    Returns:
        (1, channels, x / stride + 2 context, ...) per level, finest first.
    """
    start, size = [b for b, _ in box], [e - b for b, e in box]
    levels = [level[None] for level in features.crop(start, size, adapter.reach + context, device)]
    return adapter.refine_inside(levels)


def box_logits(adapter: Adapter, features: FeatureVolume, box: Box, device: torch.device | str) -> Tensor:
    """(outputs, x, y, z) logits of a box, as the whole volume's would be there."""
    head = adapter.head
    finest = head.strides[0]
    total: Tensor | None = None
    levels = refined_levels(adapter, features, box, 1, device)
    for layer, level, stride in zip(head.levels, levels, head.strides, strict=True):
        scores = layer(level)
        _repeat_edges(scores, box, features.grid.shape)
        inner = slice(stride // finest, -(stride // finest))
        raised = upsample_scores(scores, stride // finest)[0, :, inner, inner, inner]
        total = raised if total is None else total + raised
    assert total is not None
    return total


def _repeat_edges(scores: Tensor, box: Box, shape: Sequence[int]) -> None:
    """Where the context leaves the volume, upsampling must see the volume's last voxel again, not padding."""
    for axis, ((begin, end), limit) in enumerate(zip(box, shape, strict=True), start=2):
        if begin == 0:
            scores.select(axis, 0).copy_(scores.select(axis, 1))
        if end == limit:
            scores.select(axis, -1).copy_(scores.select(axis, -2))


def probabilities_of(logits: Tensor) -> Tensor:
    """Probabilities of (outputs, ...) logits: sigmoid of one output, softmax of several."""
    return logits.sigmoid() if logits.shape[0] == 1 else logits.softmax(dim=0)


def boxes_within(region: Box) -> Iterator[Box]:
    """The blocks that a region is scored in."""
    ranges = [[(b, min(b + BLOCK, end)) for b in range(begin, end, BLOCK)] for begin, end in region]
    for x in ranges[0]:
        for y in ranges[1]:
            for z in ranges[2]:
                yield (x, y, z)


@torch.inference_mode()
def score_blocks(
    adapter: Adapter, features: FeatureVolume, region: Box, compute: Compute
) -> Iterator[tuple[Box, np.ndarray]]:
    """Score the blocks of a region that touch the body.

    Args:
        adapter: in evaluation mode, on the device.
        features: the scan's.
        region: bounds that are multiples of every stride, or the volume's end.
        compute: device.

    Yields:
        Block and its (outputs, x, y, z) float32 probabilities; blocks do not overlap.
    """
    for box in boxes_within(region):
        if features.body[tuple(slice(b, e) for b, e in box)].any():
            yield box, probabilities_of(box_logits(adapter, features, box, compute.device)).float().cpu().numpy()


def whole(features: FeatureVolume) -> Box:
    """The box of a whole feature volume."""
    x, y, z = features.grid.shape
    return ((0, x), (0, y), (0, z))


def background_scores(outputs: int, shape: Sequence[int]) -> np.ndarray:
    """(outputs, x, y, z) probabilities where nothing is."""
    scores = np.zeros((outputs, *shape), dtype=np.float32)
    if outputs > 1:
        scores[0] = 1.0
    return scores


def score_volume(adapter: Adapter, features: FeatureVolume, compute: Compute) -> np.ndarray:
    """(outputs, x, y, z) float32 probabilities of a whole network grid; output 0 is background if there are several."""
    adapter = adapter.to(compute.device).eval()
    scores = background_scores(adapter.head.outputs, features.grid.shape)
    for (x, y, z), block in score_blocks(adapter, features, whole(features), compute):
        scores[:, slice(*x), slice(*y), slice(*z)] = block
    adapter.cpu()
    return scores

"""A region's refined features, pooled where it is large: what refinement optimises a head on, again and again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fseft.adapters.adapter import Adapter
from fseft.adapters.head import upsample_scores
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.segmentation.scoring import Box, boxes_within, refined_levels

LARGEST_VOXELS = 800_000  # pooled above this: every step of the optimiser touches all of them


@dataclass(frozen=True)
class RegionFeatures:
    """Refined features of a box, pooled.

    Attributes:
        levels: (1, channels, x, y, z) each, finest first.
        factors: voxels of the finest of them per voxel of each.
        logits: (outputs, x, y, z) of the unchanged head.
        body: (x, y, z) bool, voxels with body.
        voxel_ml: volume of a voxel of the finest.
    """

    levels: tuple[Tensor, ...]
    factors: tuple[int, ...]
    logits: Tensor
    body: Tensor
    voxel_ml: float

    def scores(self, weights: list[Tensor], bias: Tensor) -> Tensor:
        """(rows, x, y, z) scores of some rows of a head: weights (rows, channels) per level, bias (rows,)."""
        total = bias[:, None, None, None]
        for level, factor, weight in zip(self.levels, self.factors, weights, strict=True):
            scored = functional.conv3d(level, weight[:, :, None, None, None])
            total = total + upsample_scores(scored, factor)[0]
        return total


@torch.no_grad()
def region_features(adapter: Adapter, features: FeatureVolume, region: Box, compute: Compute) -> RegionFeatures:
    """Refine and pool the features of a box.

    Args:
        adapter: in evaluation mode.
        features: the scan's.
        region: bounds multiples of every stride.
        compute: device.
    """
    strides = adapter.head.strides
    pooled = _pooled_stride(region, strides)
    extent = [end - begin for begin, end in region]
    targets = [max(stride, pooled) for stride in strides]
    levels = [
        torch.zeros(1, weight.shape[1], *(e // target for e in extent))
        for weight, target in zip(adapter.head.weights, targets, strict=True)
    ]
    adapter = adapter.to(compute.device)
    for box in boxes_within(region):
        for whole, level, stride, target in zip(
            levels, refined_levels(adapter, features, box, 0, compute.device), strides, targets, strict=True
        ):
            where = [slice((b - r) // target, (e - r) // target) for (b, e), (r, _) in zip(box, region, strict=True)]
            shrunk = functional.avg_pool3d(level, target // stride) if target > stride else level
            whole[:, :, where[0], where[1], where[2]] = shrunk.float().cpu()
    adapter.cpu()
    factors = tuple(target // targets[0] for target in targets)
    body = torch.from_numpy(features.body[tuple(slice(b, e) for b, e in region)].copy())
    body = functional.max_pool3d(body[None].float(), targets[0])[0] > 0
    volume = features.grid.voxel_volume_ml * targets[0] ** 3
    empty = RegionFeatures(tuple(levels), factors, torch.zeros(0), body, volume)
    head = adapter.head
    logits = empty.scores([weight.flatten(1) for weight in head.weights], head.bias)
    return RegionFeatures(tuple(levels), factors, logits, body, volume)


def _pooled_stride(region: Box, strides: tuple[int, ...]) -> int:
    """The finest stride, more for large regions, never coarser than the coarsest level."""
    stride = strides[0]
    voxels = 1
    for begin, end in region:
        voxels *= end - begin
    while voxels // stride**3 > LARGEST_VOXELS and stride < max(strides):
        stride *= 2
    return stride

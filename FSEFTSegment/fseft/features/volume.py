"""A feature volume: a scan's decoder features on the network grid, blended once, used many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fseft.backbones.specification import FeatureLevel
from fseft.preprocessing.grid import NetworkGrid


@dataclass(frozen=True)
class FeatureVolume:
    """Feature levels of one scan.

    Attributes:
        grid: the network grid they live on.
        levels: channels and stride of each, finest first.
        arrays: per level a float16 (channels, x/stride, y/stride, z/stride) array, usually a memory map.
        body: (x, y, z) bool, the coarse body mask on the network grid.
    """

    grid: NetworkGrid
    levels: tuple[FeatureLevel, ...]
    arrays: tuple[np.ndarray, ...]
    body: np.ndarray

    @property
    def nbytes(self) -> int:
        """Bytes of all levels."""
        return sum(array.nbytes for array in self.arrays)

    def crop(
        self, start: Sequence[int], size: Sequence[int], context: int = 0, device: torch.device | str = "cpu"
    ) -> list[Tensor]:
        """A block of every level.

        Args:
            start, size: network voxels (x, y, z), multiples of every stride, inside the volume.
            context: voxels *of each level* added on all sides; zeros beyond the volume, as a convolution pads.
            device: where the tensors go.

        Returns:
            (channels, size/stride + 2 * context...) float32 per level, finest first.
        """
        return [
            torch.from_numpy(_block(array, start, size, level.stride, context)).to(device).float()
            for level, array in zip(self.levels, self.arrays, strict=True)
        ]

    def at_points(self, points: np.ndarray) -> Tensor:
        """All levels' features at network voxels, trilinear where a level is coarser.

        Args:
            points: (n, 3) integer network voxels (x, y, z).

        Returns:
            (n, sum of channels) float32, levels stacked finest first.
        """
        gathered = [_gather(array, points, level.stride) for level, array in zip(self.levels, self.arrays, strict=True)]
        return torch.from_numpy(np.concatenate(gathered, axis=1))


def _block(array: np.ndarray, start: Sequence[int], size: Sequence[int], stride: int, context: int) -> np.ndarray:
    """One level's block with its context, zeros where that leaves the volume."""
    begin = [value // stride - context for value in start]
    extent = [value // stride + 2 * context for value in size]
    inside = [slice(max(0, b), min(limit, b + e)) for b, e, limit in zip(begin, extent, array.shape[1:], strict=True)]
    block = np.zeros((array.shape[0], *extent), dtype=array.dtype)
    target = [slice(s.start - b, s.stop - b) for s, b in zip(inside, begin, strict=True)]
    into, out_of = (slice(None), *target), (slice(None), *inside)
    block[into] = array[out_of]
    return block


def _gather(array: np.ndarray, points: np.ndarray, stride: int) -> np.ndarray:
    """Features of one level at network voxels, (n, channels) float32; the interpolation of `adapters.head.upsample`."""
    if stride == 1:
        return array[:, points[:, 0], points[:, 1], points[:, 2]].T.astype(np.float32)
    limits = np.array(array.shape[1:]) - 1
    position = np.clip((points + 0.5) / stride - 0.5, 0, limits)
    low = np.minimum(np.floor(position).astype(int), np.maximum(limits - 1, 0))
    share = (position - low).astype(np.float32)
    total = np.zeros((len(points), array.shape[0]), dtype=np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(np.array(corner) == 1, share, 1 - share), axis=1)
        index = np.minimum(low + np.array(corner), limits)
        total += weight[:, None] * array[:, index[:, 0], index[:, 1], index[:, 2]].T.astype(np.float32)
    return total

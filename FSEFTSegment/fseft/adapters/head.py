"""The linear head: a 1x1x1 convolution on every feature level, summed at the finest resolution."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class LinearHead(nn.Module):
    """Linear classifier of feature levels (a linear probe when it is trained alone).

    Interpolation is linear, so scoring each level at its own resolution and adding the upsampled scores
    equals scoring the upsampled and stacked features, at a fraction of the memory. With one level at full
    resolution this is the published ``conv 1^3, C -> classes`` with bias (paper, section 3.2).

    Args:
        channels: features per level, finest first.
        strides: network voxels per feature voxel of each level, finest first.
        outputs: score maps to produce.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.levels = nn.ModuleList(
            nn.Conv3d(count, outputs, kernel_size=1, bias=position == 0) for position, count in enumerate(channels)
        )

    @property
    def weights(self) -> list[nn.Parameter]:
        """(outputs, channels, 1, 1, 1) per level, finest first."""
        return [level.weight for level in self.levels]  # type: ignore[misc]

    @property
    def bias(self) -> nn.Parameter:
        """(outputs,), held by the finest level."""
        return self.levels[0].bias  # type: ignore[return-value]

    @property
    def outputs(self) -> int:
        """How many score maps the head produces."""
        return len(self.bias)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Scores at the finest level's stride.

        Args:
            levels: (batch, channels, x, y, z) per level, finest first.

        Returns:
            (batch, outputs, x, y, z) logits on the finest level's grid.
        """
        finest = self.strides[0]
        scores = [
            upsample_scores(layer(level), stride // finest)
            for layer, level, stride in zip(self.levels, levels, self.strides, strict=True)
        ]
        return torch.stack(scores).sum(dim=0) if len(scores) > 1 else scores[0]

    @torch.no_grad()
    def copy_row(self, row: int, other: LinearHead, other_row: int) -> None:
        """Take one output's weights and bias from another head with the same levels."""
        for mine, theirs in zip(self.weights, other.weights, strict=True):
            mine[row].copy_(theirs[other_row])
        self.bias[row].copy_(other.bias[other_row])


def upsample(volume: Tensor, factor: int) -> Tensor:
    """Trilinear upsampling of (batch, channels, x, y, z) by an integer factor, voxel areas kept aligned."""
    if factor == 1:
        return volume
    return functional.interpolate(volume, scale_factor=factor, mode="trilinear", align_corners=False)


def upsample_scores(volume: Tensor, factor: int) -> Tensor:
    """:func:`upsample` for the few channels of scores: one small matrix per axis.

    On a CPU several times faster than the library's interpolation, the gradient above all. It does not keep the
    channels last in memory, which is why networks do without it.
    """
    if factor == 1 or volume.device.type != "cpu":
        return upsample(volume, factor)
    batch, channels, *shape = volume.shape
    x, y, z = (torch.from_numpy(_upsampling(extent, factor)).to(volume.dtype) for extent in shape)
    raised = torch.matmul(y, torch.matmul(volume, z.T))
    raised = torch.matmul(x, raised.reshape(batch, channels, shape[0], -1))
    return raised.reshape(batch, channels, *(extent * factor for extent in shape))


@lru_cache(maxsize=64)
def _upsampling(extent: int, factor: int) -> np.ndarray:
    """(extent * factor, extent) float32 weights of linear interpolation, the first and last voxel repeated outside."""
    position = np.clip((np.arange(extent * factor) + 0.5) / factor - 0.5, 0, extent - 1)
    distance = np.abs(position[:, None] - np.arange(extent)[None])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)

"""What every adapter is: a small network from feature levels to one score map per output."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fseft.adapters.head import LinearHead

#: Levels with fewer channels are convolved faster on CPUs with the channels stored last (8: a third less, 32: no gain).
FEW_CHANNELS = 16


class Adapter(nn.Module):
    """Base of the black-box adapters: refine the feature levels, then a linear head.

    Subclasses override :meth:`refine` and :meth:`refine_inside`; the base class
    refines nothing and is the linear probe.

    Args:
        channels: features per level, finest first.
        strides: network voxels per feature voxel of each level.
        outputs: score maps; 1 for a single structure (sigmoid), structures + 1 for several (softmax,
            output 0 is background).
    """

    #: feature voxels at each side that influence a voxel's refined features
    reach = 0

    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.head = LinearHead(channels, strides, outputs)

    def refine(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Adapted features, same shapes as ``levels``; beyond them everything counts as zero."""
        return list(levels)

    def refine_inside(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Adapted features where all that they depend on is in ``levels``: ``reach`` smaller on every side.

        Equal to cutting :meth:`refine`, without computing first what is cut then.
        """
        return list(levels)

    def forward(self, levels: Sequence[Tensor], context: int = 0) -> Tensor:
        """Logits at the finest level.

        Args:
            levels: (batch, channels, x, y, z) per level, finest first.
            context: voxels on every side of every level that only inform their neighbours and are cut off before
                the head; with ``context >= reach`` a block is refined as the whole volume would be.

        Returns:
            (batch, outputs, x, y, z) without the context.
        """
        inside = context >= self.reach
        refined = self.refine_inside(levels) if inside else self.refine(levels)
        margin = context - self.reach if inside else context
        return self.head([_without_margin(level, margin) for level in refined])  # type: ignore[no-any-return]


class ResidualAdapter(Adapter):
    """``x + conv(ReLU(conv(x)))`` on every level, without bias, the last convolution starting at zero.

    It therefore starts as its head alone (paper, section 3.2).
    """

    kernel = 1

    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int) -> None:
        super().__init__(channels, strides, outputs)
        self.reach = 2 * (self.kernel // 2)
        self.residuals = nn.ModuleList(self._residual(count) for count in channels)

    def _residual(self, count: int) -> nn.Sequential:
        first = nn.Conv3d(count, count, self.kernel, padding="same", bias=False)
        last = nn.Conv3d(count, count, self.kernel, padding="same", bias=False)
        nn.init.zeros_(last.weight)
        return nn.Sequential(first, nn.ReLU(), last)

    def refine(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [level + residual(level) for level, residual in zip(levels, self.residuals, strict=True)]

    def refine_inside(self, levels: Sequence[Tensor]) -> list[Tensor]:
        refined = []
        weights = list(self.residuals.parameters())  # two convolutions a level, without bias
        for level, first, last in zip(levels, weights[::2], weights[1::2], strict=True):
            source = level
            if level.shape[1] < FEW_CHANNELS and level.device.type == "cpu":
                source = level.contiguous(memory_format=torch.channels_last_3d)
            change = functional.conv3d(functional.conv3d(source, first).relu(), last)
            refined.append(_without_margin(level, self.reach) + change)
        return refined


def _without_margin(level: Tensor, margin: int) -> Tensor:
    """A level without ``margin`` voxels on every side."""
    keep = slice(margin, -margin) if margin else slice(None)
    return level[..., keep, keep, keep]

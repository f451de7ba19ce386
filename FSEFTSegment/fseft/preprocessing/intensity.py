"""From Hounsfield units to what a network sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

AIR_HU = -1024.0
#: Soft tissue: neither gas and fat, nor calcium and metal.
SOFT_TISSUE_HU = (-80.0, 600.0)


def window(hounsfield: Tensor, windows_hu: Sequence[tuple[float, float]]) -> Tensor:
    """Map HU windows to 0..1, clipped.

    Args:
        hounsfield: (x, y, z) or (batch, x, y, z).
        windows_hu: (low, high) per channel.

    Returns:
        The windows stacked in a new channel axis before x: (windows, x, y, z) or (batch, windows, x, y, z).
    """
    channels = [((hounsfield - low) / (high - low)).clamp(0.0, 1.0) for low, high in windows_hu]
    return torch.stack(channels, dim=-4)

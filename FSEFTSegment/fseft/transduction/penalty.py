"""The size penalty of transductive inference (paper, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor


def size_penalty(size: Tensor, low: Tensor, high: Tensor, expected: Tensor) -> Tensor:
    """How far sizes are outside their range, relative to the larger of expected and present size.

    Zero inside the range; outside, the distance to the nearer bound over ``max(expected, size)``, whose denominator is
    a constant for the gradient. The paper's range is (1 - g) S .. (1 + g) S around the expected size S, g = 0.3.

    Args:
        size: (structures,) soft sizes, in any unit.
        low, high: (structures,) bounds in that unit.
        expected: (structures,) expected sizes in that unit, for the scale.

    Returns:
        (structures,) penalties, 0 .. 1.
    """
    outside = torch.relu(low - size) + torch.relu(size - high)
    return outside / torch.maximum(expected, size).detach().clamp_min(torch.finfo(size.dtype).tiny)

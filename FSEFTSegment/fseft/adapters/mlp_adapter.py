"""MLP adapter: a residual pair of 1x1x1 convolutions before the head (paper, section 3.2)."""

from __future__ import annotations

from fseft.adapters.adapter import ResidualAdapter


class MLPAdapter(ResidualAdapter):
    """Mixes features of the same voxel."""

    kernel = 1

"""Spatial adapter: a residual pair of 3x3x3 convolutions before the head (paper, section 3.2)."""

from __future__ import annotations

from fseft.adapters.adapter import ResidualAdapter


class SpatialAdapter(ResidualAdapter):
    """Mixes features of neighbouring voxels: the paper's black-box method."""

    kernel = 3

"""Linear probe: a 1x1x1 convolution on frozen features (paper, section 3.2)."""

from __future__ import annotations

from fseft.adapters.adapter import Adapter


class LinearProbe(Adapter):
    """The head alone, trained."""

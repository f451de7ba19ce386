"""Zero-shot: the pretrained head's rows, nothing trained."""

from __future__ import annotations

from fseft.adapters.adapter import Adapter


class ZeroShot(Adapter):
    """The backbone's own head for structures it was pretrained on; background scores 0, so a structure
    wins where its pretrained sigmoid exceeds one half."""

"""Networks by architecture name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from fseft.backbones.networks.backbone import Backbone
from fseft.backbones.networks.compact_unet import CompactUNetBackbone
from fseft.backbones.networks.suprem_unet import SupremUNetBackbone
from fseft.backbones.networks.swin_unetr import SwinUnetrBackbone
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import BackboneError

ARCHITECTURES: dict[str, Callable[..., Backbone]] = {
    "compact-unet": CompactUNetBackbone,
    "suprem-unet": SupremUNetBackbone,
    "swin-unetr": SwinUnetrBackbone,
}


def build_network(specification: BackboneSpecification) -> Backbone:
    """The specification's network with fresh weights.

    Raises:
        BackboneError: "backbone-architecture-unknown".
    """
    if specification.architecture not in ARCHITECTURES:
        raise BackboneError(
            "backbone-architecture-unknown",
            f"The architecture {specification.architecture!r} of backbone {specification.id!r} is not known here.",
            f"Update FSEFT; this version knows {', '.join(sorted(ARCHITECTURES))}.",
        )
    return ARCHITECTURES[specification.architecture](specification)


__all__ = ["ARCHITECTURES", "Backbone", "build_network"]

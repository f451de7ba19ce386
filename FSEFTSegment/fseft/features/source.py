"""A frozen backbone ready to give feature volumes: loaded only when the cache cannot answer."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from fseft.adapters.head import LinearHead
from fseft.backbones.library import find_backbone
from fseft.backbones.networks import Backbone
from fseft.backbones.weights import load_backbone, load_specification
from fseft.compute import Compute
from fseft.features.cache import FeatureCache
from fseft.features.volume import FeatureVolume
from fseft.reporting import SILENT, Reporter
from fseft.scan.scan import Scan


class FeatureSource:
    """Feature volumes of scans under one backbone.

    Args:
        folder: a backbone folder.
        compute: device and precision.
        cache: where feature volumes are kept.
    """

    def __init__(self, folder: Path, compute: Compute, cache: FeatureCache | None = None) -> None:
        self.folder = folder
        self.compute = compute
        self.cache = cache or FeatureCache()
        self.specification = load_specification(folder)

    @classmethod
    def of_backbone(cls, backbone_id: str, compute: Compute, cache: FeatureCache | None = None) -> FeatureSource:
        """The source of an installed backbone.

        Raises:
            BackboneError: when it is unknown, not installed or damaged.
        """
        return cls(find_backbone(backbone_id), compute, cache)

    @cached_property
    def network(self) -> Backbone:
        """The backbone, loaded on first use."""
        return load_backbone(self.folder)

    @property
    def head(self) -> LinearHead:
        """The pretrained head."""
        return self.network.head

    def features(self, scan: Scan, reporter: Reporter = SILENT) -> FeatureVolume:
        """The scan's feature volume, from the cache or computed."""
        return self.cache.features(scan, self.specification, lambda: self.network, self.compute, reporter)

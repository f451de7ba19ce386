"""The published backbone: Swin-UNETR with 48 features (MONAI's), used up to its last decoder level."""

from __future__ import annotations

from torch import Tensor, nn

from fseft.backbones.networks.backbone import Backbone
from fseft.backbones.specification import BackboneSpecification


class SwinUnetrBackbone(Backbone):
    """Swin-UNETR whose features are the 48 channels before the output convolution (paper, section 4.1)."""

    def __init__(self, specification: BackboneSpecification) -> None:
        super().__init__(specification)
        # Importing MONAI takes seconds, which no process should pay that runs another network.
        from monai.networks.nets import SwinUNETR

        parameters = specification.architecture_parameters
        self.network = SwinUNETR(
            in_channels=len(specification.windows_hu),
            out_channels=1,
            feature_size=int(parameters.get("feature_size", 48)),
            use_checkpoint=bool(parameters.get("use_checkpoint", False)),
            spatial_dims=3,
        )
        # The head lives in `Backbone`; with the identity in its place the network returns its features.
        self.network.out = nn.Identity()  # type: ignore[assignment]

    def features(self, windowed: Tensor) -> list[Tensor]:
        return [self.network(windowed)]

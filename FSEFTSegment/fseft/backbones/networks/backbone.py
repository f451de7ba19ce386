"""What every backbone network offers: features per level, and a head over its pretraining classes."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from fseft.adapters.head import LinearHead
from fseft.backbones.specification import BackboneSpecification


class Backbone(nn.Module):
    """A segmentation network split into features and a linear head."""

    def __init__(self, specification: BackboneSpecification) -> None:
        super().__init__()
        self.specification = specification
        self.head = LinearHead(
            [level.channels for level in specification.levels],
            [level.stride for level in specification.levels],
            max(1, len(specification.classes)),
        )

    @abstractmethod
    def features(self, windowed: Tensor) -> list[Tensor]:
        """Feature levels of a patch.

        Args:
            windowed: (batch, windows, x, y, z) intensities in 0..1, axes right, anterior, superior.

        Returns:
            One (batch, channels, x/stride, y/stride, z/stride) tensor per level of the specification, finest first.
        """

    def forward(self, windowed: Tensor) -> Tensor:
        """Logits of the pretraining classes, (batch, classes, x, y, z)."""
        return self.head(self.features(windowed))

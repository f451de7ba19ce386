"""The 3D U-Net of SuPreM (and of the CLIP-driven universal model), used up to its last decoder level.

Architecture as published (github.com/MrGiovanni/SuPreM, ``backbone/unet.py``): four levels of two 3^3 convolutions,
max pooling down, transposed convolutions up. Its batch normalisation always uses the statistics of the current batch,
also at inference, and the publishers run one patch at a time: that is instance normalisation, which is what this
network has, so that a patch's features do not depend on which other patches share its batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fseft.backbones.networks.backbone import Backbone
from fseft.backbones.specification import BackboneSpecification

_WIDTHS = (64, 128, 256, 512)


class NormalisedConvolution(nn.Module):
    """3^3 convolution, normalisation over the patch, ReLU; submodules carry the published names."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)
        self.bn1 = nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, volume: Tensor) -> Tensor:
        return torch.relu(self.bn1(self.conv1(volume)))


class Down(nn.Module):
    """One encoder level."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(
            NormalisedConvolution(inputs, outputs // 2), NormalisedConvolution(outputs // 2, outputs)
        )

    def forward(self, volume: Tensor) -> Tensor:
        result: Tensor = self.ops(volume)
        return result


class Up(nn.Module):
    """One decoder level: double the grid, stack the encoder's level, two convolutions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up_conv = nn.ConvTranspose3d(inputs, inputs, kernel_size=2, stride=2)
        self.ops = nn.Sequential(
            NormalisedConvolution(inputs + outputs, outputs), NormalisedConvolution(outputs, outputs)
        )

    def forward(self, volume: Tensor, skip: Tensor) -> Tensor:
        result: Tensor = self.ops(torch.cat([self.up_conv(volume), skip], dim=1))
        return result


class SupremUNet(nn.Module):
    """Encoder and decoder; returns the 64 channels before the output convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.down_tr64 = Down(1, _WIDTHS[0])
        self.down_tr128 = Down(_WIDTHS[0], _WIDTHS[1])
        self.down_tr256 = Down(_WIDTHS[1], _WIDTHS[2])
        self.down_tr512 = Down(_WIDTHS[2], _WIDTHS[3])
        self.up_tr256 = Up(_WIDTHS[3], _WIDTHS[2])
        self.up_tr128 = Up(_WIDTHS[2], _WIDTHS[1])
        self.up_tr64 = Up(_WIDTHS[1], _WIDTHS[0])

    def forward(self, volume: Tensor) -> Tensor:
        pool = nn.functional.max_pool3d
        level64 = self.down_tr64(volume)
        level128 = self.down_tr128(pool(level64, 2))
        level256 = self.down_tr256(pool(level128, 2))
        level512 = self.down_tr512(pool(level256, 2))
        raised = self.up_tr256(level512, level256)
        raised = self.up_tr128(raised, level128)
        result: Tensor = self.up_tr64(raised, level64)
        return result


class SupremUNetBackbone(Backbone):
    """SuPreM's U-Net; 64 features at full resolution, 19.1 M parameters."""

    def __init__(self, specification: BackboneSpecification) -> None:
        super().__init__(specification)
        self.network = SupremUNet()

    def features(self, windowed: Tensor) -> list[Tensor]:
        return [self.network(windowed)]

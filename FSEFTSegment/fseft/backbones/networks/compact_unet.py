"""The light convolutional network of the bundled backbone: a U-Net behind a stride-2 stem.

Almost all of its work happens at half resolution or coarser, which is what makes a laptop's CPU enough.
A shallow full-resolution level keeps edges sharp; coarser decoder levels carry what and where.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fseft.adapters.head import upsample
from fseft.backbones.networks.backbone import Backbone
from fseft.backbones.specification import BackboneSpecification


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, leaky ReLU; the normalisation folds away at inference."""
    padding = (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False),
        nn.BatchNorm3d(outputs),
        nn.LeakyReLU(0.01, inplace=True),
    )


class CompactUNetBackbone(Backbone):
    """U-Net with strides 2, 4, 8, 16 and a full-resolution detail level.

    Architecture parameters: ``detail`` (channels at full resolution), ``widths`` (channels at strides 2, 4, 8, 16).
    Features, finest first: detail level, then the decoder at strides 2, 4 and 8, as many as the specification lists.
    """

    def __init__(self, specification: BackboneSpecification) -> None:
        super().__init__(specification)
        parameters = specification.architecture_parameters
        detail = int(parameters["detail"])
        widths: Sequence[int] = [int(w) for w in parameters["widths"]]
        self.detail = convolution(len(specification.windows_hu), detail)
        self.stem = convolution(detail, widths[0], kernel=2, stride=2)
        self.encoder = nn.ModuleList()
        previous = widths[0]
        for depth, width in enumerate(widths):
            self.encoder.append(
                nn.Sequential(convolution(previous, width, stride=1 if depth == 0 else 2), convolution(width, width))
            )
            previous = width
        self.lateral = nn.ModuleList(nn.Conv3d(widths[d + 1], widths[d], 1) for d in range(len(widths) - 1))
        self.decoder = nn.ModuleList(convolution(2 * widths[d], widths[d]) for d in range(len(widths) - 1))

    def features(self, windowed: Tensor) -> list[Tensor]:
        detail = self.detail(windowed)
        skips = []
        volume = self.stem(detail)
        for block in self.encoder:
            volume = block(volume)
            skips.append(volume)
        levels = []
        for depth in range(len(skips) - 2, -1, -1):
            raised = upsample(self.lateral[depth](volume), 2)
            volume = self.decoder[depth](torch.cat([raised, skips[depth]], dim=1))
            levels.append(volume)
        return [detail, *reversed(levels)][: len(self.specification.levels)]

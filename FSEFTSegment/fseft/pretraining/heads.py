"""The backbone with what pretraining adds to it: linear heads for tissue, place and coordinates.

The heads are linear, and read the stacked feature levels, as adapters will: what they can tell from the frozen
features is what the features hold. They are not exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fseft.backbones.networks import Backbone
from fseft.pretraining.contrast import WIDTH, compared
from fseft.pretraining.settings import PretrainingSettings
from fseft.pretraining.targets import CELLS, TISSUES


class Outputs(NamedTuple):
    """Predictions at sampled voxels.

    Attributes:
        logits: (batch, n, classes).
        tissue: (batch, n, tissues).
        cells: (m, cells) at the m located voxels of the batch.
        coordinates: (m, 3).
        levels: (batch, n, classes) from each feature level alone; empty without deep supervision.
        distances: (batch, n, classes) to surfaces; None without that term.
        views: (2, batch, m, width) of compared voxels in both appearances; None without contrast.
    """

    logits: Tensor
    tissue: Tensor
    cells: Tensor
    coordinates: Tensor
    levels: tuple[Tensor, ...] = ()
    distances: Tensor | None = None
    views: Tensor | None = None


class PretrainingNetwork(nn.Module):
    """A backbone and its auxiliary heads.

    Args:
        backbone: to be trained.
        settings: which terms the loss has; the published loss scores all voxels with the backbone's head alone.
    """

    def __init__(self, backbone: Backbone, settings: PretrainingSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.everywhere = settings.loss == "published"
        self.channels = [level.channels for level in backbone.specification.levels]
        channels = sum(self.channels)
        self.heads = nn.ModuleDict()
        if not self.everywhere:
            self.heads["tissue"] = nn.Linear(channels, TISSUES)
            self.heads["cells"] = nn.Linear(channels, CELLS)
            self.heads["coordinates"] = nn.Linear(channels, 3)
        if settings.boundary_weight:
            self.heads["distances"] = nn.Linear(channels, backbone.head.outputs)
        if settings.contrast_weight:
            self.heads["views"] = nn.Linear(channels, WIDTH)
        self.level_heads = nn.ModuleList(
            nn.Linear(count, backbone.head.outputs) for count in (self.channels if settings.level_weight else ())
        )

    def forward(self, windowed: Tensor, points: Tensor, located: Tensor, twin: Tensor | None = None) -> Outputs:
        """Predictions at ``points``; see :class:`fseft.pretraining.sampling.Batch` for the arguments."""
        # One pass for both appearances: normalisation sees them together.
        levels = self.backbone.features(windowed if twin is None else torch.cat([windowed, twin]))
        others = [level[len(windowed) :].float() for level in levels]
        levels = [level[: len(windowed)] for level in levels]
        if self.everywhere:
            logits = self.backbone.head(levels).float().flatten(2).transpose(1, 2)
            nothing = logits.new_zeros(0)
            return Outputs(logits, nothing, nothing, nothing)
        features = point_features([level.float() for level in levels], points, tuple(windowed.shape[2:]))
        head = self.backbone.head
        weights = torch.cat([weight.flatten(1) for weight in head.weights], dim=1)
        placed = features[located]
        views = None
        if twin is not None:
            again = point_features(others, compared(points), tuple(windowed.shape[2:]))
            views = self.heads["views"](torch.stack([compared(features), again]))
        return Outputs(
            functional.linear(features, weights, head.bias).float(),
            self.heads["tissue"](features).float(),
            self.heads["cells"](placed).float(),
            self.heads["coordinates"](placed).float(),
            self._alone(features),
            self.heads["distances"](features).float() if "distances" in self.heads else None,
            views,
        )

    def _alone(self, features: Tensor) -> tuple[Tensor, ...]:
        """Classes as each level's part of the stacked features tells them; nothing without deep supervision."""
        parts = features.split(self.channels, dim=-1)
        return tuple(head(part).float() for head, part in zip(self.level_heads, parts, strict=False))


def point_features(levels: Sequence[Tensor], points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Features of all levels at voxels, interpolated as the head's upsampling does.

    Args:
        levels: (batch, channels, x / stride, y / stride, z / stride) each.
        points: (batch, n) flat indices into ``shape``.
        shape: (x, y, z) of the full-resolution grid.

    Returns:
        (batch, n, channels of all levels).
    """
    plane = shape[1] * shape[2]
    index = torch.stack([points % shape[2], points // shape[2] % shape[1], points // plane], dim=-1)
    extent = torch.tensor((shape[2], shape[1], shape[0]), device=points.device)
    grid = ((index.to(levels[0].dtype) + 0.5) * 2.0 / extent - 1.0)[:, :, None, None, :]
    sampled = [
        functional.grid_sample(level, grid, padding_mode="border", align_corners=False)[..., 0, 0] for level in levels
    ]
    return torch.cat(sampled, dim=1).transpose(1, 2)

"""Dense contrast: a voxel's features are to be alike in two appearances of a crop, and unlike other places'.

InfoNCE over voxels (van den Oord et al., 2018; over pixels of one image as in Wang et al., "Dense Contrastive
Learning", 2021). It needs no label, so real scans that nobody annotated teach as much as others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from fseft.pretraining.losses import Share

#: Every so many sampled voxels one is compared.
EVERY = 24
WIDTH = 64  # channels in which voxels are compared
TEMPERATURE = 0.1
#: Voxels nearer than this are neither alike nor unlike.
APART_VOXELS = 8.0


def compared(points: Tensor) -> Tensor:
    """(batch, m) of (batch, n) sampled voxels, or of anything that is kept for each of them."""
    return points[:, ::EVERY]


def contrast_term(views: Tensor, positions: Tensor, counted: Tensor, share: Share) -> Tensor:
    """Cross-entropy of finding each voxel again in the other appearance of its crop, both ways.

    Args:
        views: (2, batch, m, width) projected features of both appearances at the same voxels.
        positions: (batch, m, 3) voxels.
        counted: (batch, m) bool; air and what lies outside the scan looks the same everywhere.
        share: see :mod:`fseft.pretraining.losses`.
    """
    first, second = functional.normalize(views.float(), dim=-1)
    similarity = first @ second.transpose(1, 2) / TEMPERATURE
    near = torch.cdist(positions.float(), positions.float()) < APART_VOXELS
    itself = torch.eye(positions.shape[1], dtype=torch.bool, device=positions.device)
    left_out = (near & ~itself) | (~counted[:, None] & ~itself)
    target = torch.arange(positions.shape[1], device=positions.device).expand(counted.shape)[counted]
    total = similarity.sum() * 0.0
    for scores in (similarity, similarity.transpose(1, 2)):
        kept = scores.masked_fill(left_out, float("-inf"))[counted]
        total = total + 0.5 * functional.cross_entropy(kept, target, reduction="sum")
    return total / share(counted.sum().to(total.dtype)).clamp_min(1e-6)


def voxel_positions(points: Tensor, shape: tuple[int, ...]) -> Tensor:
    """(batch, m, 3) voxel indices of (batch, m) flat ones."""
    return torch.stack([points // (shape[1] * shape[2]), points // shape[2] % shape[1], points % shape[2]], dim=-1)

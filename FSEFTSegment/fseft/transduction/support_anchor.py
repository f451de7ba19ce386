"""The training loss of a head on crops of the annotated scans, made ready once for many steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fseft.adaptation.losses import few_shot_loss
from fseft.adaptation.support import SupportCase, sample_crops
from fseft.adapters.adapter import Adapter
from fseft.adapters.head import upsample_scores
from fseft.transduction.optimise import SupportLoss

CROP = 48  # network voxels
CROPS = 2  # of each case
POOL = 2  # as published
SEED = 3_001


@torch.no_grad()
def support_anchor(adapter: Adapter, cases: Sequence[SupportCase], cross_entropy: float = 1.0) -> SupportLoss | None:
    """The loss as a function of the head, its features refined and pooled beforehand.

    Args:
        adapter: in evaluation mode, on the CPU.
        cases: annotated scans with cached features; none gives None.
        cross_entropy: see :func:`fseft.adaptation.losses.few_shot_loss`.
    """
    if not cases:
        return None
    generator = np.random.default_rng(SEED)
    stride = adapter.head.strides[0] * POOL
    prepared = []
    for case in cases:
        batch = sample_crops(case, CROP, CROPS, 1.0, adapter.reach, generator)
        refined = adapter.refine_inside(batch.levels)
        levels = [_pooled(level, s, stride) for level, s in zip(refined, adapter.head.strides, strict=True)]
        centre = (slice(None), *(slice(stride // 2, None, stride),) * 3)
        prepared.append((levels, batch.labels[centre], batch.annotated[centre], batch.known))
    factors = [max(s, stride) // stride for s in adapter.head.strides]

    def loss(weights: list[Tensor], bias: Tensor) -> Tensor:
        losses = []
        for levels, labels, annotated, known in prepared:
            logits = bias[None, :, None, None, None]
            for level, weight, factor in zip(levels, weights, factors, strict=True):
                logits = logits + upsample_scores(functional.conv3d(level, weight[:, :, None, None, None]), factor)
            losses.append(few_shot_loss(logits, labels, annotated, known, cross_entropy)[0])
        return torch.stack(losses).mean()

    return loss


def _pooled(level: Tensor, stride: int, pooled: int) -> Tensor:
    return functional.avg_pool3d(level, pooled // stride) if stride < pooled else level

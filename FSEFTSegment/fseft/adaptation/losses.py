"""Losses of adaptation: soft Dice, optionally with cross-entropy, on what was really annotated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

_TINY = 1e-6


def structure_probabilities(logits: Tensor) -> Tensor:
    """(batch, structures, ...) probabilities: sigmoid for one output, softmax without background for several."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)[:, 1:]


@cache
def _dice_loss() -> Callable[[Tensor, Tensor], Tensor]:
    # Loaded with the first loss: it takes seconds, which segmentation and what else imports this module do not need.
    from monai.losses import DiceLoss

    return DiceLoss(include_background=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5, reduction="none")


def few_shot_loss(
    logits: Tensor, labels: Tensor, annotated: Tensor, known: Sequence[bool], cross_entropy: float
) -> tuple[Tensor, Tensor]:
    """Training loss of one batch of crops (paper, section 4.2, extended to partial annotation).

    Structures that a case does not annotate may be anywhere in what it calls background: their probability is
    added to the background's, and they carry no Dice term of their own.

    Args:
        logits: (batch, outputs, x, y, z).
        labels: (batch, x, y, z), 0 background, i + 1 structure i.
        annotated: (batch, x, y, z) bool; other voxels are ignored.
        known: per structure, annotated in this case or not.
        cross_entropy: weight of the cross-entropy term.

    Returns:
        Scalar loss, and the (structures,) Dice losses with NaN where a structure is unknown here.
    """
    structures = structure_probabilities(logits)
    mask = annotated[:, None].to(structures.dtype)
    wanted = [index for index, flag in enumerate(known) if flag]
    targets = torch.stack([labels == index + 1 for index in wanted], dim=1).to(structures.dtype)
    selected = structures[:, wanted]
    dice = _dice_loss()(selected * mask, targets * mask).reshape(-1)
    present = (targets * mask).flatten(2).sum(dim=(0, 2)) > 0
    # A structure absent from these crops has nothing to overlap with: its Dice would only punish noise, and the
    # cross-entropy already does that voxel by voxel.
    loss = dice[present].mean() if bool(present.any()) and cross_entropy > 0 else dice.mean()
    if cross_entropy > 0:
        background = (1.0 - selected.sum(dim=1, keepdim=True)).clamp_min(0.0)
        target_share = (selected * targets).sum(dim=1, keepdim=True)
        target_share = target_share + background * (targets.sum(dim=1, keepdim=True) == 0)
        surprise = -(target_share.clamp_min(_TINY)).log() * mask
        loss = loss + cross_entropy * surprise.sum() / mask.sum().clamp_min(1.0)
    per_structure = torch.full((len(known),), float("nan"))
    for position, index in enumerate(wanted):
        if present[position]:
            per_structure[index] = float(dice[position].detach())
    return loss, per_structure

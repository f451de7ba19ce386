"""Losses of pretraining: every term counts only what a crop's own data set decides.

A term is a sum over a count. In training on several processes the count is averaged over them first (``share``), so
that the averaged gradients are exactly those of one process with all the crops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fseft.pretraining.boundary import boundary_term
from fseft.pretraining.contrast import compared, contrast_term, voxel_positions
from fseft.pretraining.heads import Outputs
from fseft.pretraining.sampling import Batch
from fseft.pretraining.settings import PretrainingSettings

#: Brings a count to its mean over all processes.
Share = Callable[[Tensor], Tensor]
_HUBER = 0.2


def alone(count: Tensor) -> Tensor:
    """The share of a single process: the count itself."""
    return count


def soft_dice(probabilities: Tensor, targets: Tensor, weights: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """Soft Dice loss of every crop and class.

    Args:
        probabilities: (batch, n, classes).
        targets: (batch, n, classes), 0 or 1.
        weights: (batch, n) of the voxels; None weighs all alike.
        smooth: added above and below, 1 in the paper.

    Returns:
        (batch, classes).
    """
    if weights is not None:
        probabilities, weighted = probabilities * weights[..., None], targets * weights[..., None]
    else:
        weighted = targets
    overlap = (probabilities * targets).sum(dim=1)
    return 1.0 - (2.0 * overlap + smooth) / (probabilities.sum(dim=1) + weighted.sum(dim=1) + smooth)


def published_loss(logits: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """The paper's loss for partial labels (section 3.1): masked soft Dice, sum(loss * m) / sum(m) per crop.

    Args:
        logits: (batch, n, classes) of all voxels of the crops.
        targets: (batch, n, classes), 0 or 1.
        known: (batch, classes), the mask m: classes annotated in the crop's data set.

    Returns:
        The mean over the batch; crops without any known class count as 0.
    """
    mask = known.to(logits.dtype)
    dice = soft_dice(logits.sigmoid(), targets.to(logits.dtype))
    return ((dice * mask).sum(dim=1) / mask.sum(dim=1).clamp_min(1.0)).mean()


def dice_term(
    logits: Tensor, targets: Tensor, weights: Tensor, known: Tensor, least: int, share: Share = alone
) -> Tensor:
    """Soft Dice on sampled voxels, over known classes that have more than ``least`` of them in the crop.

    A class that is absent has nothing to overlap with; its false positives are the cross-entropy's to remove.
    """
    present = (known & (targets.sum(dim=1) > least)).to(logits.dtype)
    dice = soft_dice(logits.sigmoid(), targets.to(logits.dtype), weights)
    return (dice * present).sum() / share(present.sum()).clamp_min(1e-6)


def cross_entropy_term(logits: Tensor, targets: Tensor, weights: Tensor, known: Tensor, share: Share = alone) -> Tensor:
    """Binary cross-entropy of known classes on sampled voxels."""
    surprise = functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    mask = known.to(logits.dtype)
    per_class = (surprise * weights[..., None]).mean(dim=1) * mask
    return per_class.sum() / share(mask.sum()).clamp_min(1e-6)


def tissue_term(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of the tissue at every sampled voxel; (batch, n, tissues), (batch, n), (batch, n)."""
    surprise = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (surprise * weights.flatten()).mean()


def cell_term(logits: Tensor, cells: Tensor, share: Share = alone) -> Tensor:
    """Cross-entropy of place and tissue; (m, cells) and (m,) with -1 where a voxel lies outside the cells."""
    inside = cells >= 0
    total = functional.cross_entropy(logits[inside], cells[inside], reduction="sum")
    return total / share(inside.sum().to(logits.dtype)).clamp_min(1e-6)


def coordinate_term(predicted: Tensor, coordinates: Tensor, share: Share = alone) -> Tensor:
    """Huber loss of canonical coordinates; both (m, 3)."""
    total = functional.smooth_l1_loss(predicted, coordinates, beta=_HUBER, reduction="sum")
    return total / share(torch.tensor(float(predicted.numel()), device=predicted.device)).clamp_min(1e-6)


def level_term(levels: Sequence[Tensor], batch: Batch, settings: PretrainingSettings, share: Share = alone) -> Tensor:
    """Deep supervision: the class terms of every level's own (batch, n, classes) predictions, averaged over levels."""
    total = torch.zeros((), device=batch.weights.device)
    for logits in levels:
        dice = dice_term(logits, batch.positive, batch.weights, batch.known, settings.least_positives, share)
        surprise = cross_entropy_term(logits, batch.positive, batch.weights, batch.known, share)
        total = total + settings.dice_weight * dice + settings.cross_entropy_weight * surprise
    return total / len(levels)


def pretraining_loss(
    outputs: Outputs, batch: Batch, settings: PretrainingSettings, share: Share = alone
) -> dict[str, Tensor]:
    """All terms by name, and "loss", their weighted sum."""
    if settings.loss == "published":
        total = published_loss(outputs.logits, batch.positive, batch.known)
        return {"loss": total, "dice": total}
    logits, weights = outputs.logits, batch.weights
    terms = {
        "dice": dice_term(logits, batch.positive, weights, batch.known, settings.least_positives, share),
        "cross-entropy": cross_entropy_term(logits, batch.positive, weights, batch.known, share),
        "tissue": tissue_term(outputs.tissue, batch.tissue, weights),
        "cell": cell_term(outputs.cells, batch.cells[batch.located], share),
        "coordinate": coordinate_term(outputs.coordinates, batch.coordinates[batch.located], share),
    }
    if outputs.levels:
        terms["levels"] = level_term(outputs.levels, batch, settings, share)
    total = (
        settings.dice_weight * terms["dice"]
        + settings.cross_entropy_weight * terms["cross-entropy"]
        + settings.tissue_weight * terms["tissue"]
        + settings.cell_weight * terms["cell"]
        + settings.coordinate_weight * terms["coordinate"]
    )
    if outputs.levels:
        total = total + settings.level_weight * terms["levels"]
    if outputs.distances is not None:
        terms["boundary"] = boundary_term(outputs.distances, batch.distances, share)
        total = total + settings.boundary_weight * terms["boundary"]
    if outputs.views is not None:
        positions = voxel_positions(compared(batch.points), tuple(batch.windowed.shape[2:]))
        counted = compared((batch.weights > 0) & (batch.tissue > 0))  # tissue 0 is gas
        terms["contrast"] = contrast_term(outputs.views, positions, counted, share)
        total = total + settings.contrast_weight * terms["contrast"]
    return {"loss": total, **terms}

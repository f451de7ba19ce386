"""How far a voxel is from a structure's surface: a target that makes features see edges from either side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, find_objects
from torch import Tensor
from torch.nn import functional

from fseft.pretraining.targets import ClassTable

if TYPE_CHECKING:
    from fseft.pretraining.losses import Share

#: Farther surfaces are no target: what is there decides nothing here.
REACH_MM = 10.0
_HUBER = 0.1
_CPU = torch.device("cpu")


def boundary_distances(
    labels: Tensor, points: Tensor, table: ClassTable, spacing_mm: tuple[float, float, float], is_mirrored: bool
) -> Tensor:
    """Signed distances of sampled voxels to the surfaces of the classes that a crop shows.

    Args:
        labels: (x, y, z) of the crop.
        points: (n,) flat indices into it.
        table: what the labels are.
        spacing_mm: of the crop's voxels.
        is_mirrored: whether the crop shows the patient mirrored.

    Returns:
        (n, classes) mm, negative inside, on the labels' device, though the CPU computes them; nan for classes that the
        case does not decide, and where the surface is farther than :data:`REACH_MM` or might be nearer beyond the
        crop's edge.
    """
    device, table, labels = labels.device, table.to(_CPU), labels.cpu()
    marked = labels.numpy()
    distances = np.full((len(points), len(table.known)), np.nan, dtype=np.float32)
    index = np.stack(np.unravel_index(points.cpu().numpy(), marked.shape), axis=1)
    spacing = np.asarray(spacing_mm)
    to_edge = (np.minimum(index + 1, np.array(marked.shape) - index) * spacing).min(axis=1) - spacing.min() / 2
    shown = table.positive[torch.unique(labels[labels > 0])].any(dim=0) & table.known
    for position in torch.nonzero(shown).flatten().tolist():
        mask = table.positive[:, position].numpy()[marked]
        distances[:, position] = _signed(mask, index, spacing)
    distances[np.abs(distances) > np.minimum(REACH_MM, to_edge)[:, None]] = np.nan
    found = torch.from_numpy(distances)
    return (found[:, table.mirror] if is_mirrored else found).to(device)


def _signed(mask: np.ndarray, index: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distances (n,) at voxels to the surface of a mask, which lies half a voxel from the nearest other voxel."""
    (box,) = find_objects(mask.astype(np.uint8))
    margin = np.ceil(REACH_MM / spacing).astype(int) + 1
    bounds = [
        (max(0, part.start - m), min(n, part.stop + m)) for part, m, n in zip(box, margin, mask.shape, strict=True)
    ]
    part = mask[tuple(slice(low, high) for low, high in bounds)]
    values = np.full(len(index), np.nan, dtype=np.float32)
    if part.all():
        return values
    half = float(spacing.min()) / 2
    inside, outside = (distance_transform_edt(half_space, sampling=spacing) for half_space in (part, ~part))
    signed = np.where(part, half - inside, outside - half)
    low, high = np.array(bounds).T
    there = ((index >= low) & (index < high)).all(axis=1)
    values[there] = signed[tuple((index[there] - low).T)]
    return values


def boundary_term(predicted: Tensor, distances: Tensor, share: Share) -> Tensor:
    """Huber loss of distances in units of the reach; both (batch, n, classes), nan where there is no target."""
    counted = ~torch.isnan(distances)
    total = functional.smooth_l1_loss(predicted[counted], distances[counted] / REACH_MM, beta=_HUBER, reduction="sum")
    return total / share(counted.sum().to(predicted.dtype)).clamp_min(1e-6)

"""How unsure a model is on a scan, cheaply: features pooled to about 3 mm, one pass of the adapter."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume

COARSE_MM = 3.0  # voxel size at which the adapter runs here: pooled by 2 at 1.5 mm, as the paper does on whole scans
NEAR_VOXELS = 2  # coarse voxels around a predicted structure that count
CHANNELS_AT_ONCE = 8


@torch.inference_mode()
def model_uncertainty(adapter: Adapter, features: FeatureVolume, compute: Compute) -> float:
    """Mean binary entropy around the predicted structures, averaged over the structures found.

    Pooled features are not what the adapter was trained on, so this ranks scans; it is no calibrated probability.

    Args:
        adapter: trained.
        features: the scan's.
        compute: device.

    Returns:
        Bits, 0 (sure) to 1; 1 when the model finds nothing at all.
    """
    factor = _pooling(features)
    box = _body_box(features, max(level.stride for level in features.levels) * factor)
    levels = [
        _pooled(array, [(b // level.stride, e // level.stride) for b, e in box], factor)
        for level, array in zip(features.levels, features.arrays, strict=True)
    ]
    adapter = adapter.to(compute.device).eval()
    logits = adapter([level.to(compute.device)[None] for level in levels])[0].float().cpu()
    adapter.cpu()
    body = _pooled(features.body[None], box, factor * features.levels[0].stride)[0] > 0
    return entropy_near_structures(logits, body.numpy())


def entropy_near_structures(logits: Tensor, body: np.ndarray) -> float:
    """See :func:`model_uncertainty`.

    Args:
        logits: (outputs, x, y, z), one output (sigmoid) or background first (softmax).
        body: (x, y, z) bool; nothing is found outside.
    """
    if logits.shape[0] == 1:
        shares, labels = logits.sigmoid().numpy(), (logits[0] > 0).int().numpy()
    else:
        shares, labels = logits.softmax(dim=0)[1:].numpy(), logits.argmax(dim=0).numpy()
    entropies = []
    for position, share in enumerate(shares, start=1):
        found = (labels == position) & body
        if found.any():
            near = ndimage.binary_dilation(found, iterations=NEAR_VOXELS)
            entropies.append(float(_binary_entropy(share[near]).mean()))
    return float(np.mean(entropies)) if entropies else 1.0


def _binary_entropy(share: np.ndarray) -> np.ndarray:
    p = np.clip(share.astype(np.float64), 1e-7, 1 - 1e-7)
    entropy: np.ndarray = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return entropy


def _pooling(features: FeatureVolume) -> int:
    """Network voxels pooled into one: the power of two that comes nearest to :data:`COARSE_MM` from below."""
    spacing = min(features.grid.spacing_mm)
    factor = 1
    while factor * 2 * spacing <= COARSE_MM + 1e-6 and factor < 8:
        factor *= 2
    return factor


def _body_box(features: FeatureVolume, unit: int) -> list[tuple[int, int]]:
    """The body's bounding box in network voxels, bounds multiples of ``unit``, possibly beyond the volume."""
    box = []
    for axis, size in enumerate(features.grid.shape):
        used = np.flatnonzero(features.body.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, size - 1)
        box.append((first // unit * unit, -(-(last + 1) // unit) * unit))
    return box


def _pooled(array: np.ndarray, bounds: list[tuple[int, int]], factor: int) -> Tensor:
    """(channels, x, y, z) averaged over ``factor`` voxels inside bounds; zeros where these leave the volume."""
    parts = []
    inside = tuple(slice(b, e) for b, e in bounds)
    for start in range(0, array.shape[0], CHANNELS_AT_ONCE):
        channels = array[start : start + CHANNELS_AT_ONCE]
        where = (slice(None), *inside)
        block = torch.from_numpy(np.asarray(channels[where], dtype=np.float32))
        missing = [(e - b) - n for (b, e), n in zip(bounds, block.shape[1:], strict=True)]
        block = functional.pad(block, (0, missing[2], 0, missing[1], 0, missing[0]))
        parts.append(functional.avg_pool3d(block, factor))
    return torch.cat(parts)

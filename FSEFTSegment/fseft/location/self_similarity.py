"""What surrounds a voxel, described so that another scanner, dose or contrast phase says the same.

The self-similarity context (M. P. Heinrich et al., MICCAI 2013): how alike neighbouring patches around a voxel are *to
each other*. A border between two organs looks the same whichever of them is the brighter one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

#: Voxels from the centre to each of the six neighbouring patches.
DISTANCE = 2
#: Neighbouring patches that touch (60 degrees apart, not opposite ones): 12 pairs.
CHANNELS = 12
_NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
_PAIRS = [
    (first, second)
    for number, first in enumerate(_NEIGHBOURS)
    for second in _NEIGHBOURS[:number]
    if sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) == 2
]
#: Local noise is taken for at least and at most these parts of its mean over the scan.
_NOISE_RANGE = (1e-3, 1e3)


def self_similarity(values: torch.Tensor) -> torch.Tensor:
    """Describe every voxel by the likeness of the patches around it.

    Args:
        values: (z, y, x) float32.

    Returns:
        (:data:`CHANNELS`, z, y, x) float32, 0..1; 1 for the most alike pair of a voxel.
    """
    padded = F.pad(values[None, None], [DISTANCE] * 6, mode="replicate")
    distances = torch.cat([_patch_distance(padded, values.shape, *pair) for pair in _PAIRS])[:, 0]
    distances -= distances.amin(dim=0)
    noise = distances.mean(dim=0)
    usual = noise.mean()
    noise = noise.clamp(usual * _NOISE_RANGE[0], usual * _NOISE_RANGE[1]).clamp_min(1e-12)
    return torch.exp(-distances / noise)


def _patch_distance(
    padded: torch.Tensor, shape: torch.Size, first: tuple[int, int, int], second: tuple[int, int, int]
) -> torch.Tensor:
    """(1, 1, z, y, x) mean squared difference of two neighbouring patches of 3 x 3 x 3 voxels."""
    difference = (_shifted(padded, shape, first) - _shifted(padded, shape, second)) ** 2
    return F.avg_pool3d(F.pad(difference, [1] * 6, mode="replicate"), 3, 1)


def _shifted(padded: torch.Tensor, shape: torch.Size, neighbour: tuple[int, int, int]) -> torch.Tensor:
    part = [slice(DISTANCE * (1 + n), DISTANCE * (1 + n) + size) for n, size in zip(neighbour, shape, strict=True)]
    return padded[:, :, part[0], part[1], part[2]]

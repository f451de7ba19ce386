"""A scan in a few numbers: its feature statistics over the body."""

from __future__ import annotations

import numpy as np

from fseft.features.volume import FeatureVolume

#: Voxels looked at per scan at most; means and deviations need no more.
MAX_VOXELS = 40_000


def feature_statistics(features: FeatureVolume) -> np.ndarray:
    """Mean and standard deviation of every channel of the coarsest level over the body.

    The coarsest level sees the largest surroundings, so these numbers tell the part of the body, its build and the
    contrast phase apart, and hardly depend on how the patient lies.

    Args:
        features: the scan's.

    Returns:
        (2 * channels,) float64: means, then standard deviations.
    """
    level, array = features.levels[-1], features.arrays[-1]
    body = _coarse(features.body, level.stride, array.shape[1:])
    if not body.any():
        body = np.ones_like(body)
    chosen = np.flatnonzero(body)
    chosen = chosen[:: -(-chosen.size // MAX_VOXELS)]
    values = np.stack([np.asarray(channel).ravel()[chosen] for channel in array]).astype(np.float64)
    return np.concatenate([values.mean(axis=1), values.std(axis=1)])


def _coarse(body: np.ndarray, stride: int, shape: tuple[int, ...]) -> np.ndarray:
    """The body mask at the middle of each feature voxel."""
    middle = slice(stride // 2, None, stride)
    coarse = np.zeros(shape, dtype=bool)
    taken = body[middle, middle, middle]
    inside = tuple(slice(0, min(a, b)) for a, b in zip(shape, taken.shape, strict=True))
    coarse[inside] = taken[inside]
    return coarse

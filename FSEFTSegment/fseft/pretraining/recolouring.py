"""Labelled organs of a real scan in another contrast phase: what is an organ must not depend on its grey value.

A scan shows one phase. A structure that is learnt from it is learnt in that phase's grey values; the aorta of an
arterial scan is 400 HU, of a plain one 40. Where a structure is labelled, its soft tissue can be brought to another
level, and with it the crops show phases that nobody scanned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fseft.preprocessing.intensity import SOFT_TISSUE_HU
from fseft.pretraining.class_map import WHOLES, class_of
from fseft.structures import without_side

#: Levels that structures take in other phases, most of them, and a few as bright as arteries.
_LEVELS_HU, _BRIGHT_HU = (-10.0, 200.0), (200.0, 450.0)
_BRIGHT = 0.15
_CHANGED = 0.7  # share of a crop's structures that take another level; the others only drift
_DRIFT_HU = 10.0
_FIRST_HU, _LEVELS = int(SOFT_TISSUE_HU[0]), int(SOFT_TISSUE_HU[1] - SOFT_TISSUE_HU[0])  # bins of 1 HU


def recolouring_groups(structures: Sequence[str]) -> Tensor:
    """Which labels change together: both sides of a pair do, bones never.

    Args:
        structures: label names; the first has value 1.

    Returns:
        (labels + 1,) group numbers from 1; 0 for background and for what keeps its grey values.
    """
    names: list[str] = []
    groups = [0]
    for structure in structures:
        name = class_of(structure)
        pair = without_side(name)
        if name in WHOLES["bone"]:
            groups.append(0)
            continue
        if pair not in names:
            names.append(pair)
        groups.append(names.index(pair) + 1)
    return torch.tensor(groups)


def recolour(volume: Tensor, labels: Tensor, groups: Tensor, generator: np.random.Generator) -> Tensor:
    """A crop with its labelled soft tissue in another contrast phase.

    Texture, gas, fat and calcium inside a structure stay as they are, and its rim changes by as much as it is of it.

    Args:
        volume: (x, y, z) HU.
        labels: (x, y, z), see :func:`recolouring_groups`.
        groups: of the labels, on the crop's device.
        generator: source of randomness.

    Returns:
        (x, y, z) HU; the volume itself where no label is to change.
    """
    found = groups[labels]
    soft = (volume > SOFT_TISSUE_HU[0]) & (volume < SOFT_TISSUE_HU[1])
    levels = _levels(volume, found, soft)
    if not levels:
        return volume
    shifts = torch.zeros(len(groups))
    for group, level in levels.items():
        shifts[group] = _other_level(generator) - level if generator.random() < _CHANGED else _drift(generator)
    shift = functional.avg_pool3d(shifts.to(volume.device)[found][None, None], 3, 1, 1)[0, 0]
    return volume + shift * soft


def _levels(volume: Tensor, found: Tensor, soft: Tensor) -> dict[int, float]:
    """Median HU of every group's soft tissue, to 1 HU; one histogram of the crop however many groups there are."""
    inside = soft & (found > 0)
    bins = (volume[inside] - _FIRST_HU).long() + found[inside] * _LEVELS
    counts = torch.bincount(bins, minlength=_LEVELS)
    histograms = functional.pad(counts, (0, -len(counts) % _LEVELS)).reshape(-1, _LEVELS).cpu().cumsum(dim=1)
    present = torch.nonzero(histograms[:, -1]).squeeze(1)
    middle = torch.searchsorted(histograms[present], (histograms[present, -1:] + 1) // 2).squeeze(1)
    return {group: _FIRST_HU + level + 0.5 for group, level in zip(present.tolist(), middle.tolist(), strict=True)}


def _other_level(generator: np.random.Generator) -> float:
    low, high = _BRIGHT_HU if generator.random() < _BRIGHT else _LEVELS_HU
    return float(generator.uniform(low, high))


def _drift(generator: np.random.Generator) -> float:
    return float(generator.normal(0.0, _DRIFT_HU))

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
        groups: of the labels.
        generator: source of randomness.

    Returns:
        (x, y, z) HU; the volume itself where no label is to change.
    """
    found = groups[labels]
    soft = (volume > SOFT_TISSUE_HU[0]) & (volume < SOFT_TISSUE_HU[1])
    shifts = torch.zeros(int(groups.max()) + 1)
    for group, level in _levels(volume, found, soft).items():
        shifts[group] = _other_level(generator) - level if generator.random() < _CHANGED else _drift(generator)
    if not bool(shifts.any()):
        return volume
    shift = functional.avg_pool3d(shifts[found][None, None], 3, 1, 1)[0, 0]
    return volume + shift * soft


def _levels(volume: Tensor, found: Tensor, soft: Tensor) -> dict[int, float]:
    """Median HU of every group's soft tissue; one pass over the crop however many groups there are."""
    inside = torch.nonzero((soft & (found > 0)).reshape(-1)).squeeze(1)
    of_group = found.reshape(-1)[inside].numpy().astype(np.uint16)
    order = np.argsort(of_group, kind="stable")
    values = volume.reshape(-1)[inside].numpy()[order]
    present, first = np.unique(of_group[order], return_index=True)
    parts = np.split(values, first[1:]) if present.size else []
    return {int(group): float(np.median(part)) for group, part in zip(present, parts, strict=True)}


def _other_level(generator: np.random.Generator) -> float:
    low, high = _BRIGHT_HU if generator.random() < _BRIGHT else _LEVELS_HU
    return float(generator.uniform(low, high))


def _drift(generator: np.random.Generator) -> float:
    return float(generator.normal(0.0, _DRIFT_HU))

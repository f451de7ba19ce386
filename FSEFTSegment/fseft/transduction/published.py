"""Constrained transductive inference exactly as published (paper, section 3.4; METHOD section 6), for comparison.

A new adapter is trained on the support set for each query; from half of the epochs on, every epoch ends with one step
on the query that pulls the structures' soft sizes into the expected range. An absolute size prior, whatever the scan
shows of the organ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fseft.adaptation.losses import structure_probabilities
from fseft.adaptation.optimiser import AdamW
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import SupportCase
from fseft.adaptation.training import train_adapter
from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.reporting import SILENT, Reporter
from fseft.transduction.penalty import size_penalty

EPOCHS = 100
FIRST_EPOCH = 50
WEIGHT = 0.1
MARGIN = 0.3
POOL = 2


def refine_published(
    adapter: Adapter,
    cases: Sequence[SupportCase],
    names: Sequence[str],
    query: FeatureVolume,
    expected_ml: Sequence[float | None],
    learning_rate: float,
    settings: AdaptationSettings,
    compute: Compute,
    reporter: Reporter = SILENT,
) -> Adapter:
    """Train an adapter on the support set and one query.

    The paper treats one structure at a time; with several, their penalties are averaged.

    Args:
        adapter: as training would start with it; trained in place and returned.
        cases: the support set.
        names: of the structures.
        query: the query's feature volume.
        expected_ml: mean support volume per structure; None leaves a structure unconstrained.
        learning_rate: of the method.
        settings: the protocol; epochs are the published 100, without the plateau rule, which would stop before the
            constraint begins.
        compute: device.
        reporter: hears phase "training".
    """
    wanted = [(i, size) for i, size in enumerate(expected_ml) if size is not None and size > 0]
    levels, voxel_ml = pooled_levels(query, compute.device)
    positions = torch.tensor([i for i, _ in wanted], dtype=torch.long, device=compute.device)
    expected = torch.tensor([size for _, size in wanted], dtype=torch.float32, device=compute.device) / voxel_ml

    def constrain(epoch: int, optimiser: AdamW) -> None:
        if epoch < FIRST_EPOCH or not len(positions):
            return
        optimiser.zero_grad()
        loss = WEIGHT * transductive_loss(adapter, levels, positions, expected)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    protocol = settings.replace(epochs=EPOCHS, steps=None, plateau_start=EPOCHS + 1)
    train_adapter(adapter, cases, names, learning_rate, protocol, compute, reporter, constrain)
    return adapter


def transductive_loss(adapter: Adapter, levels: Sequence[Tensor], positions: Tensor, expected: Tensor) -> Tensor:
    """L_TI of one query, before its weight.

    Args:
        adapter: with gradients.
        levels: (1, channels, x, y, z) pooled feature levels.
        positions: structures with an expected size.
        expected: their sizes in pooled voxels.
    """
    sizes = structure_probabilities(adapter(levels))[0].flatten(1).sum(dim=1)[positions]
    return size_penalty(sizes, (1 - MARGIN) * expected, (1 + MARGIN) * expected, expected).mean()


def pooled_levels(features: FeatureVolume, device: torch.device | str) -> tuple[list[Tensor], float]:
    """All levels average-pooled by 2, and the volume (ml) of a voxel of the finest."""
    multiple = POOL * max(level.stride for level in features.levels)
    missing = [-extent % multiple for extent in features.grid.shape]
    levels = []
    for array, level in zip(features.arrays, features.levels, strict=True):
        whole = torch.from_numpy(np.array(array, dtype=np.float32))[None].to(device)
        # Repeats the air at the grid's end where an odd number of coarse voxels could not be halved.
        beyond = [amount for extent in reversed(missing) for amount in (0, extent // level.stride)]
        levels.append(functional.avg_pool3d(functional.pad(whole, beyond, mode="replicate"), POOL))
    return levels, features.grid.voxel_volume_ml * (features.levels[0].stride * POOL) ** 3

"""From a trained network to a backbone folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.specification import BackboneSpecification
from fseft.backbones.weights import save_backbone


def export_backbone(
    specification: BackboneSpecification,
    state: Mapping[str, Tensor],
    positives: Sequence[int],
    folder: Path,
) -> BackboneSpecification:
    """Write a backbone folder whose classes are those that training has seen.

    A class without a single positive voxel has a head row that only ever learned to say no.

    Args:
        specification: of the trained network.
        state: its weights.
        positives: sampled positive voxels of each class.
        folder: to write.

    Returns:
        The exported specification.
    """
    network = build_network(specification)
    network.load_state_dict(dict(state))
    seen = [position for position, count in enumerate(positives) if count > 0]
    if seen and len(seen) < len(specification.classes):
        network = _with_classes(network, seen)
    return save_backbone(network.eval(), folder)


@torch.no_grad()
def _with_classes(network: Backbone, kept: Sequence[int]) -> Backbone:
    names = tuple(network.specification.classes[position] for position in kept)
    smaller = build_network(dataclasses.replace(network.specification, classes=names))
    shared = {k: v for k, v in network.state_dict().items() if not k.startswith("head.")}
    smaller.load_state_dict(shared, strict=False)
    for row, position in enumerate(kept):
        smaller.head.copy_row(row, network.head, position)
    return smaller

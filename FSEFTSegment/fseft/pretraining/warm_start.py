"""Training that starts from an existing backbone's weights."""

from __future__ import annotations

import torch

from fseft.backbones.networks import Backbone
from fseft.errors import InputError


@torch.no_grad()
def start_from_backbone(network: Backbone, initial: Backbone) -> list[str]:
    """Take over a backbone's weights, and its head's rows for the classes that both have.

    Args:
        network: to be trained; changed in place.
        initial: where the weights come from.

    Returns:
        The classes whose rows were taken over; the others keep their random start.

    Raises:
        InputError: "pretraining-start-does-not-fit" when the architectures differ.
    """
    mine, theirs = network.specification, initial.specification
    same = ("architecture", "architecture_parameters", "spacing_mm", "windows_hu", "levels")
    if any(getattr(mine, name) != getattr(theirs, name) for name in same):
        raise InputError(
            "pretraining-start-does-not-fit",
            f"{theirs.id!r} has another network or another input than the one to be trained.",
            "Choose a backbone with the same network, or leave --start-from out.",
        )
    shared = {name: value for name, value in initial.state_dict().items() if not name.startswith("head.")}
    network.load_state_dict(shared, strict=False)
    taken = [name for name in mine.classes if name in theirs.classes]
    for name in taken:
        network.head.copy_row(mine.classes.index(name), initial.head, theirs.classes.index(name))
    return taken

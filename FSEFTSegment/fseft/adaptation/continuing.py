"""Re-adapting after a correction: training that goes on from a previous model instead of from the start."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.adapter import Adapter
from fseft.adapters.registry import Method
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import ModelError
from fseft.models.adapted_model import AdaptedModel
from fseft.structures import Structure

STEPS = 40  # a correction moves little


def require_same_kind(previous: AdaptedModel, method: Method, specification: BackboneSpecification) -> None:
    """Check that a previous model's adapter can be gone on with.

    Raises:
        ModelError: "previous-model-does-not-fit".
    """
    if previous.method != method.name or previous.backbone_sha256 != specification.weights_sha256:
        raise ModelError(
            "previous-model-does-not-fit",
            f"The model {previous.name!r} was made with another method or another backbone.",
            "Adapt from the start, or choose its method and its backbone.",
        )


def kinship(structures: Sequence[Structure], previous: AdaptedModel) -> dict[str, list[str]]:
    """Which structures go on from the previous model, which start anew, and which it alone has; spelling aside.

    Returns:
        Names under "kept", "new" and "dropped".
    """
    before = {structure.canonical for structure in previous.structures}
    now = {structure.canonical for structure in structures}
    return {
        "kept": [structure.name for structure in structures if structure.canonical in before],
        "new": [structure.name for structure in structures if structure.canonical not in before],
        "dropped": [structure.name for structure in previous.structures if structure.canonical not in now],
    }


@torch.no_grad()
def go_on_from(adapter: Adapter, structures: Sequence[Structure], previous: AdaptedModel) -> list[Structure]:
    """Take over a previous adapter's convolutions, and the head's rows of the structures that both have.

    Args:
        adapter: freshly made, changed in place.
        structures: of the new model.
        previous: of the same method and backbone.

    Returns:
        The structures that the previous model did not have; their rows are as they were.
    """
    mine, theirs = adapter.state_dict(), previous.adapter.state_dict()
    adapter.load_state_dict({**mine, **{k: v for k, v in theirs.items() if not k.startswith("head.")}})
    before = [structure.canonical for structure in previous.structures]
    first, first_before = (0 if a.head.outputs == 1 else 1 for a in (adapter, previous.adapter))
    if first and first_before:
        adapter.head.copy_row(0, previous.adapter.head, 0)
    elif first != first_before:
        return list(structures)  # one output against a background row: scores that mean something else
    for row, structure in enumerate(structures):
        if structure.canonical in before:
            place = before.index(structure.canonical) + first_before
            adapter.head.copy_row(row + first, previous.adapter.head, place)
    return [structure for structure in structures if structure.canonical not in before]


def shortened(settings: AdaptationSettings) -> AdaptationSettings:
    """The protocol with few steps."""
    return settings.replace(steps=STEPS if settings.steps is None else min(settings.steps, STEPS))

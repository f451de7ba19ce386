"""How an adapter starts: from the pretrained rows where the backbone knows the structure, else at random."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from fseft.adapters.adapter import Adapter
from fseft.adapters.head import LinearHead
from fseft.adapters.registry import Method
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.structures import Structure, canonical_name


def pretrained_row(structure: Structure, specification: BackboneSpecification) -> int | None:
    """The head row of a base structure, None for a novel one."""
    names = [canonical_name(name) for name in specification.classes]
    return names.index(structure.canonical) if structure.canonical in names else None


def base_structures(structures: Sequence[Structure], specification: BackboneSpecification) -> tuple[Structure, ...]:
    """Those of the structures that the backbone was pretrained on, in their order; the others are novel."""
    return tuple(s for s in structures if pretrained_row(s, specification) is not None)


def output_count(structures: Sequence[Structure]) -> int:
    """1 for a single structure (sigmoid), else one more than structures (softmax with background first)."""
    return 1 if len(structures) == 1 else len(structures) + 1


def make_adapter(method: Method, specification: BackboneSpecification, structures: Sequence[Structure]) -> Adapter:
    """The method's network for these structures, weights not yet meaningful."""
    return method.adapter(
        [level.channels for level in specification.levels],
        [level.stride for level in specification.levels],
        output_count(structures),
    )


@torch.no_grad()
def start_from_pretrained(
    adapter: Adapter,
    head: LinearHead,
    specification: BackboneSpecification,
    structures: Sequence[Structure],
    background: str = "zero",
) -> list[str]:
    """Zero-shot initialisation of the adapter's head (paper, section 3.3).

    Base structures get their pretrained row and bias, novel ones keep a small random row with a bias that
    predicts background. With several structures a background row is added: zeros by default, which makes the
    start *exactly* the zero-shot model (a structure wins where its pretrained sigmoid exceeds one half), or
    the published Xavier row with bias 0.

    Args:
        adapter: changed in place.
        head: the backbone's head.
        specification: the backbone's.
        structures: outputs in order.
        background: "zero" or "xavier".

    Returns:
        Names of the structures that start from a pretrained row.
    """
    first = 0 if len(structures) == 1 else 1
    weights, bias = adapter.head.weights, adapter.head.bias
    if first:
        for weight in weights:
            if background == "xavier":
                nn.init.xavier_uniform_(weight[0:1])
            else:
                weight[0].zero_()
        bias[0] = 0.0
    base = []
    for position, structure in enumerate(structures, start=first):
        row_index = pretrained_row(structure, specification)
        if row_index is None:
            for weight in weights:
                weight[position].mul_(0.1)
            bias[position] = -2.0
        else:
            adapter.head.copy_row(position, head, row_index)
            base.append(structure.name)
    return base


def require_base(structures: Sequence[Structure], specification: BackboneSpecification) -> None:
    """Zero-shot needs every structure to be known.

    Raises:
        InputError: "zero-shot-novel-structure" naming the ones that are not.
    """
    novel = [s.name for s in structures if pretrained_row(s, specification) is None]
    if novel:
        raise InputError(
            "zero-shot-novel-structure",
            f"The backbone {specification.id!r} was not pretrained on: {', '.join(novel)}.",
            "Choose another method and annotate at least one scan, or leave these structures out.",
        )

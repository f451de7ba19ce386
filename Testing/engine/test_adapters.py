"""The black-box adapters: published sizes, and a fresh adapter is the zero-shot model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import tiny_specification
from fseft.adapters.head import upsample, upsample_scores
from fseft.adapters.initialisation import make_adapter, start_from_pretrained
from fseft.adapters.registry import METHODS, find_method
from fseft.backbones.networks import build_network
from fseft.backbones.specification import FeatureLevel
from fseft.errors import InputError
from fseft.structures import Structure, number_structures

PUBLISHED = dataclasses.replace(tiny_specification(), levels=(FeatureLevel(1, 48),))


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("method", "expected"),
    [("linear-probe", 49), ("mlp-adapter", 2 * 48 * 48 + 49), ("spatial-adapter", 2 * 27 * 48 * 48 + 49)],
)
def test_published_parameter_counts(method: str, expected: int) -> None:
    adapter = make_adapter(find_method(method), PUBLISHED, number_structures(["liver"]))
    assert count(adapter) == expected


def test_published_counts_match_the_paper() -> None:
    """4.6 k for the MLP adapter and 124.4 k for the spatial adapter, heads of 49 per class aside."""
    single = number_structures(["liver"])
    assert count(make_adapter(find_method("mlp-adapter"), PUBLISHED, single)) - 49 == 4608
    assert count(make_adapter(find_method("spatial-adapter"), PUBLISHED, single)) - 49 == 124416
    several = number_structures(["liver", "spleen", "pancreas"])
    assert count(make_adapter(find_method("linear-probe"), PUBLISHED, several)) == 49 * 4


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("names", [["Liver"], ["liver", "Ball"]])
def test_fresh_adapter_is_the_zero_shot_model(method: str, names: list[str]) -> None:
    torch.manual_seed(0)
    specification = tiny_specification()
    network = build_network(specification).eval()
    structures = number_structures(names)
    adapter = make_adapter(find_method(method), specification, structures).eval()
    assert start_from_pretrained(adapter, network.head, specification, structures) == names
    levels = network.features(torch.rand(1, 2, 32, 32, 32))
    pretrained = network.head(levels)
    logits = adapter(levels)
    if len(names) == 1:
        assert torch.allclose(logits, pretrained[:, :1], atol=1e-6)  # processors add in another order
    else:
        assert torch.allclose(logits[:, 1:], pretrained, atol=1e-6)
        best = pretrained.max(dim=1)
        expected = torch.where(best.values > 0, best.indices + 1, 0)
        assert torch.equal(logits.argmax(dim=1), expected)


def test_novel_structure_starts_as_background() -> None:
    torch.manual_seed(0)
    specification = tiny_specification()
    structures = number_structures(["never seen before", "liver"])
    adapter = make_adapter(find_method("spatial-adapter"), specification, structures)
    head = build_network(specification).head
    assert start_from_pretrained(adapter, head, specification, structures) == ["liver"]
    assert float(adapter.head.bias[1].detach()) == -2.0


def test_published_background_row_is_xavier() -> None:
    torch.manual_seed(0)
    specification = tiny_specification()
    structures = number_structures(["ball", "liver"])
    adapter = make_adapter(find_method("linear-probe"), specification, structures)
    start_from_pretrained(adapter, build_network(specification).head, specification, structures, "xavier")
    assert float(adapter.head.weights[0][0].detach().abs().sum()) > 0
    assert float(adapter.head.bias[0].detach()) == 0.0


@pytest.mark.parametrize("method", ["mlp-adapter", "spatial-adapter"])
def test_block_with_context_is_refined_as_the_whole_volume(method: str) -> None:
    torch.manual_seed(0)
    adapter = make_adapter(find_method(method), tiny_specification(), number_structures(["a", "b"])).eval()
    for residual in adapter.residuals:  # type: ignore[union-attr]
        torch.nn.init.normal_(residual[2].weight, std=0.2)
    levels = [torch.randn(1, c, 64 // s, 64 // s, 64 // s) for c, s in ((4, 1), (8, 2), (8, 4), (12, 8))]
    reach = adapter.reach
    blocks = []
    for values, stride in zip(levels, (1, 2, 4, 8), strict=True):
        wide = slice(24 // stride - reach, 40 // stride + reach)
        blocks.append(values[..., wide, wide, wide])
    refined = adapter.refine_inside(blocks)
    for block, whole, stride in zip(refined, adapter.refine(levels), (1, 2, 4, 8), strict=True):
        keep = slice(24 // stride, 40 // stride)
        assert torch.allclose(block, whole[..., keep, keep, keep], atol=1e-5)
    assert torch.allclose(adapter(blocks, context=reach), adapter.head(refined), atol=1e-5)


def test_context_beyond_the_reach_changes_nothing() -> None:
    torch.manual_seed(0)
    adapter = make_adapter(find_method("spatial-adapter"), tiny_specification(), number_structures(["a"])).eval()
    for residual in adapter.residuals:  # type: ignore[union-attr]
        torch.nn.init.normal_(residual[2].weight, std=0.2)
    levels = [torch.randn(1, c, 16 // s + 6, 16 // s + 6, 16 // s + 6) for c, s in ((4, 1), (8, 2), (8, 4), (12, 8))]
    narrow = [level[..., 1:-1, 1:-1, 1:-1] for level in levels]
    assert torch.allclose(adapter(levels, context=3), adapter(narrow, context=2), atol=1e-5)


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_scores_are_upsampled_as_the_library_does(factor: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    raised, expected = upsample_scores(scores, factor), upsample(scores, factor)
    assert torch.allclose(raised, expected)
    towards = torch.randn_like(expected)
    ours, theirs = (torch.autograd.grad((volume * towards).sum(), scores)[0] for volume in (raised, expected))
    assert torch.allclose(ours, theirs)


def test_unknown_method_is_named() -> None:
    with pytest.raises(InputError) as caught:
        find_method("magic")
    assert caught.value.code == "method-unknown"
    assert "spatial-adapter" in caught.value.hint


def test_structure_values_do_not_matter_for_names() -> None:
    assert Structure("Kidney_Right", 7).canonical == Structure("right kidney", 1).canonical
    assert np.unique([m.name for m in METHODS.values()]).size == len(METHODS)

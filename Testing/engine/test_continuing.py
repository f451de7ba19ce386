"""Re-adapting goes on from what a model had learnt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from conftest import STRUCTURES
from fseft.adaptation.adapt import adapt, initial_adapter, load_cases
from fseft.adaptation.continuing import STEPS, go_on_from, kinship, shortened
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.errors import ModelError
from fseft.features.source import FeatureSource
from fseft.structures import Structure
from test_adaptation import QUICK, dice_on_new_scan, write_cases


def test_it_starts_where_the_previous_model_ended(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0, 1))
    first = adapt("first", cases, STRUCTURES, source, "mlp-adapter", QUICK)
    loaded = [entry.case for entry in load_cases(cases, STRUCTURES, source)]
    adapter = initial_adapter(find_method("mlp-adapter"), STRUCTURES, loaded, source, QUICK, first)
    for name, value in first.adapter.state_dict().items():
        assert torch.equal(adapter.state_dict()[name], value), name


def test_a_correction_takes_few_steps_and_loses_nothing(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0, 1, 2))
    first = adapt("model", cases[:2], STRUCTURES, source, "mlp-adapter", QUICK)
    second = adapt("model", cases, STRUCTURES, source, "zero-shot", QUICK.replace(steps=9), previous=first)
    assert second.method == "mlp-adapter"
    assert second.shots == 3
    assert len(second.training["loss"]) == 3
    assert dice_on_new_scan(second, source, 1) > dice_on_new_scan(first, source, 1) - 0.05


def test_validation_does_not_go_on_from_a_model_that_has_seen_the_held_out_scans(
    tmp_path: Path, source: FeatureSource
) -> None:
    cases = write_cases(tmp_path, (0, 1))
    quick = QUICK.replace(steps=4)
    first = adapt("first", cases, STRUCTURES, source, "linear-probe", quick, validated=True)
    again = adapt("again", cases, STRUCTURES, source, "linear-probe", quick, validated=True, previous=first)
    assert again.validation["table"] == first.validation["table"]
    assert first.validation["note"] == ""
    assert "trained from the start" in again.validation["note"]


def test_a_new_structure_keeps_its_own_start(tmp_path: Path, source: FeatureSource) -> None:
    first = adapt("first", write_cases(tmp_path, (0,)), STRUCTURES, source, "linear-probe", QUICK.replace(steps=2))
    structures = (Structure("new", 9), *reversed(STRUCTURES))
    adapter = make_adapter(find_method("linear-probe"), source.specification, structures)
    own = [weight[1].clone() for weight in adapter.head.weights]
    assert [s.name for s in go_on_from(adapter, structures, first)] == ["new"]
    for before, mine, theirs in zip(own, adapter.head.weights, first.adapter.head.weights, strict=True):
        assert torch.equal(mine[1], before)
        assert torch.equal(mine[2], theirs[2])
        assert torch.equal(mine[3], theirs[1])


def test_structures_are_known_again_however_they_are_spelt(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0,))
    first = adapt("first", cases, STRUCTURES, source, "linear-probe", QUICK.replace(steps=2))
    respelt = (dataclasses.replace(STRUCTURES[0], name="Ball"), Structure("new", 9))
    assert kinship(respelt, first) == {"kept": ["Ball"], "new": ["new"], "dropped": ["rod"]}
    adapter = make_adapter(find_method("linear-probe"), source.specification, respelt)
    assert [s.name for s in go_on_from(adapter, respelt, first)] == ["new"]
    for mine, theirs in zip(adapter.head.weights, first.adapter.head.weights, strict=True):
        assert torch.equal(mine[1], theirs[1])


def test_another_method_or_backbone_is_refused(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0,))
    first = adapt("first", cases, STRUCTURES, source, "linear-probe", QUICK.replace(steps=2))
    foreign = dataclasses.replace(first, backbone_sha256="0" * 64)
    with pytest.raises(ModelError) as caught:
        adapt("second", cases, STRUCTURES, source, "linear-probe", QUICK, previous=foreign)
    assert caught.value.code == "previous-model-does-not-fit"


def test_few_steps() -> None:
    assert shortened(QUICK.replace(steps=None)).steps == STEPS
    assert shortened(QUICK.replace(steps=5)).steps == 5

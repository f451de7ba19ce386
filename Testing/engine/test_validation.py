"""Leave-one-out validation holds cases out, chooses the simpler of equals, and says what it cannot know."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import STRUCTURES
from fseft.adaptation.adapt import adapt, load_cases
from fseft.errors import Cancelled, InputError
from fseft.features.source import FeatureSource
from fseft.reporting import SILENT, Reporter
from fseft.validation.leave_one_out import StructureScore, _case_folds, _judge, _slice_folds, validate
from test_adaptation import QUICK, write_cases


def score(dice: float) -> StructureScore:
    return StructureScore(dice, 0.0, math.nan, math.nan, 2)


def test_scores_held_out_cases(tmp_path: Path, source: FeatureSource) -> None:
    cases = [entry.case for entry in load_cases(write_cases(tmp_path, (0, 1)), STRUCTURES, source)]
    assert all(held not in train for train, held in _case_folds(cases))
    result = validate(STRUCTURES, cases, source, QUICK, methods=["linear-probe"])
    assert result.kind == "leave-one-out"
    assert result.table["linear-probe"]["ball"].cases == 2
    assert result.table["linear-probe"]["ball"].dice > 0.4
    json.dumps(result.as_json(), allow_nan=False)


def test_one_case_is_split_by_slices(tmp_path: Path, source: FeatureSource) -> None:
    case = load_cases(write_cases(tmp_path, (0,)), STRUCTURES, source)[0].case
    for train, held in _slice_folds(case):
        assert not (train[0].annotated & held.annotated).any()
        assert np.array_equal(train[0].annotated | held.annotated, case.annotated)
    result = validate(STRUCTURES, [case], source, QUICK, methods=["linear-probe"])
    assert result.kind == "cross-slice"
    assert "weak evidence" in result.verdict
    assert math.isnan(result.table["linear-probe"]["rod"].surface_dice)


def test_auto_keeps_what_it_measured(tmp_path: Path, source: FeatureSource) -> None:
    model = adapt("auto", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "auto", QUICK)
    assert model.method == model.validation["chosen"]
    assert set(model.validation["table"]) == {"linear-probe", "mlp-adapter", "spatial-adapter"}


def test_ties_go_to_the_simpler_and_losses_are_said() -> None:
    heard: list[str] = []

    class Ear(Reporter):
        def log(self, message: str, level: str = "info") -> None:
            heard.append(level)

    table = {
        "zero-shot": {"a": score(0.9), "b": score(0.1)},
        "linear-probe": {"a": score(0.8), "b": score(0.8)},
        "spatial-adapter": {"a": score(0.804), "b": score(0.802)},
    }
    result = _judge("leave-one-out", table, Ear())
    assert result.chosen == "linear-probe"
    assert "Worse than zero-shot for: a." in result.verdict
    assert heard == ["warning"]
    with pytest.raises(InputError, match="often enough"):
        _judge("leave-one-out", {"linear-probe": {"a": score(math.nan)}}, SILENT)


def test_can_be_cancelled(tmp_path: Path, source: FeatureSource) -> None:
    class Stop(Reporter):
        def check_cancelled(self) -> None:
            raise Cancelled

    case = load_cases(write_cases(tmp_path, (0,)), STRUCTURES, source)[0].case
    with pytest.raises(Cancelled):
        validate(STRUCTURES, [case], source, QUICK, Stop())

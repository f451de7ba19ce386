"""Leave-one-out validation holds cases out, chooses among equals by their number, and says what it cannot know."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import adapt, load_cases
from fseft.adaptation.support import SupportCase
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.cli.main import main
from fseft.errors import Cancelled, InputError
from fseft.features.source import FeatureSource
from fseft.quality.confidence import LOW_CONFIDENCE_FLAG
from fseft.quality.predicted_dice import Calibration
from fseft.reporting import Reporter
from fseft.segmentation.report import make_report
from fseft.segmentation.scoring import score_volume
from fseft.segmentation.segment import segment_scan
from fseft.structures import Structure
from fseft.transduction.plan import Outcome
from fseft.validation import atlas_row
from fseft.validation.atlas_row import with_atlas
from fseft.validation.choice import choose, worse_than_zero_shot
from fseft.validation.folds import case_folds, slice_folds
from fseft.validation.network_prediction import predict_on_network
from fseft.validation.scores import HeldOutScore, StructureScore, score_structure, summarise
from fseft.validation.validate import validate
from fseft.validation.verdict import give_verdict
from test_adaptation import QUICK, write_cases
from worker_runs import Workplace


class Ear(Reporter):
    """Remembers progress and warnings."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float, float]] = []
        self.warnings: list[str] = []

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        self.heard.append((phase, done, total))

    def log(self, message: str, level: str = "info") -> None:
        if level == "warning":
            self.warnings.append(message)


def score(dice: float, sd: float = 0.01, surface: float = math.nan) -> StructureScore:
    return StructureScore(dice, sd, surface, math.nan, math.nan, math.nan, 3)


def cases_of(folder: Path, source: FeatureSource, seeds: tuple[int, ...]) -> list[SupportCase]:
    return [entry.case for entry in load_cases(write_cases(folder, seeds), STRUCTURES, source)]


def test_scores_held_out_cases(tmp_path: Path, source: FeatureSource) -> None:
    cases = cases_of(tmp_path, source, (0, 1))
    assert all(fold.held_out not in fold.train for fold in case_folds(cases))
    ear = Ear()
    result = validate(STRUCTURES, cases, source, QUICK, ear, methods=["linear-probe"])
    assert result.kind == "leave-one-out"
    found = result.table["linear-probe"]["ball"]
    assert found.cases == 2
    assert found.dice > 0.4
    assert 0 < found.surface_dice <= 1
    assert found.volume_error_ml > 0
    # The backbone knows the ball alone: zero-shot is there to compare with on it, and not to be chosen.
    assert set(result.table["zero-shot"]) == {"ball"}
    assert result.compared == ("zero-shot",)
    assert result.chosen == "linear-probe"
    assert [entry for entry in ear.heard if entry[0] == "validation"][-1] == ("validation", 4, 4)
    assert "little evidence" in result.verdict
    record = json.loads(json.dumps(result.as_json(), allow_nan=False))
    assert set(record) >= {"kind", "table", "chosen", "reason", "verdict", "advice", "calibration"}
    assert record["table"]["linear-probe"]["ball"]["dice"] == pytest.approx(found.dice, abs=1e-4)
    assert record["compared"] == ["zero-shot"]
    calibration = Calibration.from_json(record["calibration"])
    assert calibration is not None
    assert calibration.pairs == 4
    assert calibration.predict("ball", 0.9) is not None


def test_one_case_is_split_by_slices(tmp_path: Path, source: FeatureSource) -> None:
    case = cases_of(tmp_path, source, (0,))[0]
    for fold in slice_folds(case):
        assert not (fold.train[0].annotated & fold.held_out.annotated).any()
        assert np.array_equal(fold.train[0].annotated | fold.held_out.annotated, case.annotated)
        assert all(fold.can_judge(position, True) for position in range(2))  # the short ball is on both sides
    result = validate(STRUCTURES, [case], source, QUICK, methods=["linear-probe"])
    assert result.kind == "cross-slice"
    assert "weak evidence" in result.verdict
    assert math.isnan(result.table["linear-probe"]["rod"].surface_dice)
    assert result.calibration is None


def test_what_is_absent_from_held_out_slabs_is_not_judged(tmp_path: Path, source: FeatureSource) -> None:
    case = cases_of(tmp_path, source, (0,))[0]
    fold = slice_folds(case)[0]
    bare = replace(fold.held_out, labels=np.where(fold.held_out.labels == 1, 0, fold.held_out.labels))
    assert not replace(fold, held_out=bare).can_judge(0, True)
    assert replace(fold, held_out=bare).can_judge(0, False)  # a whole scan without it shows false findings
    assert not replace(fold, held_out=replace(bare, known=(False, True))).can_judge(0, False)


def test_block_by_block_equals_whole(tmp_path: Path, source: FeatureSource) -> None:
    case = cases_of(tmp_path, source, (0,))[0]
    adapter = make_adapter(find_method("linear-probe"), source.specification, STRUCTURES).eval()
    scores = score_volume(adapter, case.features, CPU)
    half = case.annotated.copy()
    half[:, :, ::2] = False
    labels, confidences = predict_on_network(adapter, case.features, half, CPU)
    assert np.array_equal(labels, scores.argmax(axis=0))
    for position, confidence in enumerate(confidences, start=1):
        assert confidence.soft_voxels == pytest.approx(float(scores[position][half].sum()), rel=1e-3)
        assert confidence.hard_voxels == int(((labels == position) & half).sum())


def test_scores_by_hand(tmp_path: Path, source: FeatureSource) -> None:
    case = cases_of(tmp_path, source, (0,))[0]
    shifted = np.roll(case.labels, 1, axis=2).astype(np.uint16)
    found = score_structure(shifted, case, 0, 1, (3.0, 3.0, 3.0), False)
    true, moved = case.labels == 1, shifted == 1
    assert found.dice == pytest.approx(2 * (true & moved).sum() / (true.sum() + moved.sum()))
    assert found.volume_error_ml == 0.0
    assert math.isnan(score_structure(shifted, case, 0, 1, (3.0, 3.0, 3.0), True).surface_dice)
    assert math.isnan(score_structure(shifted * 0, replace(case, labels=case.labels * 0), 0, 1, (3.0,) * 3, False).dice)
    scores = [HeldOutScore(0.8, 0.9, 2.0), HeldOutScore(0.6, math.nan, math.nan), HeldOutScore(*[math.nan] * 3)]
    summary = summarise(scores)
    assert (summary.cases, summary.surface_dice) == (2, 0.9)
    assert summary.dice == pytest.approx(0.7)
    assert summary.sd == pytest.approx(math.sqrt(0.02))
    assert math.isnan(summary.surface_sd)


def test_auto_keeps_what_it_measured(tmp_path: Path, source: FeatureSource) -> None:
    model = adapt("auto", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "auto", QUICK.replace(steps=10))
    assert model.method == model.validation["chosen"]
    assert set(model.validation["table"]) == {"zero-shot", "linear-probe", "mlp-adapter", "spatial-adapter"}
    assert len(model.quality["typicality"]["cases"]) == 2


def test_zero_shot_competes_where_it_knows_everything(tmp_path: Path, source: FeatureSource) -> None:
    cases = [replace(case, known=case.known[:1]) for case in cases_of(tmp_path, source, (0, 1))]
    cases = [replace(case, labels=np.where(case.labels == 1, 1, 0).astype(np.uint16)) for case in cases]
    ball = STRUCTURES[:1]
    result = validate(ball, cases, source, QUICK.replace(steps=2), methods=["zero-shot", "linear-probe"])
    assert result.compared == ()
    assert "against" in result.reason
    with pytest.raises(InputError, match="not pretrained on: rod"):
        validate(STRUCTURES, cases_of(tmp_path, source, (0, 1)), source, QUICK, methods=["zero-shot"])


def test_a_fixed_method_is_validated_when_asked(tmp_path: Path, source: FeatureSource) -> None:
    files = write_cases(tmp_path, (0, 1))
    quick = QUICK.replace(steps=4)
    assert adapt("plain", files, STRUCTURES, source, "linear-probe", quick).validation == {}
    model = adapt("checked", files, STRUCTURES, source, "linear-probe", quick, validated=True)
    assert model.validation["chosen"] == model.method == "linear-probe"
    assert list(model.validation["table"]) == ["zero-shot", "linear-probe"]
    # Each structure in one case only: nothing can be held out, the model is made all the same.
    apart = [replace(files[0], structures=("ball",)), replace(files[1], structures=("rod",))]
    ear = Ear()
    model = adapt("apart", apart, STRUCTURES, source, "linear-probe", quick, ear, validated=True)
    assert model.validation == {}
    assert "often enough" in ear.warnings[0]


def test_ties_go_to_the_simpler_of_few_cases_and_losses_are_said() -> None:
    table = {
        "zero-shot": {"a": score(0.9), "b": score(0.1)},
        "linear-probe": {"a": score(0.8), "b": score(0.8)},
        "spatial-adapter": {"a": score(0.804), "b": score(0.802)},
    }
    chosen, reason = choose(table, list(table), 2)
    assert chosen == "linear-probe"
    assert reason == (
        "The linear probe is as good as the spatial adapter (mean Dice 0.800 on 2 held-out cases, against 0.803) "
        "and simpler"
    )
    # Folds learn from a case less than the model: with several cases the simple one is flattered.
    turned = {"linear-probe": table["spatial-adapter"], "spatial-adapter": table["linear-probe"]}
    assert choose(turned, list(turned), 3) == (
        "spatial-adapter",
        "The spatial adapter is as good as the linear probe (mean Dice 0.800 on 3 held-out cases, against 0.803) "
        "and gains more from further cases",
    )
    assert choose(turned, list(turned), 0)[0] == "linear-probe"
    worse = worse_than_zero_shot(table, chosen)
    assert worse == ["a"]
    verdict, _ = give_verdict(table[chosen], "leave-one-out", 3, worse, reason)
    assert "Worse than zero-shot for: a." in verdict
    table["spatial-adapter"] = {"a": score(0.9), "b": score(0.9)}
    chosen, reason = choose(table, list(table), 3)
    assert chosen == "spatial-adapter"
    assert reason.startswith("The spatial adapter is best: mean Dice 0.900 on 3 held-out cases, against 0.800")
    assert worse_than_zero_shot(table, "zero-shot") == []
    with pytest.raises(InputError, match="often enough"):
        choose({"linear-probe": {"a": score(math.nan)}}, ["linear-probe"], 3)


def test_methods_are_compared_on_structures_that_all_of_them_know() -> None:
    table = {
        "zero-shot": {"easy": score(0.8)},
        "linear-probe": {"easy": score(0.9), "hard": score(0.3)},
    }
    chosen, reason = choose(table, list(table), 3)
    assert chosen == "linear-probe"  # its mean over both is 0.6
    assert reason == (
        "The linear probe is best: mean Dice 0.900 on 3 held-out cases, over what all methods know (easy), "
        "against 0.800 with zero-shot"
    )
    # Finding what is not there counts, though the other method could not be scored there.
    table = {
        "linear-probe": {"a": score(0.8), "b": score(math.nan)},
        "mlp-adapter": {"a": score(0.85), "b": score(0.0)},
    }
    assert choose(table, list(table), 3)[0] == "linear-probe"


def test_verdicts_say_what_to_do() -> None:
    def said(row: dict[str, StructureScore], cases: int = 3, kind: str = "leave-one-out") -> tuple[str, str]:
        return give_verdict(row, kind, cases, [], "Because")

    verdict, advice = said({"liver": score(0.95), "adrenal": score(0.7, surface=0.95)})
    assert verdict == "Good. Because."
    assert "not needed" in advice
    verdict, advice = said({"liver": score(0.95), "stomach": score(0.86, sd=0.12)})
    assert verdict.startswith("Good.")
    assert advice == "Annotate one more case: stomach varies most (0.86 ± 0.12)."
    verdict, advice = said({"liver": score(0.8), "stomach": score(0.75), "gland": score(0.5)})
    assert verdict.startswith("Not good enough yet for gland. Usable, but check liver and stomach.")
    assert "gland is weakest (Dice 0.50)" in advice
    verdict, _ = said({"liver": score(0.95)}, cases=2)
    assert verdict.startswith("Looks good so far.")
    assert "little evidence: each figure rests on at most 2 scans" in verdict
    verdict, advice = said({"liver": score(0.95)}, cases=1, kind="cross-slice")
    assert "weak evidence" in verdict
    assert "second scan" in advice
    verdict, advice = said({"liver": score(0.95), "spleen": score(math.nan)})
    assert "Not validated, for lack of annotated scans: spleen." in verdict
    assert advice == "Annotate one more case that shows spleen."
    verdict, _ = give_verdict({"liver": score(0.95)}, "leave-one-out", 3, ["liver"], "Because")
    assert verdict.startswith("Usable, but check liver in every result.")


def test_can_be_cancelled(tmp_path: Path, source: FeatureSource) -> None:
    class Stop(Reporter):
        def check_cancelled(self) -> None:
            raise Cancelled

    case = cases_of(tmp_path, source, (0,))[0]
    with pytest.raises(Cancelled):
        validate(STRUCTURES, [case], source, QUICK, Stop())
    with pytest.raises(InputError, match="no method"):
        validate((Structure("ball", 1),), [case], source, QUICK, methods=["magic"])


def test_commands_print_the_table_and_the_verdict(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Workplace(tmp_path, tiny_backbone)
    monkeypatch.setenv("FSEFT_HOME", str(place.home))
    cases = [part for scan, annotation in place.scans[:2] for part in ("--case", str(scan), str(annotation))]
    settings = ["--setting", "crop=32", "--setting", "crops_per_step=2", "--setting", "steps=4"]
    common = [*cases, "--structure", "ball=1", "--structure", "rod=4", "--backbone", "tiny", "--device", "cpu"]
    common += settings
    assert main(["--quiet", "validate", *common, "--method", "linear-probe"]) == 0
    printed = capsys.readouterr().out
    assert "linear-probe (chosen)" in printed
    assert "zero-shot" in printed
    assert "Annotate" in printed
    assert "atlas" in printed
    assert main(["--quiet", "validate", *common, "--method", "linear-probe", "--no-atlas", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["shots"] == 2
    assert "atlas" not in record["table"]
    assert record["table"]["linear-probe"]["rod"]["cases"] == 2
    assert main(["--quiet", "adapt", "checked", *common, "--method", "linear-probe", "--validate"]) == 0
    assert "linear-probe (chosen)" in capsys.readouterr().out
    assert main(["models", "show", "checked"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["validation"]["table"] == record["table"]  # the same input, the same figures
    assert shown["quality"]["typicality"]["threshold"] > 0
    assert main(["--quiet", "validate", *common, "--method", "magic"]) == 2
    assert main(["--quiet", "validate", *common, "--method", "auto", "--no-atlas"]) == 0
    assert "method-unknown" in capsys.readouterr().err


def test_the_atlas_stands_beside_the_methods_and_is_never_chosen(
    tmp_path: Path, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_cases(tmp_path, (0, 1))
    loaded = [entry.case for entry in load_cases(files, STRUCTURES, source)]
    judged = validate(STRUCTURES, loaded, source, QUICK, methods=["linear-probe"])
    figures = {"ball": [(0.99, 0.98, 0.1), (0.97, 0.96, 0.3)], "rod": [(0.0, 0.0, 5.0)]}
    monkeypatch.setattr(atlas_row, "leave_one_out_atlas", lambda *_: figures)
    found = with_atlas(judged, files, STRUCTURES)
    assert found.better == ("ball",)
    assert found.validation.chosen == "linear-probe"
    assert found.validation.table["atlas"]["ball"].dice == pytest.approx(0.98)
    assert found.validation.table["atlas"]["ball"].volume_error_ml == pytest.approx(0.2)
    assert "find ball better" in found.validation.advice
    assert "fseft propose" in found.validation.advice
    assert found.validation.verdict == judged.verdict  # what it gains on one structure it loses on the other
    record = json.loads(json.dumps(found.validation.as_json(), allow_nan=False))
    assert record["compared"] == ["zero-shot", "atlas"]
    monkeypatch.setattr(atlas_row, "leave_one_out_atlas", lambda *_: {"ball": [], "rod": []})
    nothing = with_atlas(judged, files, STRUCTURES)  # one case, or none that registers
    assert nothing.better == ()
    assert nothing.validation == judged
    monkeypatch.setattr(
        atlas_row, "leave_one_out_atlas", lambda *_: {"ball": [(1.0, 1.0, 0.0)], "rod": [(1.0, 1.0, 0.0)]}
    )
    poor = {name: replace(score, dice=0.5) for name, score in judged.table["linear-probe"].items()}
    ahead = with_atlas(replace(judged, table={**judged.table, "linear-probe": poor}), files, STRUCTURES)
    assert "(atlas) do better: mean Dice 1.00, against 0.50" in ahead.validation.verdict
    assert ahead.validation.chosen == "linear-probe"
    as_good = {name: replace(score, dice=0.98) for name, score in poor.items()}
    equal = with_atlas(replace(judged, table={**judged.table, "linear-probe": as_good}), files, STRUCTURES)
    assert (equal.better, equal.validation.verdict, equal.validation.advice) == ((), judged.verdict, judged.advice)


def test_a_calibrated_model_flags_by_predicted_dice_and_another_by_confidence(
    tmp_path: Path, source: FeatureSource
) -> None:
    model = adapt("m", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "linear-probe", QUICK, validated=True)
    scan = make_scan(5)[0]
    result = segment_scan(scan, model, source)
    unsure = [replace(confidence, low_boundary_share=1.0) for confidence in result.confidence]
    result = replace(result, confidence=unsure)

    def flags(calibration: Calibration | None, changed_ml: float = 0.0) -> list[str]:
        record = {**model.validation, "calibration": None if calibration is None else calibration.as_json()}
        outcomes = [Outcome("refined", "", 1.0, 1.0, changed_ml) for _ in STRUCTURES]
        report = make_report("s", replace(model, validation=record), replace(result, outcomes=outcomes), {}, {})
        return list(report["structures"][0]["flags"])

    learnt = Calibration.from_json(model.validation["calibration"])
    assert learnt is not None
    poor = replace(learnt, slope=0.0, intercept=0.4, offsets={})
    good = replace(learnt, slope=0.0, intercept=0.9, offsets={})
    assert any("likely poor (predicted Dice 0.40)" in flag for flag in flags(poor))
    assert not any("likely poor" in flag or flag == LOW_CONFIDENCE_FLAG for flag in flags(good))
    assert LOW_CONFIDENCE_FLAG in flags(None)
    # Calibration knows the model's own results. What refinement changed is another one: the flag says which it means.
    assert "likely poor (predicted Dice 0.40), before refinement" in flags(poor, changed_ml=0.5)
    assert f"{LOW_CONFIDENCE_FLAG}, before refinement" in flags(None, changed_ml=0.5)

"""What to annotate next: which scan, which structure, which slices."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import adapt
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.cli.main import main
from fseft.errors import FseftError
from fseft.features.source import FeatureSource
from fseft.jobs.job import Job
from fseft.jobs.kinds import run_job
from fseft.models.adapted_model import save_model
from fseft.reporting import SILENT
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap, write_scan
from fseft.segmentation.scoring import score_volume
from fseft.suggestion.limiting import limiting_structure
from fseft.suggestion.ranking import rank_scans
from fseft.suggestion.slices import advise_slices
from fseft.suggestion.statistics import feature_statistics
from fseft.suggestion.uncertainty import entropy_near_structures, model_uncertainty
from test_adaptation import QUICK, write_cases


def at(*values: float) -> np.ndarray:
    return np.array(values)


def test_the_first_scan_is_the_most_typical_and_the_next_the_farthest() -> None:
    points = {"low": at(0, 0), "middle": at(1, 1), "typical": at(1.2, 1.2), "high": at(2.9, 2.9), "top": at(3.1, 3.1)}
    ranking = rank_scans(points, {})
    assert [entry.name for entry in ranking] == ["typical", "top", "low", "high", "middle"]
    assert "most typical of the 5" in ranking[0].why
    assert "nearest is typical" in ranking[1].why
    scores = [entry.score for entry in ranking]
    assert scores == sorted(scores, reverse=True)
    assert ranking[1].score == 1.0


def test_annotated_scans_count_as_chosen() -> None:
    candidates = {"twin": at(0.1), "other": at(5.0)}
    ranking = rank_scans(candidates, {"done": at(0.0)})
    assert [entry.name for entry in ranking] == ["other", "twin"]
    assert ranking[1].why.startswith("It is much like done")
    assert ranking[1].score == pytest.approx(0.02)


def test_uncertainty_is_half_of_the_score() -> None:
    candidates = {"unlike": at(4.0), "unsure": at(3.0)}
    plain = rank_scans(candidates, {"done": at(0.0)})
    doubted = rank_scans(candidates, {"done": at(0.0)}, {"unlike": 0.1, "unsure": 0.5})
    assert plain[0].name == "unlike"
    assert doubted[0].name == "unsure"
    assert doubted[0].score == pytest.approx((3 / 4 + 1) / 2)
    assert "least sure" in doubted[0].why


def test_scans_that_are_all_alike_are_still_ranked() -> None:
    ranking = rank_scans({"a": at(1.0), "b": at(1.0)}, {})
    assert sorted(entry.name for entry in ranking) == ["a", "b"]
    assert rank_scans({}, {"done": at(1.0)}) == []


def test_statistics_are_means_and_deviations_over_the_body(source: FeatureSource) -> None:
    features = source.features(make_scan(0)[0])
    numbers = feature_statistics(features)
    array = np.asarray(features.arrays[-1], dtype=np.float64)
    assert numbers.shape == (2 * array.shape[0],)
    stride = features.levels[-1].stride
    body = features.body[stride // 2 :: stride, stride // 2 :: stride, stride // 2 :: stride]
    assert numbers[0] == pytest.approx(array[0][body].mean())
    assert numbers[array.shape[0]] == pytest.approx(array[0][body].std())


def test_a_scan_of_another_kind_is_found(source: FeatureSource) -> None:
    alike = {f"scan{seed}": feature_statistics(source.features(make_scan(seed)[0])) for seed in range(3)}
    scan, _ = make_scan(3)
    bright = Scan((scan.hounsfield + np.int16(60)), scan.geometry)
    ranking = rank_scans({**alike, "bright": feature_statistics(source.features(bright))}, {})
    assert ranking[0].name != "bright"
    assert ranking[1].name == "bright"


def test_entropy_is_that_of_the_voxels_around_structures() -> None:
    logits = torch.full((1, 9, 9, 9), -20.0)
    logits[0, 4, 4, 4] = 20.0
    everywhere = np.ones((9, 9, 9), dtype=bool)
    assert entropy_near_structures(logits, everywhere) < 1e-3
    logits[0, 4, 4, 4] = 1e-3  # a coin's toss; 25 voxels are within two steps
    assert entropy_near_structures(logits, everywhere) == pytest.approx(1 / 25, abs=1e-3)
    assert entropy_near_structures(logits, ~everywhere) == 1.0
    assert entropy_near_structures(torch.full((3, 4, 4, 4), 0.0), np.ones((4, 4, 4), dtype=bool)) == 1.0


def test_a_model_with_flatter_scores_is_less_sure(tmp_path: Path, source: FeatureSource) -> None:
    model = adapt("m", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "linear-probe", QUICK.replace(steps=1))
    features = source.features(make_scan(9)[0])
    sure = model_uncertainty(model.adapter, features, CPU)
    with torch.no_grad():
        for parameter in model.adapter.head.parameters():
            parameter.mul_(0.3)
    assert 0 < sure < model_uncertainty(model.adapter, features, CPU) < 1


def test_pooled_scores_are_those_of_the_whole_volume_where_features_are_even(source: FeatureSource) -> None:
    """Without a body to crop to, and with even features, pooling must change nothing."""
    torch.manual_seed(0)
    adapter = make_adapter(find_method("mlp-adapter"), source.specification, STRUCTURES)
    scan, _ = make_scan(0)
    features = source.features(scan)
    features.body[:] = True
    for array in features.arrays:
        even = np.broadcast_to(np.asarray(array).mean(axis=(1, 2, 3), keepdims=True), array.shape)
        object.__setattr__(features, "arrays", tuple(even if a is array else a for a in features.arrays))
    full = score_volume(adapter, features, CPU)[:, 0, 0, 0]
    labels = int(full.argmax())
    expected = 1.0
    if labels > 0:
        p = float(full[labels])
        expected = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    assert model_uncertainty(adapter, features, CPU) == pytest.approx(expected, abs=1e-3)


def test_the_limiting_structure_comes_from_validation_or_else_from_training() -> None:
    training = {"structure_dice_loss": {"liver": [0.5, 0.1], "stomach": [0.9, None, 0.6]}}
    found = limiting_structure({"training": training, "validation": {}})
    assert found is not None
    assert (found["name"], found["measure"]) == ("stomach", "training")
    assert found["dice"] == pytest.approx(0.25)
    table = {"zero-shot": {"liver": {"dice": 0.1}}, "linear-probe": {"liver": {"dice": 0.6}, "stomach": {"dice": 0.7}}}
    table["linear-probe"]["never"] = {"dice": None}  # type: ignore[dict-item]
    found = limiting_structure({"training": training, "validation": {"table": table, "chosen": "linear-probe"}})
    assert found is not None
    assert (found["name"], found["measure"], found["dice"]) == ("liver", "validation", 0.6)
    assert limiting_structure({"training": {}, "validation": {}}) is None


def grid(spacing: float = 2.5, flip: bool = False) -> Geometry:
    direction = (1, 0, 0, 0, 1, 0, 0, 0, -1.0 if flip else 1.0)
    return Geometry((8, 8, 100), (1.0, 1.0, spacing), (0.0, 0.0, -30.0), direction)


def test_without_a_labelmap_every_nth_slice_of_the_body() -> None:
    advice = advise_slices(grid(), (10, 90))
    assert [entry.k for entry in advice.slices] == list(range(14, 90, 8))
    assert advice.direction == "S"
    assert advice.slices[0].position_mm == pytest.approx(-30 + 14 * 2.5)
    assert "every 8th slice of the body (20 mm)" in advice.advice
    assert "every 3rd slice of the body (18 mm)" in advise_slices(grid(6.0), (10, 90)).advice
    assert advise_slices(grid(flip=True), (10, 90)).slices[0].position_mm == pytest.approx(-30 - 14 * 2.5)
    assert [entry.k for entry in advise_slices(grid(30.0), (0, 3)).slices] == [0, 1, 2]


def test_slices_spread_over_the_structure_then_follow_its_shape() -> None:
    labels = np.zeros((100, 8, 8), dtype=np.uint8)
    labels[20:61, 2:4, 2:4] = 1
    labels[33:36, :, :] = 1  # the outline jumps here
    advice = advise_slices(grid(), (0, 100), labels, count=5)
    spread = [entry.k for entry in advice.slices if entry.why == "spread"]
    extra = [entry.k for entry in advice.slices if entry.why == "shape changes"]
    assert sorted(spread) == [20, 30, 40, 50, 60]
    assert spread[0] == 40
    assert set(spread[1:3]) == {20, 60}
    assert extra
    assert set(extra) <= {32, 33, 34, 35, 36}
    assert {entry.k for entry in advise_slices(grid(), (0, 100), labels * 0).slices} == set(range(4, 100, 8))
    single = np.zeros_like(labels)
    single[7, 3, 3] = 1
    assert [entry.k for entry in advise_slices(grid(), (0, 100), single).slices] == [7]


def test_the_job_leaves_out_what_is_annotated_and_names_the_limiting_structure(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, source: FeatureSource
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "home" / "backbones" / "tiny")
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    cases = write_cases(tmp_path, (4, 5))
    save_model(adapt("m", cases, STRUCTURES, source, "linear-probe", QUICK.replace(steps=2)), tmp_path / "m")
    new = [case.scan for case in write_cases(tmp_path, (0, 1))]
    scans = [{"scan": str(scan), "name": f"new{i}"} for i, scan in enumerate(new)]
    scans.append({"scan": str(cases[0].scan), "name": "copy of an annotated one"})
    parameters = {
        "scans": scans,
        "cases": [{"scan": str(case.scan), "annotation": str(case.annotation), "name": case.name} for case in cases],
        "model": str(tmp_path / "m"),
        "device": "cpu",
    }
    result = run_job(Job("suggest", parameters), SILENT)
    assert {entry["name"] for entry in result["ranking"]} == {"new0", "new1"}
    assert all(entry["why"].endswith(".") for entry in result["ranking"])
    assert result["limiting_structure"]["name"] in ("ball", "rod")
    assert result["slices"]["name"] == result["ranking"][0]["name"]
    assert all(0 <= entry["k"] < 30 for entry in result["slices"]["slices"])
    json.dumps(result)
    with pytest.raises(FseftError) as caught:
        run_job(Job("suggest", {**parameters, "scans": []}), SILENT)
    assert caught.value.code == "no-scans"
    with pytest.raises(FseftError) as caught:
        run_job(Job("suggest", {**parameters, "scans": [scans[0], scans[0]]}), SILENT)
    assert caught.value.code == "scan-name-twice"


def test_the_command_prints_scans_and_slices(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "home" / "backbones" / "tiny")
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    (tmp_path / "scans").mkdir()
    for seed in range(2):
        write_scan(make_scan(seed)[0], tmp_path / "scans" / f"ct{seed}.nii.gz")
    common = ["--backbone", "tiny", "--device", "cpu"]
    folder = ["--quiet", "suggest", "--folder", str(tmp_path / "scans"), *common]
    assert main([*folder, "--annotated", str(tmp_path / "scans" / "ct0.nii.gz")]) == 0
    said = capsys.readouterr().out
    assert "nearest is ct0" in said
    assert "every 7th slice" in said
    scan, labelmap = tmp_path / "scans" / "ct0.nii.gz", tmp_path / "rough.nii.gz"
    write_labelmap(make_scan(0)[1], make_scan(0)[0].geometry, labelmap)
    assert main(["--quiet", "suggest", str(scan), "--labelmap", str(labelmap), *common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["slices"]["slices"][0]["why"] == "spread"
    assert main([*folder, "--labelmap", str(labelmap)]) == 2
    assert "labelmap-one-scan" in capsys.readouterr().err


def test_a_file_that_is_no_scan_does_not_keep_the_others_from_being_ranked(
    tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "home" / "backbones" / "tiny")
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    for seed in range(2):
        write_scan(make_scan(seed)[0], tmp_path / f"ct{seed}.nii.gz")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"no scan")
    command = ["suggest", *(str(tmp_path / name) for name in ("broken.nii.gz", "ct0.nii.gz", "ct1.nii.gz"))]
    assert main([*command, "--backbone", "tiny", "--device", "cpu", "--json"]) == 2
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert {entry["name"] for entry in result["ranking"]} == {"ct0", "ct1"}
    assert [entry["name"] for entry in result["left_out"]] == ["broken"]
    assert "broken was left out" in told.err
    assert "1 of 3 scans could not be used: broken. " in " ".join(told.err.split("\n"))
    assert main(["suggest", str(broken), "--backbone", "tiny", "--device", "cpu"]) == 2
    assert "scans-left-out" not in capsys.readouterr().err  # the scan's own error

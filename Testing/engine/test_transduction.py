"""Refinement: the published penalty and its gradient, and a default that does no harm."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import adapt, load_cases
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import AdaptedModel, SizePrior
from fseft.scan.scan import Scan
from fseft.scan.writing import write_scan
from fseft.segmentation import scoring
from fseft.segmentation.scoring import score_volume, whole
from fseft.segmentation.segment import Query, Segmentation, segment_files, segment_scan
from fseft.segmentation.volumes import StructureVolume
from fseft.transduction.penalty import size_penalty
from fseft.transduction.plan import acting_range, plan
from fseft.transduction.published import pooled_levels, transductive_loss
from fseft.transduction.survey import Survey, region_around
from fseft.transduction.ways import Refining
from test_adaptation import QUICK, write_cases

DEFAULT = Refining("default")
BOX = ((10, 20), (10, 20), (10, 20))


@pytest.fixture
def model(tmp_path: Path, source: FeatureSource) -> AdaptedModel:
    return adapt("test", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "spatial-adapter", QUICK)


def edited(low: float, high: float) -> SizePrior:
    return SizePrior((low + high) / 2, low, high, "edited")


def ball(result: Segmentation) -> float:
    return result.sizes[0].volume_ml


@pytest.mark.parametrize(
    ("size", "expected"), [(50.0, 0.2), (70.0, 0.0), (100.0, 0.0), (130.0, 0.0), (160.0, 30 / 160)]
)
def test_the_penalty_is_the_papers_formula(size: float, expected: float) -> None:
    mean = torch.tensor([100.0], dtype=torch.float64)
    found = size_penalty(torch.tensor([size], dtype=torch.float64), 0.7 * mean, 1.3 * mean, mean)
    assert float(found) == pytest.approx(expected)


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_the_gradient_of_the_transductive_loss_is_right(
    factor: float, model: AdaptedModel, source: FeatureSource
) -> None:
    """Against central differences, with the detached denominator held where it was."""
    adapter = make_adapter(find_method("mlp-adapter"), source.specification, STRUCTURES).double()
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    features = source.features(make_scan(3)[0])
    levels = [level.double() for level in pooled_levels(features, "cpu")[0]]
    positions = torch.tensor([0, 1])
    with torch.no_grad():
        start = adapter(levels).softmax(dim=1)[0, 1:].flatten(1).sum(dim=1)
    expected = start / factor
    parameter = adapter.head.bias
    transductive_loss(adapter, levels, positions, expected).backward()  # type: ignore[no-untyped-call]
    assert parameter.grad is not None
    scale = torch.maximum(expected, start)
    for index in range(len(parameter)):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[index] += step
                sizes = adapter(levels).softmax(dim=1)[0, 1:].flatten(1).sum(dim=1)
                outside = torch.relu(0.7 * expected - sizes) + torch.relu(sizes - 1.3 * expected)
                values.append(float((outside / scale).mean()))
                parameter[index] -= step
        assert float(parameter.grad[index]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_pooled_voxels_have_their_volume(source: FeatureSource) -> None:
    features = source.features(make_scan(3)[0])
    levels, voxel_ml = pooled_levels(features, "cpu")
    assert voxel_ml == pytest.approx(8 * features.grid.voxel_volume_ml)
    assert [level.shape[2] * level_.stride for level, level_ in zip(levels, features.levels, strict=True)] == [
        levels[0].shape[2]
    ] * len(levels)


def size_of(volume_ml: float, cut: bool = False) -> StructureVolume:
    return StructureVolume(round(volume_ml * 1000), volume_ml, cut, 1, BOX if volume_ml else None)


def test_only_structures_outside_their_range_are_touched() -> None:
    priors = [edited(10, 20), edited(10, 20), edited(10, 20), None, edited(10, 20), edited(10, 20)]
    sizes = [size_of(15), size_of(5), size_of(30), size_of(99), size_of(0), size_of(5, cut=True)]
    targets, outcomes = plan(sizes, priors)
    assert [t.position for t in targets] == [1, 2]
    assert [o.action for o in outcomes] == ["none", "none", "none", "none", "refused", "none"]


def test_a_cut_structure_is_bounded_above_only() -> None:
    targets, _ = plan([size_of(5, cut=True), size_of(50, cut=True)], [edited(10, 20), edited(10, 20)])
    assert [(t.position, t.low_ml, t.high_ml) for t in targets] == [(1, 0.0, 20.0)]


def test_one_case_allows_more_than_five_and_growing_comes_before_shrinking() -> None:
    one = acting_range(SizePrior(100.0, 70.0, 130.0, "1 annotated case", (100.0,)))
    five = acting_range(SizePrior(100.0, 70.0, 130.0, "5 annotated cases", (100.0,) * 5))
    assert one == pytest.approx((40.0, 100.0 * math.exp(0.8 * math.sqrt(2.0))))
    assert five == pytest.approx((64.0, 100.0 * math.exp(0.8 * math.sqrt(0.5) * math.sqrt(1.2))))
    assert acting_range(edited(90, 110)) == (90, 110)


def test_survey_and_region() -> None:
    survey = Survey(3)
    scores = np.zeros((3, 8, 8, 8), dtype=np.float32)
    scores[1, 2:4, 3, 5] = 0.96
    scores[1, 6, 6, 6] = 0.1
    survey.add(((16, 24), (0, 8), (8, 16)), scores)
    assert (survey.plausible.tolist(), survey.confident.tolist()) == ([3, 0], [2, 0])
    assert survey.boxes == [((18, 20), (3, 4), (13, 14)), None]
    assert region_around([((18, 20), (3, 4), (13, 14))], 4, 8, (32, 16, 16)) == ((8, 24), (0, 8), (8, 16))


def test_blocks_score_as_the_whole_volume_does(source: FeatureSource, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = make_adapter(find_method("spatial-adapter"), source.specification, STRUCTURES).eval()
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0)))
    features = source.features(make_scan(2)[0])
    features = features.__class__(features.grid, features.levels, features.arrays, np.ones_like(features.body))
    with torch.no_grad():
        # Beyond the volume are zeros, for training's crops too; no block may add borders of its own.
        levels = features.crop((0, 0, 0), features.grid.shape, adapter.reach)
        expected = adapter([level[None] for level in levels], context=adapter.reach)[0].softmax(dim=0).numpy()
    monkeypatch.setattr(scoring, "BLOCK", 16)
    assert whole(features)[0] == (0, features.grid.shape[0])
    assert np.abs(score_volume(adapter, features, CPU) - expected).max() < 1e-4


def unsure(model: AdaptedModel, shift: float) -> AdaptedModel:
    """A model whose ball is too large or too small by a shifted threshold."""
    with torch.no_grad():
        model.adapter.head.bias[1] += shift
    return model


@pytest.mark.parametrize("shift", [-1.2, 3.0])
def test_a_violated_prior_is_met_and_the_result_better(
    shift: float, model: AdaptedModel, source: FeatureSource
) -> None:
    scan, labels = make_scan(7)
    truth = labels == 1
    true_ml = float(truth.sum()) * scan.geometry.voxel_volume_ml
    model = unsure(model, shift)
    off = segment_scan(scan, model, source)
    assert not 0.9 * true_ml <= ball(off) <= 1.1 * true_ml, "the shift violates nothing: the test would be empty"
    priors = {"ball": edited(0.9 * true_ml, 1.1 * true_ml)}
    refined = segment_scan(scan, model, source, refining=DEFAULT, priors=priors)
    outcome = refined.outcomes[0]
    assert outcome.action == "refined"
    assert refined.before is not None
    assert np.array_equal(refined.before, off.labels)
    assert outcome.before_ml == pytest.approx(ball(off))
    assert outcome.after_ml == pytest.approx(ball(refined))
    assert abs(ball(refined) - true_ml) < 0.5 * abs(ball(off) - true_ml)
    assert dice(refined.labels == 1, truth) > dice(off.labels == 1, truth)
    changed = (refined.labels == 1) != (off.labels == 1)
    assert outcome.changed_ml == pytest.approx(changed.sum() * scan.geometry.voxel_volume_ml)


def test_inside_the_range_nothing_changes(model: AdaptedModel, source: FeatureSource) -> None:
    scan, _ = make_scan(7)
    off = segment_scan(scan, model, source)
    priors = {s.name: edited(0.0, 1e6) for s in STRUCTURES}
    refined = segment_scan(scan, model, source, refining=DEFAULT, priors=priors)
    assert refined.before is None
    assert np.array_equal(refined.labels, off.labels)
    assert {o.action for o in refined.outcomes} == {"none"}


@pytest.mark.parametrize("factor", [0.02, 30.0])
def test_an_impossible_prior_is_refused_and_flagged(
    factor: float, model: AdaptedModel, source: FeatureSource, tmp_path: Path
) -> None:
    scan, labels = make_scan(7)
    true_ml = float((labels == 1).sum()) * scan.geometry.voxel_volume_ml
    if factor < 1:
        with torch.no_grad():  # a model that is sure of itself
            for weight in (*model.adapter.head.weights, model.adapter.head.bias):
                weight.mul_(8.0)
    off = segment_scan(scan, model, source)
    write_scan(scan, tmp_path / "query.nii.gz")
    query = Query(tmp_path / "query.nii.gz", tmp_path / "o.nii.gz", "q", before=tmp_path / "b.nii.gz")
    priors = {"ball": edited(0.9 * factor * true_ml, 1.1 * factor * true_ml)}
    report = segment_files([query], model, source, priors, refining=DEFAULT).reports[0]
    entry = report["structures"][0]
    assert entry["refinement"]["action"] == "refused"
    assert any(flag.startswith("not refined") for flag in entry["flags"])
    assert entry["volume_ml"] == pytest.approx(ball(off), abs=1e-3)
    assert report["before"] is None
    assert not (tmp_path / "b.nii.gz").exists()


def test_what_the_model_is_sure_of_nowhere_is_not_shrunk(model: AdaptedModel, source: FeatureSource) -> None:
    scan, labels = make_scan(7)
    true_ml = float((labels == 1).sum()) * scan.geometry.voxel_volume_ml
    with torch.no_grad():  # the same labels, no certainty
        for weight in (*model.adapter.head.weights, model.adapter.head.bias):
            weight.mul_(0.1)
    off = segment_scan(scan, unsure(model, 0.3), source)
    priors = {"ball": edited(0.9 * true_ml, 1.1 * true_ml)}
    assert ball(off) > 1.1 * true_ml, "nothing to shrink: the test would be empty"
    refined = segment_scan(scan, model, source, refining=DEFAULT, priors=priors)
    assert refined.outcomes[0].action == "refused"
    assert "sure of too little" in refined.outcomes[0].why
    assert refined.before is None


def test_an_organ_cut_by_the_scan_is_not_grown(model: AdaptedModel, source: FeatureSource) -> None:
    scan, labels = make_scan(7)
    middle = int(np.median(np.nonzero(labels == 1)[0]))
    x, y, _ = scan.geometry.size
    cropped = Scan(scan.hounsfield[:middle].copy(), dataclasses.replace(scan.geometry, size=(x, y, middle)))
    whole_ml = float((labels == 1).sum()) * scan.geometry.voxel_volume_ml
    priors = {"ball": edited(0.9 * whole_ml, 1.1 * whole_ml)}
    off = segment_scan(cropped, model, source)
    assert off.sizes[0].cut_by_border
    assert ball(off) < 0.9 * whole_ml
    refined = segment_scan(cropped, model, source, refining=DEFAULT, priors=priors)
    assert refined.outcomes[0].action == "none"
    assert np.array_equal(refined.labels, off.labels)


def test_annotated_scans_take_part(model: AdaptedModel, source: FeatureSource, tmp_path: Path) -> None:
    cases = [entry.case for entry in load_cases(write_cases(tmp_path, (0,)), STRUCTURES, source)]
    scan, labels = make_scan(7)
    true_ml = float((labels == 1).sum()) * scan.geometry.voxel_volume_ml
    priors = {"ball": edited(0.9 * true_ml, 1.1 * true_ml)}
    model = unsure(model, 3.0)
    alone = segment_scan(scan, model, source, refining=DEFAULT, priors=priors)
    supported = segment_scan(scan, model, source, refining=Refining("default", cases), priors=priors)
    assert supported.outcomes[0].action == "refined"
    assert not np.array_equal(alone.labels, supported.labels)


def test_the_published_way_pulls_towards_the_expected_size(
    model: AdaptedModel, source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fseft.transduction import published

    monkeypatch.setattr(published, "EPOCHS", 24)
    monkeypatch.setattr(published, "FIRST_EPOCH", 4)
    monkeypatch.setattr(published, "WEIGHT", 5.0)
    cases = [entry.case for entry in load_cases(write_cases(tmp_path, (0, 1)), STRUCTURES, source)]
    scan, _ = make_scan(7)
    volumes = {}
    for factor in (0.1, 20.0):
        expected = {"ball": edited(0.0, 2 * factor * ball(segment_scan(scan, model, source)))}
        result = segment_scan(scan, model, source, refining=Refining("paper", cases), priors=expected)
        volumes[factor] = ball(result)
        assert result.outcomes[0].action == "refined"
    assert volumes[0.1] < volumes[20.0]


def test_unusable_ways() -> None:
    for arguments, code in ((("best",), "refinement-unknown"), (("paper",), "refinement-needs-support")):
        with pytest.raises(InputError) as caught:
            Refining(*arguments)
        assert caught.value.code == code


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    return 2.0 * float((found & truth).sum()) / float(found.sum() + truth.sum())

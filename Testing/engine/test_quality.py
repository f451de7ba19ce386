"""Confidence is counted as by hand, calibration finds a known line, swapped sides and foreign scans are noticed."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
from conftest import make_scan
from fseft.features.source import FeatureSource
from fseft.quality.confidence import LOW_CONFIDENCE_FLAG, ConfidenceTally
from fseft.quality.predicted_dice import Calibration, Pair, PredictedDice
from fseft.quality.sides import SWAPPED_FLAG, body_centre_x, side_flags, side_pairs
from fseft.quality.typicality import DEFAULT_THRESHOLD, support_statistics, unlike


def test_tally_of_one_structure_by_hand() -> None:
    probabilities = np.zeros((1, 4, 1, 1), dtype=np.float32)
    probabilities[0, :, 0, 0] = [0.2, 0.6, 0.9, 0.5]  # one half is not above one half
    tally = ConfidenceTally(1)
    tally.add(probabilities)
    (found,) = tally.results()
    assert found.soft_voxels == pytest.approx(2.2)
    assert found.hard_voxels == 2
    assert found.expected_dice == pytest.approx(2 * 1.5 / (2.2 + 2))
    assert found.boundary_voxels == 2
    assert found.low_boundary_share == 0.5
    assert found.flag is None


def test_tally_of_two_structures_by_hand() -> None:
    rows = [[0.5, 0.3, 0.2], [0.3, 0.6, 0.1], [0.1, 0.55, 0.35], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]]
    probabilities = np.array(rows, dtype=np.float32).T.reshape(3, 5, 1, 1)
    tally = ConfidenceTally(2)
    tally.add(probabilities)
    first, second = tally.results()
    assert (first.hard_voxels, second.hard_voxels) == (2, 1)  # a draw with the background is background
    assert first.expected_dice == pytest.approx(2 * (0.6 + 0.55) / (0.3 + 0.6 + 0.55 + 0.1 + 0.4 + 2))
    assert second.expected_dice == pytest.approx(2 * 0.8 / (0.2 + 0.1 + 0.35 + 0.8 + 0.2 + 1))
    assert (first.boundary_voxels, second.boundary_voxels) == (2, 1)
    assert (first.low_boundary_share, second.low_boundary_share) == (1.0, 0.0)
    assert first.flag == LOW_CONFIDENCE_FLAG
    with pytest.raises(ValueError, match="2 outputs, not 3"):
        tally.add(probabilities[:2])


def test_blocks_add_up_and_what_is_not_found_says_nothing() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (4, 12, 8, 8))
    probabilities = (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)
    probabilities[3] = 0.0
    whole, blocks = ConfidenceTally(3), ConfidenceTally(3)
    whole.add(probabilities)
    blocks.add(probabilities[:, :6])
    blocks.add(probabilities[:, 6:])
    labels = probabilities.argmax(axis=0)
    for position, (a, b) in enumerate(zip(whole.results()[:2], blocks.results()[:2], strict=True)):
        hard = labels == position + 1
        p = probabilities[position + 1]
        assert a.hard_voxels == b.hard_voxels == hard.sum()
        assert a.expected_dice == pytest.approx(2 * p[hard].sum() / (p.sum() + hard.sum()), abs=1e-5)
        assert b.expected_dice == pytest.approx(a.expected_dice, abs=1e-6)
        assert 0 < b.boundary_voxels <= a.boundary_voxels  # faces between blocks are not looked across
    assert whole.results()[2].hard_voxels == 0
    assert math.isnan(whole.results()[2].expected_dice)
    assert whole.results()[2].flag is None


def made_up_pairs(count: int, noise: float, seed: int) -> list[Pair]:
    generator = np.random.default_rng(seed)
    pairs = []
    for name, shift in (("liver", 0.05), ("spleen", -0.05)):
        for expected in generator.uniform(0.4, 0.95, count):
            pairs.append(Pair(name, float(expected), 0.7 * float(expected) + 0.1 + shift + generator.normal(0, noise)))
    return pairs


def test_calibration_recovers_a_known_line_and_survives_json() -> None:
    fitted = Calibration.fit(made_up_pairs(60, 0.01, 0))
    assert fitted is not None
    assert fitted.slope == pytest.approx(0.7, abs=0.03)
    for name, shift in (("liver", 0.05), ("spleen", -0.05)):
        found = fitted.predict(name, 0.8)
        assert found is not None
        assert found.value == pytest.approx(0.66 + shift, abs=0.015)
        assert found.high - found.low < 0.1
    again = Calibration.from_json(json.loads(json.dumps(fitted.as_json(), allow_nan=False)))
    assert again is not None
    before, after = fitted.predict("liver", 0.61), again.predict("liver", 0.61)
    assert before is not None
    assert after is not None
    assert astuple(after) == pytest.approx(astuple(before), abs=1e-4)
    assert Calibration.from_json(None) is None
    assert Calibration.from_json({}) is None


def test_intervals_cover_what_they_say() -> None:
    fitted = Calibration.fit(made_up_pairs(30, 0.06, 1))
    assert fitted is not None
    inside = []
    for pair in made_up_pairs(500, 0.06, 2):
        found = fitted.predict(pair.structure, pair.expected)
        assert found is not None
        inside.append(found.low <= pair.true <= found.high)
    assert 0.85 < np.mean(inside) < 0.97


def test_little_evidence_is_drawn_to_the_prior_and_none_is_none() -> None:
    assert Calibration.fit([]) is None
    assert Calibration.fit([Pair("liver", 0.8, 0.7), Pair("liver", math.nan, 0.0)]) is None
    few = Calibration.fit([Pair("liver", 0.80, 0.70), Pair("liver", 0.82, 0.60)])
    assert few is not None
    assert 0.9 < few.slope <= 1.0  # two near points do not make a falling line
    found = few.predict("liver", 0.81)
    assert found is not None
    assert found.value == pytest.approx(0.65, abs=0.01)
    assert found.high - found.low >= 0.2
    assert found.flag == "likely poor (predicted Dice 0.65)"
    far = few.predict("liver", 0.3)
    assert far is not None
    assert far.high - max(0.0, far.value) > found.high - found.value  # wider where nothing was seen
    assert few.predict("liver", math.nan) is None
    falling = Calibration.fit([Pair("liver", 0.1 * i, 1 - 0.1 * i) for i in range(10)])
    assert falling is not None
    assert falling.slope == 0.0


def test_left_and_right() -> None:
    names = ["Kidney_Left", "right kidney", "RightLung", "liver", "left lung"]
    assert side_pairs(names) == [("right kidney", "Kidney_Left"), ("RightLung", "left lung")]
    good = {"Kidney_Left": (60.0, 0, 0), "right kidney": (-60.0, 0, 0), "liver": (-50.0, 0, 0)}
    assert side_flags(good, 0.0) == {}
    swapped = {"Kidney_Left": (-60.0, 0, 0), "right kidney": (60.0, 0, 0), "liver": (-50.0, 0, 0)}
    assert side_flags(swapped, 0.0) == {"Kidney_Left": SWAPPED_FLAG, "right kidney": SWAPPED_FLAG}
    same_side = {"Kidney_Left": (70.0, 0, 0), "right kidney": (40.0, 0, 0)}
    assert set(side_flags(same_side, 0.0)) == {"Kidney_Left", "right kidney"}
    assert side_flags(same_side, 55.0) == {}  # a patient who lies beside the table's middle
    assert side_flags({"right kidney": (60.0, 0, 0)}, 0.0) == {}


def test_midline_is_the_bodys_wherever_the_axes_point(source: FeatureSource) -> None:
    scan, _ = make_scan(0)
    assert body_centre_x(source.features(scan)) == pytest.approx(-50.0 + 3.0 * 20, abs=4.0)
    geometry = scan.geometry
    x = geometry.origin[0] + 3.0 * (geometry.size[0] - 1)
    mirrored = replace(
        scan,
        hounsfield=np.ascontiguousarray(scan.hounsfield[:, :, ::-1]),
        geometry=replace(geometry, origin=(x, *geometry.origin[1:]), direction=(-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)),
    )
    assert body_centre_x(source.features(mirrored)) == pytest.approx(-50.0 + 3.0 * 20, abs=4.0)


def test_noise_is_unlike_the_support_set(source: FeatureSource) -> None:
    support = [source.features(make_scan(seed)[0]) for seed in (0, 1, 2)]
    statistics = json.loads(json.dumps(support_statistics(support), allow_nan=False))
    assert len(statistics["cases"]) == 3
    assert unlike(statistics, support[0]) < 0.01
    assert unlike(statistics, source.features(make_scan(7)[0])) < 1
    scan, _ = make_scan(3)
    noise = np.random.default_rng(0).normal(0, 400, scan.hounsfield.shape).astype(np.int16)
    assert unlike(statistics, source.features(replace(scan, hounsfield=noise))) > 1
    single = support_statistics(support[:1])
    assert single["threshold"] == DEFAULT_THRESHOLD
    assert unlike(single, support[1]) < 1 < unlike(single, source.features(replace(scan, hounsfield=noise)))
    assert math.isnan(unlike({}, support[0]))
    assert math.isnan(unlike({**single, "cases": [[0.0, 1.0]]}, support[0]))
    assert support_statistics([]) == {}


def test_what_is_said_of_a_poor_result_is_the_figure_that_is_shown() -> None:
    for value in (0.4951, 0.5548, 0.0749, 0.3):
        shown = f"{round(value, 3):.2f}"
        assert PredictedDice(value, 0.0, 1.0).flag == f"likely poor (predicted Dice {shown})"
    assert PredictedDice(0.95, 0.9, 1.0).flag is None

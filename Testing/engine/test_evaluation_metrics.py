"""Metrics of one structure, against MONAI's and against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fseft.evaluation.metrics import structure_metrics
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_surface_dice
from scipy.ndimage import gaussian_filter

SPACING = (3.0, 0.8, 1.1)


def blob(seed: int, shape: tuple[int, int, int] = (20, 28, 24)) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 3)
    return noise > np.quantile(noise, 0.8)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_figures_are_monais(seed: int) -> None:
    prediction, reference = blob(seed), blob(seed) ^ (blob(seed + 10) & blob(seed + 20))
    ours = structure_metrics(prediction, reference, SPACING, tolerance_mm=2.0)
    one_hot = [torch.from_numpy(m)[None, None].float() for m in (prediction, reference)]
    assert ours.dice == pytest.approx(compute_dice(*one_hot, include_background=True).item(), abs=1e-6)
    surface = compute_surface_dice(*one_hot, class_thresholds=[2.0], include_background=True, spacing=SPACING)
    assert ours.surface_dice == pytest.approx(surface.item(), abs=1e-6)
    distance = compute_hausdorff_distance(*one_hot, include_background=True, percentile=95, spacing=SPACING)
    assert ours.hd95_mm == pytest.approx(distance.item(), abs=1e-4)


def test_a_shifted_cube_by_hand() -> None:
    reference = np.zeros((12, 12, 12), dtype=bool)
    reference[2:6, 2:6, 2:6] = True
    prediction = np.roll(reference, 2, axis=0)
    ours = structure_metrics(prediction, reference, (1.5, 1.0, 1.0), tolerance_mm=2.0)
    assert ours.dice == pytest.approx(0.5)
    assert ours.hd95_mm == pytest.approx(3.0)
    assert ours.reference_ml == pytest.approx(0.096)
    assert ours.volume_error_ml == 0
    # Of the 56 surface voxels of each cube the far face and half of the ring beside it are further than 2 mm:
    # 16 on the face at 3 mm; the ring of 12 at 1.5 mm is within.
    assert ours.surface_dice == pytest.approx(1 - 16 / 56)


def test_volume_errors_have_a_sign() -> None:
    reference = np.zeros((4, 10, 10), dtype=bool)
    reference[:, :5] = True
    prediction = np.zeros_like(reference)
    prediction[:, :4] = True
    smaller = structure_metrics(prediction, reference, (1.0, 1.0, 1.0))
    assert smaller.volume_error_ml == pytest.approx(-0.04)
    assert smaller.volume_error_percent == pytest.approx(-20)


def test_a_perfect_prediction() -> None:
    mask = blob(4)
    perfect = structure_metrics(mask, mask.copy(), SPACING)
    assert (perfect.dice, perfect.surface_dice, perfect.hd95_mm, perfect.volume_error_ml) == (1, 1, 0, 0)


def test_empty_masks_follow_the_conventions() -> None:
    mask, empty = blob(5), np.zeros((20, 28, 24), dtype=bool)
    nothing = structure_metrics(empty, empty, SPACING)
    assert math.isnan(nothing.dice)
    assert math.isnan(nothing.hd95_mm)
    assert nothing.reference_ml == nothing.predicted_ml == 0
    missed = structure_metrics(empty, mask, SPACING)
    assert (missed.dice, missed.surface_dice, missed.hd95_mm) == (0, 0, math.inf)
    assert missed.volume_error_percent == pytest.approx(-100)
    invented = structure_metrics(mask, empty, SPACING)
    assert (invented.dice, invented.hd95_mm, invented.volume_error_percent) == (0, math.inf, math.inf)


def test_a_single_voxel_has_a_surface() -> None:
    one, other = np.zeros((5, 5, 5), dtype=bool), np.zeros((5, 5, 5), dtype=bool)
    one[0, 0, 0] = other[0, 0, 2] = True
    figures = structure_metrics(one, other, (1.0, 1.0, 0.7), tolerance_mm=1.4)
    assert figures.surface_dice == 1, "2 * 0.7 mm counts as within 1.4 mm"
    assert figures.hd95_mm == pytest.approx(1.4)

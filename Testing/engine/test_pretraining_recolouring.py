"""Contrast phases that nobody scanned, and the precision that small crops are trained in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fseft.compute import Compute
from fseft.preprocessing.intensity import SOFT_TISSUE_HU
from fseft.pretraining.loop import training_precision
from fseft.pretraining.recolouring import recolour, recolouring_groups
from fseft.pretraining.sampling import CropSampler
from pretraining_makers import STILL, TINY, tiny_pool

NAMES = ("kidney_left", "kidney_right", "aorta", "vertebrae_L1", "femur_left")


def crop() -> tuple[torch.Tensor, torch.Tensor]:
    """Fat with two kidneys, an aorta with a calcification, a vertebra, and gas in a kidney."""
    volume, labels = torch.full((24, 24, 24), -100.0), torch.zeros((24, 24, 24), dtype=torch.long)
    for value, place in ((1, 2), (2, 8), (3, 14), (4, 20)):
        labels[place : place + 4, 4:20, 4:20] = value
    levels = torch.tensor([-100.0, 30.0, 40.0, 50.0, 300.0])
    volume = levels[labels]
    volume[15, 10, 10], volume[3, 10, 10] = 1200.0, -900.0
    return volume, labels


def test_both_sides_of_a_pair_change_together_and_bones_never() -> None:
    groups = recolouring_groups(NAMES).tolist()
    assert groups[0] == 0  # background
    assert groups[1] == groups[2] != groups[3]
    assert groups[4] == groups[5] == 0


def test_soft_tissue_takes_other_levels_and_all_else_stays() -> None:
    volume, labels = crop()
    before = volume.clone()
    groups = recolouring_groups(NAMES)
    aortas, apart = [], []
    for seed in range(40):
        changed = recolour(volume, labels, groups, np.random.default_rng(seed))
        assert torch.equal(volume, before)  # crops may share memory with their case
        kept = (volume <= SOFT_TISSUE_HU[0]) | (volume >= SOFT_TISSUE_HU[1])
        assert torch.equal(changed[kept], volume[kept])  # fat, gas, calcium
        deep = torch.zeros_like(labels, dtype=torch.bool)
        deep[21:23, 6:18, 6:18] = True
        assert torch.equal(changed[deep], volume[deep])  # inside the vertebra
        right, left = changed[9:11, 6:18, 6:18], changed[4, 6:18, 6:18]
        apart.append(float(right.median() - left.median()))
        aortas.append(float(changed[16, 8, 8]))
    assert apart == pytest.approx([10.0] * 40, abs=0.1)  # what a patient's kidneys differ by, they still do
    assert min(aortas) < 30
    assert max(aortas) > 200


def test_a_rim_changes_by_the_share_that_is_structure() -> None:
    volume, labels = torch.full((12, 12, 12), 40.0), torch.zeros((12, 12, 12), dtype=torch.long)
    labels[6:] = 1
    changed = recolour(volume, labels, recolouring_groups(("liver",)), np.random.default_rng(1))
    inside, rim, beside = (float(changed[at, 6, 6] - 40.0) for at in (9, 6, 5))
    assert abs(inside) > 1
    assert rim == pytest.approx(inside * 2 / 3, rel=1e-4)
    assert beside == pytest.approx(inside / 3, rel=1e-4)


def test_crops_show_other_phases_when_asked(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    plain = TINY.replace(augmentation=STILL)
    recoloured = plain.with_overrides({"augmentation": {"phase": 1.0}})
    never = plain.with_overrides({"augmentation": {"phase": 0.0}})
    differing = 0
    for number in range(12):
        as_scanned, same, other = (CropSampler(pool, s).draw(number) for s in (plain, never, recoloured))
        assert torch.equal(as_scanned.windowed, same.windowed)
        differing += not torch.equal(as_scanned.windowed, other.windowed)
    assert differing > 3


def test_narrow_levels_on_a_cpu_are_trained_in_single_precision() -> None:
    half = Compute(torch.device("cpu"), torch.bfloat16)
    assert training_precision(half, 32) is None
    assert training_precision(half, 48) is torch.bfloat16
    assert training_precision(Compute(torch.device("cpu"), None), 96) is None

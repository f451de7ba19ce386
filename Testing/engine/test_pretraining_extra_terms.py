"""Dense contrast and boundary distances: what they ask for, what they leave out, that they train."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU
from fseft.errors import InputError
from fseft.pretraining.boundary import REACH_MM, boundary_distances, boundary_term
from fseft.pretraining.contrast import APART_VOXELS, compared, contrast_term, voxel_positions
from fseft.pretraining.distributed import Processes
from fseft.pretraining.loop import Trainer
from fseft.pretraining.losses import alone
from fseft.pretraining.sampling import CropSampler, stream
from fseft.pretraining.settings import PretrainingSettings
from fseft.pretraining.targets import ClassTable
from pretraining_makers import STILL, TINY, tiny_pool

SHAPE = (40, 36, 32)


def ball(radius: float, centre: tuple[int, int, int] = (20, 18, 16)) -> torch.Tensor:
    index = np.indices(SHAPE)
    inside = sum((index[axis] - centre[axis]) ** 2 for axis in range(3)) <= radius**2
    return torch.from_numpy(inside.astype(np.int64))


def table(known: tuple[bool, ...] = (True, True, True), mirror: tuple[int, ...] = (0, 1, 2)) -> ClassTable:
    """Label 1 is class 0 and part of class 2; label 2 is class 1."""
    positive = torch.tensor([[False, False, False], [True, False, True], [False, True, False]])
    return ClassTable(positive, torch.tensor(known), torch.tensor(mirror), torch.zeros(len(positive), dtype=torch.long))


def test_distances_of_a_ball_are_millimetres() -> None:
    labels = ball(8.0)
    points = torch.arange(labels.numel())
    found = boundary_distances(labels, points, table(), (1.5, 1.5, 1.5), False)
    index = np.stack(np.unravel_index(points.numpy(), SHAPE), axis=1)
    true = (np.linalg.norm(index - (20, 18, 16), axis=1) - 8.0) * 1.5
    counted = ~torch.isnan(found[:, 0]).numpy()
    assert counted[np.abs(true) < REACH_MM - 2].mean() > 0.9  # but for those that are nearer to the crop's edge
    assert not counted[np.abs(true) > REACH_MM + 2].any()
    assert np.abs(found[:, 0].numpy()[counted] - true[counted]).max() < 1.5
    inside = (labels.flatten() == 1).numpy()
    assert (found[:, 0].numpy()[counted & inside] < 0).all()
    assert (found[:, 0].numpy()[counted & ~inside] > 0).all()
    assert torch.equal(torch.isnan(found[:, 0]), torch.isnan(found[:, 2]))  # the whole that it is part of
    assert torch.isnan(found[:, 1]).all()  # not in this crop


def test_distances_beyond_the_crop_and_of_unknown_classes_are_no_target() -> None:
    labels = ball(8.0, (2, 18, 16))
    points = torch.arange(labels.numel())
    found = boundary_distances(labels, points, table((True, True, False)), (1.5, 1.5, 1.5), False)
    assert torch.isnan(found[:, 2]).all()
    deep = np.ravel_multi_index((0, 18, 16), SHAPE)
    # Nine millimetres from the visible surface, but the ball may end right outside the crop.
    assert torch.isnan(found[deep, 0])
    swapped = boundary_distances(labels, points, table(mirror=(1, 0, 2)), (1.5, 1.5, 1.5), True)
    plain = boundary_distances(labels, points, table(), (1.5, 1.5, 1.5), False)
    assert torch.equal(torch.nan_to_num(swapped[:, 1], 99), torch.nan_to_num(plain[:, 0], 99))
    assert torch.isnan(swapped[:, 0]).all()
    everywhere = torch.ones(SHAPE, dtype=torch.int64)
    assert torch.isnan(boundary_distances(everywhere, points, table(), (1.5, 1.5, 1.5), False)).all()


def test_boundary_term_counts_targets_alone() -> None:
    distances = torch.tensor([[[5.0, torch.nan], [torch.nan, torch.nan]]])
    predicted = torch.tensor([[[0.5, 7.0], [3.0, 3.0]]], requires_grad=True)
    loss = boundary_term(predicted, distances, alone)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert predicted.grad is not None
    assert not predicted.grad.any()
    plain = predicted.detach()
    assert float(boundary_term(plain + 1.0, distances, alone)) == pytest.approx(1.0 - 0.05)  # Huber, beta 0.1
    assert float(boundary_term(plain, torch.full_like(distances, torch.nan), alone)) == 0.0


def far_apart(count: int = 12) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32)[None, :, None] * torch.tensor([2 * APART_VOXELS, 0.0, 0.0])


def test_contrast_is_least_where_each_voxel_is_found_again() -> None:
    positions, counted = far_apart(), torch.ones(1, 12, dtype=torch.bool)
    features = torch.eye(12)[None]
    same = contrast_term(torch.stack([features, features]), positions, counted, alone)
    shuffled = contrast_term(torch.stack([features, features.roll(1, dims=1)]), positions, counted, alone)
    constant = contrast_term(torch.ones(2, 1, 12, 12), positions, counted, alone)
    assert float(same) < 0.01
    assert float(constant) == pytest.approx(np.log(12), abs=1e-4)
    assert float(shuffled) > 5.0


def test_neighbours_and_voxels_without_content_are_not_told_apart() -> None:
    counted = torch.ones(1, 12, dtype=torch.bool)
    together = torch.zeros(1, 12, 3)
    assert float(contrast_term(torch.randn(2, 1, 12, 5), together, counted, alone)) == pytest.approx(0.0, abs=1e-6)
    views = torch.randn(2, 1, 12, 5)
    counted[0, 6:] = False
    before = contrast_term(views, far_apart(), counted, alone)
    views[:, :, 6:] = torch.randn(2, 1, 6, 5)
    assert float(contrast_term(views, far_apart(), counted, alone)) == pytest.approx(float(before), abs=1e-6)
    assert float(contrast_term(views, far_apart(), torch.zeros(1, 12, dtype=torch.bool), alone)) == 0.0


def test_positions_are_voxels() -> None:
    points = torch.tensor([[0, 5, 4 * 30 + 2 * 6 + 3]])
    assert voxel_positions(points, (8, 5, 6)).tolist() == [[[0, 0, 0], [0, 0, 5], [4, 2, 3]]]


def test_a_crop_has_a_second_appearance_only_when_asked(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    plain = CropSampler(pool, TINY.replace(augmentation=STILL)).draw(3)
    assert plain.twin.shape == plain.distances.shape == (1, 0)
    asked = TINY.replace(contrast_weight=0.2, boundary_weight=0.5)
    more = CropSampler(pool, asked).draw(3)
    usual = CropSampler(pool, TINY).draw(3)
    for field in dataclasses.fields(usual):
        if field.name not in ("twin", "distances"):  # what was there before is drawn as before
            assert torch.equal(getattr(more, field.name), getattr(usual, field.name)), field.name
    assert more.twin.shape == more.windowed.shape
    assert not torch.equal(more.twin, more.windowed)
    assert more.distances.shape == more.positive.shape
    far = more.distances.abs() > REACH_MM
    assert not far.any()


def test_both_terms_fall_in_training(tmp_path: Path) -> None:
    settings = TINY.replace(contrast_weight=1.0, boundary_weight=1.0, points=1500, learning_rate=5e-3, warmup_steps=1)
    pool = tiny_pool(tmp_path)
    trainer = Trainer(pool, settings, CPU, Processes(0, 1, torch.device("cpu")), tmp_path / "run")
    # The same crops again and again: from crop to crop the terms differ more than training changes them.
    crops = stream(CropSampler(pool, settings), settings.batch)
    batch = next(batch for batch in crops if bool((batch.distances.abs() < 10).any()))
    losses = [trainer._step(trainer.network, batch, 0.0) for _ in range(40)]
    for term in ("contrast", "boundary"):
        values = [float(entry[term]) for entry in losses]
        assert np.isfinite(values).all()
        assert values[0] > 0
        assert np.mean(values[-5:]) < 0.5 * values[0], term


def test_the_published_loss_has_no_further_terms() -> None:
    for name in ("contrast_weight", "boundary_weight", "level_weight"):
        with pytest.raises(InputError) as caught:
            PretrainingSettings(loss="published").with_overrides({name: 0.5})
        assert caught.value.code == "pretraining-setting-invalid"
        assert len(compared(torch.zeros(2, 48))[0]) == 2

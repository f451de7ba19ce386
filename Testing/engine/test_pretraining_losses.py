"""Losses of pretraining: the published formula, masks that really mask, gradients that are derivatives."""

from __future__ import annotations

import math

import pytest
import torch
from fseft.pretraining.losses import (
    cell_term,
    coordinate_term,
    cross_entropy_term,
    dice_term,
    published_loss,
    soft_dice,
    tissue_term,
)


def example(seed: int = 0, voxels: int = 40, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, voxels, classes, generator=generator, dtype=torch.float64)
    return logits, torch.rand(2, voxels, classes, generator=generator) > 0.6


def test_published_loss_is_the_papers_formula() -> None:
    logits, targets = example()
    known = torch.tensor([[True, False, True], [False, True, False]])
    expected = 0.0
    for crop in range(2):
        total, count = 0.0, 0
        for position in range(3):
            if known[crop, position]:
                p, t = logits[crop, :, position].sigmoid(), targets[crop, :, position].double()
                total += 1 - float((2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
                count += 1
        expected += total / count / 2
    assert float(published_loss(logits, targets, known)) == pytest.approx(expected, abs=1e-12)


def test_published_loss_without_known_classes_is_zero_and_finite() -> None:
    logits, targets = example()
    logits.requires_grad_(True)
    loss = published_loss(logits, targets, torch.zeros(2, 3, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_unknown_classes_get_no_gradient() -> None:
    logits, targets = example()
    known = torch.tensor([[True, False, True], [False, True, False]])
    weights = torch.ones(2, 40, dtype=torch.float64)
    for loss in (
        lambda x: published_loss(x, targets, known),
        lambda x: dice_term(x, targets, weights, known, least=2),
        lambda x: cross_entropy_term(x, targets, weights, known),
    ):
        inputs = logits.clone().requires_grad_(True)
        loss(inputs).backward()
        assert inputs.grad is not None
        moved = inputs.grad.abs().sum(dim=1) > 0
        assert torch.equal(moved, known)


def test_weightless_voxels_do_not_count() -> None:
    logits, targets = example()
    weights = torch.ones(2, 40, dtype=torch.float64)
    weights[:, 25:] = 0.0
    known = torch.ones(2, 3, dtype=torch.bool)
    dice = soft_dice(logits.sigmoid(), targets.double(), weights)
    assert torch.allclose(dice, soft_dice(logits[:, :25].sigmoid(), targets[:, :25].double()))
    changed = logits.clone()
    changed[:, 25:] += 3.0
    assert torch.allclose(
        cross_entropy_term(logits, targets, weights, known), cross_entropy_term(changed, targets, weights, known)
    )


def test_gradients_are_derivatives() -> None:
    logits, targets = example(voxels=6)
    known = torch.tensor([[True, False, True], [True, True, False]])
    weights = torch.rand(2, 6, dtype=torch.float64)
    inputs = logits.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: published_loss(x, targets, known), inputs)
    assert torch.autograd.gradcheck(lambda x: dice_term(x, targets, weights, known, 0), inputs)
    assert torch.autograd.gradcheck(lambda x: cross_entropy_term(x, targets, weights, known), inputs)
    tissues = torch.randint(0, 3, (2, 6))
    assert torch.autograd.gradcheck(lambda x: tissue_term(x, tissues, weights), inputs)


def test_absent_classes_have_no_dice_term() -> None:
    logits, targets = example()
    targets[:, :, 1] = False
    known, weights = torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 40, dtype=torch.float64)
    with_it = dice_term(logits, targets, weights, known, least=0)
    without = dice_term(logits[..., [0, 2]], targets[..., [0, 2]], weights, known[:, :2], least=0)
    assert float(with_it) == pytest.approx(float(without), abs=1e-12)


def test_cells_outside_and_empty_crops_are_ignored() -> None:
    logits = torch.randn(5, 7, dtype=torch.float64)
    cells = torch.tensor([2, -1, 6, -1, 0])
    expected = sum(-math.log(float(logits[i].softmax(0)[c])) for i, c in ((0, 2), (2, 6), (4, 0))) / 3
    assert float(cell_term(logits, cells)) == pytest.approx(expected)
    nothing = torch.zeros(0, 7, requires_grad=True)
    loss = cell_term(nothing, torch.zeros(0, dtype=torch.long)) + coordinate_term(nothing[:, :3], torch.zeros(0, 3))
    loss.backward()
    assert float(loss.detach()) == 0.0


def test_shared_counts_make_parts_equal_to_the_whole() -> None:
    logits, targets = example()
    known = torch.tensor([[True, False, True], [False, True, False]])
    weights = torch.ones(2, 40, dtype=torch.float64)
    whole = cross_entropy_term(logits, targets, weights, known)
    parts = [
        cross_entropy_term(
            logits[i : i + 1], targets[i : i + 1], weights[i : i + 1], known[i : i + 1], lambda _: known.sum() / 2
        )
        for i in range(2)
    ]
    assert float(sum(parts) / 2) == pytest.approx(float(whole), abs=1e-12)

"""How adaptation trains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class AdaptationSettings:
    """The few-shot protocol's numbers.

    The published protocol (paper, section 4.2) is :meth:`published`. The defaults reach the same adapters in
    minutes on a CPU: the head is fitted first (a convex problem, seconds), crops are smaller, the step count is
    bounded whatever the number of cases, and cross-entropy joins the Dice loss.

    Attributes:
        crop: edge of a training crop in network voxels.
        crops_per_step: crops of one support case per optimiser step.
        positive_fraction: share of crops centred on an annotated structure; the others lie anywhere annotated.
        learning_rate: None takes the method's published one.
        weight_decay: of AdamW.
        cross_entropy: weight of the cross-entropy beside the Dice loss; 0 is the published loss.
        head_start: "fitted" (logistic regression on sampled voxels, near the pretrained rows) or "pretrained" (base
            structures start exactly as zero-shot, novel ones at random).
        background: start of the background row with several structures, "zero" or "xavier".
        epochs: passes over the support set, at most.
        steps: optimiser steps, at most; None leaves only ``epochs``.
        warmup_epochs: linear warm-up before the cosine.
        plateau_window, plateau_patience, plateau_delta, plateau_start: training stops when the moving average of
            the epoch loss over ``window`` epochs improved by less than ``delta`` over ``patience`` epochs, first
            checked after epoch ``start``.
        seed: same seed, same input, same model.
    """

    crop: int = 48
    crops_per_step: int = 2
    positive_fraction: float = 0.5
    learning_rate: float | None = None
    weight_decay: float = 0.0
    cross_entropy: float = 1.0
    head_start: str = "fitted"
    background: str = "zero"
    epochs: int = 200
    steps: int | None = 120
    warmup_epochs: int = 1
    plateau_window: int = 10
    plateau_patience: int = 20
    plateau_delta: float = 0.001
    plateau_start: int = 31
    seed: int = 0

    @classmethod
    def published(cls, seed: int = 0) -> AdaptationSettings:
        """The paper's protocol, but for its intensity shifts, which cached features cannot see."""
        return cls(
            crop=96,
            crops_per_step=6,
            learning_rate=None,
            cross_entropy=0.0,
            head_start="pretrained",
            background="xavier",
            steps=None,
            seed=seed,
        )

    def replace(self, **changes: object) -> AdaptationSettings:
        """A copy with some numbers changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

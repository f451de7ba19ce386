"""How adaptation trains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from fseft.errors import InputError
from fseft.setting_rules import Choice, Number, Rule, require


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
        views: of each annotated scan to learn from beside it, see :mod:`fseft.adaptation.views`; None: as many as pay
            with so few scans.
        seed: same seed, same input, same model.

    Raises:
        InputError: "setting-invalid" for a value that a setting cannot have.
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
    views: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        require(self, _RULES, "setting-invalid")

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
            views=0,
            seed=seed,
        )

    def replace(self, **changes: object) -> AdaptationSettings:
        """A copy with some numbers changed.

        Raises:
            InputError: "setting-invalid" for an unknown name, or a value that the setting cannot have.
        """
        for name in changes:
            if name not in _RULES:
                raise InputError(
                    "setting-invalid", f"There is no setting {name!r}.", f"Choose from: {', '.join(_RULES)}."
                )
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


#: A crop has to hold a voxel of the coarsest level; the upper bounds keep a slip of the finger from filling memory.
_RULES: dict[str, Rule] = {
    "crop": Number(8, 512, whole=True),
    "crops_per_step": Number(1, 64, whole=True),
    "positive_fraction": Number(0, 1),
    "learning_rate": Number(0, 10, optional=True),
    "weight_decay": Number(0, 10),
    "cross_entropy": Number(0, 100),
    "head_start": Choice(("fitted", "pretrained")),
    "background": Choice(("zero", "xavier")),
    "epochs": Number(1, 1_000_000, whole=True),
    "steps": Number(1, 10_000_000, whole=True, optional=True),
    "warmup_epochs": Number(0, whole=True),
    "plateau_window": Number(1, whole=True),
    "plateau_patience": Number(1, whole=True),
    "plateau_delta": Number(0),
    "plateau_start": Number(0, whole=True),
    "views": Number(0, 3, whole=True, optional=True),
    "seed": Number(0, 2**63 - 1, whole=True),
}

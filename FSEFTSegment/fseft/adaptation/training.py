"""The few-shot training loop: a small adapter on cached feature crops (paper, section 4.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from fseft.adaptation.losses import few_shot_loss
from fseft.adaptation.optimiser import AdamW
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import SupportCase, sample_crops
from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.errors import InputError
from fseft.reporting import SILENT, Reporter

#: Called after every epoch with its number from 0 on and the optimiser.
AfterEpoch = Callable[[int, AdamW], None]


@dataclass
class TrainingCurve:
    """What training reports.

    Attributes:
        loss: mean loss per epoch.
        structure_loss: Dice loss per structure and epoch, NaN where no crop held the structure.
        stopped: "epochs", "steps" or "plateau".
    """

    loss: list[float] = field(default_factory=list)
    structure_loss: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = "epochs"


def train_adapter(
    adapter: Adapter,
    cases: Sequence[SupportCase],
    names: Sequence[str],
    learning_rate: float,
    settings: AdaptationSettings,
    compute: Compute,
    reporter: Reporter = SILENT,
    after_epoch: AfterEpoch | None = None,
) -> TrainingCurve:
    """Train an adapter in place on the support set.

    Args:
        adapter: initialised; left in evaluation mode on the CPU.
        cases: the support set.
        names: structure names, for curves.
        learning_rate: peak of the schedule.
        settings: the protocol.
        compute: device; training is in single precision (the adapter is small and the crops are cached).
        reporter: hears phase "training" and metric "loss".
        after_epoch: a further step of each epoch, with that epoch's learning rate.

    Returns:
        The training curve.

    Raises:
        InputError: "training-diverged" when the loss becomes infinite or no number; no model is made of that.
    """
    generator = np.random.default_rng(settings.seed)
    adapter.to(compute.device).train()
    optimiser = AdamW(adapter.parameters(), learning_rate, settings.weight_decay)
    epochs = settings.epochs
    if settings.steps is not None:
        epochs = min(epochs, max(1, math.ceil(settings.steps / len(cases))))
    limit = "steps" if epochs < settings.epochs else "epochs"
    curve = TrainingCurve(structure_loss={name: [] for name in names}, stopped=limit)
    for epoch in range(epochs):
        optimiser.learning_rate = learning_rate * _learning_rate_factor(epoch, epochs, settings)
        losses, per_structure = [], []
        for index in generator.permutation(len(cases)):
            loss, dice = _step(adapter, cases[index], optimiser, settings, generator, compute)
            if not math.isfinite(loss):
                raise InputError(
                    "training-diverged",
                    f"Training went astray in epoch {epoch + 1}: the loss is no longer a number.",
                    "Leave the settings as they are, or choose a lower learning_rate.",
                )
            losses.append(loss)
            per_structure.append(dice)
            reporter.check_cancelled()
        if after_epoch is not None:
            after_epoch(epoch, optimiser)
        _record(curve, losses, per_structure, names)
        reporter.metric("loss", epoch + 1, curve.loss[-1])
        for name in names:
            if not math.isnan(curve.structure_loss[name][-1]):
                reporter.metric("dice-loss", epoch + 1, curve.structure_loss[name][-1], structure=name)
        reporter.progress("training", epoch + 1, epochs, f"loss {curve.loss[-1]:.3f}")
        if plateaued(curve.loss, settings):
            curve.stopped = "plateau"
            reporter.progress("training", epochs, epochs, "the loss no longer improves")
            break
    adapter.cpu().eval()
    return curve


def _step(
    adapter: Adapter,
    case: SupportCase,
    optimiser: AdamW,
    settings: AdaptationSettings,
    generator: np.random.Generator,
    compute: Compute,
) -> tuple[float, torch.Tensor]:
    batch = sample_crops(
        case,
        settings.crop,
        settings.crops_per_step,
        settings.positive_fraction,
        adapter.reach,
        generator,
        compute.device,
    )
    logits = adapter(batch.levels, context=adapter.reach)
    loss, per_structure = few_shot_loss(logits, batch.labels, batch.annotated, batch.known, settings.cross_entropy)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach()), per_structure


def _record(curve: TrainingCurve, losses: list[float], per_structure: list[torch.Tensor], names: Sequence[str]) -> None:
    curve.loss.append(float(np.mean(losses)))
    stacked = torch.stack(per_structure)
    for index, name in enumerate(names):
        seen = stacked[:, index][~stacked[:, index].isnan()]
        curve.structure_loss[name].append(float(seen.mean()) if len(seen) else float("nan"))


def _learning_rate_factor(epoch: int, epochs: int, settings: AdaptationSettings) -> float:
    """Linear warm-up, then cosine to zero."""
    if epoch < settings.warmup_epochs:
        return (epoch + 1) / (settings.warmup_epochs + 1)
    progress = (epoch - settings.warmup_epochs) / max(1, epochs - settings.warmup_epochs)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def plateaued(losses: Sequence[float], settings: AdaptationSettings) -> bool:
    """The paper's stopping rule on the moving average of the epoch loss (section 4.2)."""
    window, patience = settings.plateau_window, settings.plateau_patience
    if len(losses) < max(settings.plateau_start, window + patience):
        return False
    now = float(np.mean(losses[-window:]))
    before = float(np.mean(losses[-window - patience : -patience]))
    return before - now < settings.plateau_delta

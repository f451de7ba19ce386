"""Leave-one-out validation over the support set, on the network grid and on cached features."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import SupportCase
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import pretrained_row
from fseft.adapters.registry import METHODS
from fseft.compute import Compute
from fseft.errors import InputError
from fseft.evaluation.metrics import structure_metrics
from fseft.features.source import FeatureSource
from fseft.features.volume import FeatureVolume
from fseft.reporting import SILENT, Reporter
from fseft.segmentation.scoring import score_volume
from fseft.structures import Structure

TIE = 0.005  # mean Dice; within it the simpler method is chosen
FOLD_STEPS = 60  # optimiser steps of a fold at most
SLABS = 6  # that one case's structures are cut into for the cross-slice split


@dataclass(frozen=True)
class StructureScore:
    """Means over the held-out cases; nan where nothing could be scored.

    Attributes:
        dice, sd: mean and standard deviation of Dice, 0..1.
        surface_dice: at 2 mm; nan with sparse annotations and the cross-slice split, whose cuts are no surfaces.
        volume_error_ml: mean absolute error; nan in the same cases.
        cases: held-out cases, or halves of one case, behind the means.
    """

    dice: float
    sd: float
    surface_dice: float
    volume_error_ml: float
    cases: int


@dataclass(frozen=True)
class Validation:
    """Scores by method and structure, and the choice they lead to."""

    kind: str
    table: dict[str, dict[str, StructureScore]]
    chosen: str
    reason: str
    verdict: str
    advice: str

    def as_json(self) -> dict[str, Any]:
        """The record kept in a model, null for what could not be scored."""
        plain = asdict(self)
        for row in plain["table"].values():
            for score in row.values():
                for key, value in score.items():
                    if isinstance(value, float):
                        score[key] = None if math.isnan(value) else round(value, 4)
        return plain


class _OnlyCancel(Reporter):
    """Hides the progress and curves of a fold's training."""

    def __init__(self, outer: Reporter) -> None:
        self.outer = outer

    def check_cancelled(self) -> None:
        self.outer.check_cancelled()


def validate(
    structures: Sequence[Structure],
    cases: Sequence[SupportCase],
    source: FeatureSource,
    settings: AdaptationSettings,
    reporter: Reporter = SILENT,
    methods: Sequence[str] | None = None,
) -> Validation:
    """Train every method without each case in turn and score it on that case.

    With one case the slices are split instead, which is weak evidence: both parts are of one patient.

    Args:
        structures: the support set's.
        cases: one or more loaded support cases.
        source: gives the backbone's head and device.
        settings: the protocol; folds use at most ``FOLD_STEPS`` steps.
        reporter: hears phase "validation".
        methods: candidates; by default all that can learn these structures.

    Raises:
        InputError: "validation-impossible" when no structure can be scored.
    """
    if not cases:
        raise InputError("support-empty", "There is no annotated scan to validate on.", "Annotate at least one scan.")
    single = len(cases) == 1
    folds = list(_slice_folds(cases[0]) if single else _case_folds(cases))
    base = all(pretrained_row(s, source.specification) is not None for s in structures)
    names = [n for n, m in METHODS.items() if m.learning_rate > 0 or base] if methods is None else list(methods)
    steps = FOLD_STEPS if settings.steps is None else min(settings.steps, FOLD_STEPS)
    quick = settings.replace(steps=steps)
    scores: dict[str, dict[str, list[tuple[float, float, float]]]] = {
        n: {s.name: [] for s in structures} for n in names
    }
    done, total = 0, len(names) * len(folds)
    for name in names:
        for train, held_out in folds:
            reporter.progress("validation", done, total, name)
            reporter.check_cancelled()
            adapter, _ = make_trained_adapter(
                METHODS[name], structures, train, source, quick, source.compute, _OnlyCancel(reporter)
            )
            labels = predict_network_labels(adapter, held_out.features, source.compute)
            for position, structure in enumerate(structures):
                if held_out.known[position] and any(case.foreground[position].size for case in train):
                    figures = _score(labels, held_out, position, source.specification.spacing_mm, single)
                    if not math.isnan(figures[0]):
                        scores[name][structure.name].append(figures)
            done += 1
    reporter.progress("validation", total, total)
    table = {name: {s: _summary(values) for s, values in row.items()} for name, row in scores.items()}
    return _judge("cross-slice" if single else "leave-one-out", table, reporter)


def predict_network_labels(adapter: Adapter, features: FeatureVolume, compute: Compute) -> np.ndarray:
    """(x, y, z) labels on the network grid: 0 background, i + 1 structure i."""
    scores = score_volume(adapter, features, compute)
    return (scores[0] > 0.5 if scores.shape[0] == 1 else scores.argmax(axis=0)).astype(np.uint16)


def _case_folds(cases: Sequence[SupportCase]) -> Iterator[tuple[list[SupportCase], SupportCase]]:
    for held_out in cases:
        train = [case for case in cases if case is not held_out]
        if any(part.size for case in train for part in case.foreground):
            yield train, held_out


def _slice_folds(case: SupportCase) -> Iterator[tuple[list[SupportCase], SupportCase]]:
    """Every other slab along the body axis to learn from, the others to test on, and the other way round."""
    planes = np.flatnonzero((case.annotated & (case.labels > 0)).any(axis=(0, 1)))
    thickness = max(1, -(-(int(planes[-1]) - int(planes[0]) + 1) // SLABS))
    odd = (np.arange(case.labels.shape[2]) - int(planes[0])) // thickness % 2 == 1
    for held in (odd, ~odd):
        train = replace(case, annotated=case.annotated & ~held)
        if any(part.size for part in train.foreground):
            yield [train], replace(case, annotated=case.annotated & held)


def _score(
    labels: np.ndarray, case: SupportCase, position: int, spacing_mm: Sequence[float], single: bool
) -> tuple[float, float, float]:
    """Dice, surface Dice and absolute volume error (ml) of one structure where the case is annotated."""
    found = (labels == position + 1) & case.annotated
    figures = structure_metrics(found, (case.labels == position + 1) & case.annotated, spacing_mm)
    content = tuple(slice(0, axis.content) for axis in case.features.grid.axes)
    if single or not case.annotated[content].all():
        return figures.dice, math.nan, math.nan
    return figures.dice, figures.surface_dice, abs(figures.volume_error_ml)


def _summary(values: Sequence[tuple[float, float, float]]) -> StructureScore:
    if not values:
        return StructureScore(math.nan, math.nan, math.nan, math.nan, 0)
    dice = [v[0] for v in values]
    whole = [v for v in values if not math.isnan(v[1])]
    surface = float(np.mean([v[1] for v in whole])) if whole else math.nan
    error = float(np.mean([v[2] for v in whole])) if whole else math.nan
    return StructureScore(float(np.mean(dice)), float(np.std(dice)), surface, error, len(values))


def _judge(kind: str, table: dict[str, dict[str, StructureScore]], reporter: Reporter) -> Validation:
    """Choose by mean Dice; methods are listed from the simplest on."""
    means = {}
    for name, row in table.items():
        dice = [score.dice for score in row.values() if not math.isnan(score.dice)]
        if dice:
            means[name] = float(np.mean(dice))
    if not means:
        raise InputError(
            "validation-impossible",
            "No structure is annotated often enough to be validated.",
            "Annotate each structure in at least two scans, or choose a method yourself.",
        )
    best = max(means.values())
    chosen = next(name for name in METHODS if name in means and means[name] >= best - TIE)
    reason = f"{chosen} reaches a mean Dice of {means[chosen]:.3f} on held-out " + (
        "slices" if kind == "cross-slice" else "cases"
    )
    verdict = f"{reason}." if kind == "leave-one-out" else f"{reason}: weak evidence, from one patient."
    zero = table.get("zero-shot", {})
    worse = [s for s, score in table[chosen].items() if s in zero and score.dice < zero[s].dice - TIE]
    if worse:
        verdict += f" Worse than zero-shot for: {', '.join(worse)}."
        reporter.log(verdict, "warning")
    scored = {s: score.dice for s, score in table[chosen].items() if not math.isnan(score.dice)}
    weakest = min(scored, key=lambda s: scored[s])
    advice = f"{weakest} limits the model (Dice {scored[weakest]:.2f}): annotate scans that show it well."
    return Validation(kind, table, chosen, reason, verdict, advice)

"""Leave-one-out validation over the support set, on the network grid and on cached features."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fseft.adaptation.adapt import CaseFiles, make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import SupportCase
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import base_structures, require_base
from fseft.adapters.registry import Method, find_method
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.quality.confidence import Confidence
from fseft.quality.predicted_dice import Calibration, Pair
from fseft.reporting import SILENT, Reporter
from fseft.structures import Structure
from fseft.validation.atlas_row import with_atlas
from fseft.validation.choice import choose, worse_than_zero_shot
from fseft.validation.folds import Fold, make_folds
from fseft.validation.network_prediction import predict_on_network
from fseft.validation.record import Validation
from fseft.validation.scores import HeldOutScore, score_structure, summarise
from fseft.validation.verdict import give_verdict

ZERO_SHOT = "zero-shot"
CANDIDATES = (ZERO_SHOT, "linear-probe", "mlp-adapter", "spatial-adapter")  # of "auto", from the simplest on
#: Why a model that goes on from another one is not validated by folds that do.
FROM_SCRATCH = (
    "The held-out figures are of models trained from the start, not from the model that was gone on from: that one has "
    "already learnt from the scans held out here."
)
FOLD_STEPS = 60  # optimiser steps of a fold at most: folds compare methods and cases, and are many


@dataclass
class _Tested:
    """What one method did on held-out annotations."""

    scores: dict[str, list[HeldOutScore]]
    pairs: list[Pair] = field(default_factory=list)


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

    With one case slabs of its slices are held out instead, which is weak evidence: both parts are of one patient.
    Folds learn from a case less than the model and in fewer steps, which makes their figures low; the support set is
    more like itself than like other patients, which makes them high.
    Zero-shot needs no training; where the backbone knows only some structures it is there to compare with on these.

    Args:
        structures: the support set's.
        cases: one or more loaded support cases.
        source: gives the backbone's head and device.
        settings: the protocol; folds use at most :data:`FOLD_STEPS` steps.
        reporter: hears phase "validation", methods times folds.
        methods: candidates; by default all of :data:`CANDIDATES` that can learn these structures.

    Raises:
        InputError: "validation-impossible" when no structure can be scored, "support-empty", "method-unknown",
            "zero-shot-novel-structure" when that is the only method and the backbone does not know every structure.
    """
    started = time.monotonic()
    if not cases:
        raise InputError("support-empty", "There is no annotated scan to validate on.", "Annotate at least one scan.")
    known = base_structures(structures, source.specification)
    candidates = _candidates(methods, structures, source.specification)
    compared = (ZERO_SHOT,) if known and ZERO_SHOT not in candidates else ()
    single, folds = len(cases) == 1, make_folds(cases)
    steps = FOLD_STEPS if settings.steps is None else min(settings.steps, FOLD_STEPS)
    tested = {}
    done, names = 0, [*compared, *candidates]
    for name in names:
        method = find_method(name)
        learnt = known if name in compared else structures
        results = _predictions(method, learnt, folds, source, settings.replace(steps=steps), reporter)
        tested[name] = _Tested({s.name: [] for s in learnt})
        reporter.progress("validation", done, len(names) * len(folds), method.title)
        for fold, labels, confidences in results:
            _score_fold(tested[name], structures, learnt, fold, labels, confidences, source, single)
            done += 1
            reporter.progress("validation", done, len(names) * len(folds), method.title)
            reporter.check_cancelled()
    table = {n: {s: summarise(values) for s, values in tested[n].scores.items()} for n in names}
    kind = "cross-slice" if single else "leave-one-out"
    chosen, reason = choose(table, candidates, 0 if single else len(folds))
    worse = worse_than_zero_shot(table, chosen)
    verdict, advice = give_verdict(table[chosen], kind, len(cases), worse, reason)
    if worse:
        reporter.log(f"Worse than zero-shot for: {', '.join(worse)}.", "warning")
    # Slabs of one patient say nothing of how expectations hold in another.
    calibration = None if single else Calibration.fit(tested[chosen].pairs)
    seconds = time.monotonic() - started
    return Validation(kind, table, chosen, reason, verdict, advice, calibration, compared, seconds=seconds)


def validate_for_model(
    method: Method | None,
    structures: Sequence[Structure],
    cases: Sequence[SupportCase],
    source: FeatureSource,
    settings: AdaptationSettings,
    reporter: Reporter = SILENT,
    atlas: Sequence[CaseFiles] = (),
    continued: bool = False,
) -> tuple[dict[str, Any], Method]:
    """The validation record of a model that is about to be made, and the method to make it with.

    A model that goes on from a previous one is validated by folds that start from scratch all the same: the previous
    model has learnt from every case that was there before, so that a fold which went on from it would be tested on what
    it has seen. The record says so.

    Args:
        method: fixed beforehand, or None to take the best. What cannot be validated (a structure in one case only)
            is then made all the same, with a warning instead of a record.
        structures, cases, source, settings, reporter: see :func:`validate`.
        atlas: the cases' files, to compare with annotations carried over by registration; none leaves that out.
        continued: whether the model will go on from a previous one.
    """
    try:
        judged = validate(structures, cases, source, settings, reporter, None if method is None else [method.name])
    except InputError as problem:
        if method is None or problem.code != "validation-impossible":
            raise
        reporter.log(f"{problem.message} {problem.hint}", "warning")
        return {}, method
    if atlas:
        judged = with_atlas(judged, atlas, structures, reporter).validation
    if continued:
        judged = dataclasses.replace(judged, note=FROM_SCRATCH)
    return judged.as_json(), find_method(judged.chosen)


def _candidates(
    methods: Sequence[str] | None, structures: Sequence[Structure], specification: BackboneSpecification
) -> list[str]:
    asked = [find_method(name).name for name in dict.fromkeys(CANDIDATES if methods is None else methods)]
    trained = [name for name in asked if name != ZERO_SHOT]
    all_known = len(base_structures(structures, specification)) == len(structures)
    if ZERO_SHOT in asked and not all_known and trained:
        return trained  # zero-shot is still compared, on what it knows
    if ZERO_SHOT in asked:
        require_base(structures, specification)
    return asked


def _predictions(
    method: Method,
    structures: Sequence[Structure],
    folds: Sequence[Fold],
    source: FeatureSource,
    settings: AdaptationSettings,
    reporter: Reporter,
) -> Iterator[tuple[Fold, np.ndarray, list[Confidence]]]:
    """Labels and confidence of every fold's held-out case by a model that has not seen it."""
    untrained: Adapter | None = None
    for fold in folds:
        reporter.check_cancelled()
        adapter = untrained
        if adapter is None:
            train = fold.train if method.learning_rate > 0 else ()
            adapter, _ = make_trained_adapter(
                method, structures, train, source, settings, source.compute, _OnlyCancel(reporter)
            )
            untrained = adapter if method.learning_rate == 0 else None
        held = fold.held_out
        yield fold, *predict_on_network(adapter, held.features, held.annotated, source.compute, reporter)


def _score_fold(
    tested: _Tested,
    structures: Sequence[Structure],
    learnt: Sequence[Structure],
    fold: Fold,
    labels: np.ndarray,
    confidences: Sequence[Confidence],
    source: FeatureSource,
    single: bool,
) -> None:
    """Add a fold's scores and its pairs of expected and true Dice."""
    for number, (structure, confidence) in enumerate(zip(learnt, confidences, strict=True), start=1):
        position = structures.index(structure)
        if not fold.can_judge(position, single):
            continue
        spacing = source.specification.spacing_mm
        score = score_structure(labels, fold.held_out, position, number, spacing, single)
        tested.scores[structure.name].append(score)
        if not math.isnan(score.dice):
            tested.pairs.append(Pair(structure.name, confidence.expected_dice, score.dice))

"""How good the atlas is on a support set: every case proposed from the others, on its own grid."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fseft.adaptation.adapt import CaseFiles
from fseft.evaluation.metrics import structure_metrics
from fseft.location.atlas import OneOfMany, propose
from fseft.location.support import AtlasCase, load_atlas_cases
from fseft.reporting import SILENT, Reporter
from fseft.structures import Structure


def leave_one_out_atlas(
    cases: Sequence[CaseFiles], structures: Sequence[Structure], reporter: Reporter = SILENT
) -> dict[str, list[tuple[float, float, float]]]:
    """Propose every case from all others and compare with its own annotation.

    Args:
        cases: the support set.
        structures: what to score.
        reporter: hears phases "cases" and "registration", the latter over all pairs of scans.

    Returns:
        By structure, one (Dice, surface Dice at 2 mm, absolute volume error in ml) for each case that annotates it
        and that another case could have proposed it for. A case to which none registers counts as proposed empty.
        Surface Dice and volume error are nan for annotations on some slices only. Fewer than two cases: empty lists.
    """
    if len(cases) < 2:
        return {structure.name: [] for structure in structures}
    return score_left_out(load_atlas_cases(cases, structures, reporter), structures, reporter)


def score_left_out(
    cases: Sequence[AtlasCase], structures: Sequence[Structure], reporter: Reporter = SILENT
) -> dict[str, list[tuple[float, float, float]]]:
    """The same for cases that are loaded."""
    scores: dict[str, list[tuple[float, float, float]]] = {s.name: [] for s in structures}
    for number, held_out in enumerate(cases):
        others = [case for case in cases if case is not held_out]
        labels = propose(held_out.placed, others, structures, OneOfMany(reporter, number, len(cases))).labels
        taught = {name for case in others for name in _shown(case)}
        for structure in held_out.annotation.structures:
            if structure.name in taught:
                figures = _score(labels, held_out, structure)
                if not math.isnan(figures[0]):
                    scores[structure.name].append(figures)
    return scores


def _shown(case: AtlasCase) -> list[str]:
    """Structures that a case really shows; one that it declares and does not draw cannot be carried to another."""
    there = np.flatnonzero(np.bincount(case.annotation.labels.ravel()))
    return [structure.name for structure in case.annotation.structures if structure.value in there]


def _score(labels: np.ndarray, case: AtlasCase, structure: Structure) -> tuple[float, float, float]:
    found, wanted = labels == structure.value, case.annotation.labels == structure.value
    if case.drawn is not None:
        found, wanted = found & case.drawn, wanted & case.drawn
    metrics = structure_metrics(found, wanted, case.placed.geometry.spacing[::-1])
    if case.drawn is not None:
        return metrics.dice, math.nan, math.nan
    return metrics.dice, metrics.surface_dice, abs(metrics.volume_error_ml)

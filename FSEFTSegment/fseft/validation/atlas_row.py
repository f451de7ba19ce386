"""The atlas beside the methods that learn: what carrying the annotations over by registration would reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fseft.adaptation.adapt import CaseFiles
from fseft.location.leave_one_out import leave_one_out_atlas
from fseft.reporting import SILENT, Reporter
from fseft.structures import Structure
from fseft.validation.choice import TIE
from fseft.validation.record import Validation
from fseft.validation.scores import HeldOutScore, StructureScore, summarise

ATLAS = "atlas"


@dataclass(frozen=True)
class AtlasComparison:
    """A validation with the atlas in its table, never chosen: it is no adapter.

    Attributes:
        validation: the table with a row "atlas", scored on the scans' own grids, and advice that heeds it.
        better: structures that the atlas finds better than the chosen method.
    """

    validation: Validation
    better: tuple[str, ...]


def with_atlas(
    judged: Validation, cases: Sequence[CaseFiles], structures: Sequence[Structure], reporter: Reporter = SILENT
) -> AtlasComparison:
    """Add the atlas to a validation.

    Every case is registered to every other one, about 10 s each on two cores when not in the cache.

    Args:
        judged: of the same cases.
        cases: the support set; with one case there is nothing to carry, and the row is empty.
        structures: the support set's.
        reporter: hears phases "cases" and "registration".
    """
    found = leave_one_out_atlas(cases, structures, reporter)
    row = {name: summarise([HeldOutScore(*figures) for figures in scores]) for name, scores in found.items()}
    chosen = judged.table[judged.chosen]
    better = tuple(name for name, score in row.items() if name in chosen and _better(score, chosen[name]))
    advice = judged.advice
    if better:
        advice += (
            f" Annotations carried over by registration alone find {', '.join(better)} better: segment with refinement"
            " by location, which joins both."
        )
    table = {**judged.table, ATLAS: row}
    compared = (*judged.compared, ATLAS)
    return AtlasComparison(replace(judged, table=table, compared=compared, advice=advice), better)


def _better(atlas: StructureScore, adapter: StructureScore) -> bool:
    if math.isnan(atlas.dice) or math.isnan(adapter.dice):
        return False
    return atlas.dice > adapter.dice + TIE

"""The atlas beside the methods that learn: what carrying the annotations over by registration would reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fseft.adaptation.adapt import CaseFiles
from fseft.location.leave_one_out import leave_one_out_atlas
from fseft.reporting import SILENT, Reporter
from fseft.structures import Structure
from fseft.validation.record import Validation
from fseft.validation.scores import HeldOutScore, StructureScore, mean_dice, summarise

ATLAS = "atlas"
#: Dice by which the atlas has to be ahead before anything is said: it is scored on the scans' own grids, adapters on
#: the backbone's, which alone moves thin structures by a hundredth or two.
CLEARLY = 0.03


@dataclass(frozen=True)
class AtlasComparison:
    """A validation with the atlas in its table, never chosen: it is no adapter, and no model can be made of it.

    Attributes:
        validation: the table with a row "atlas" where a structure could be scored, verdict and advice that heed it.
        better: structures that the atlas finds clearly better than the chosen method.
    """

    validation: Validation
    better: tuple[str, ...] = ()


def with_atlas(
    judged: Validation, cases: Sequence[CaseFiles], structures: Sequence[Structure], reporter: Reporter = SILENT
) -> AtlasComparison:
    """Add the atlas to a validation.

    Every case is registered to every other one, about 5 s each on two cores when not in the cache.

    Args:
        judged: of the same cases.
        cases: the support set; with one case there is nothing to carry, and nothing changes.
        structures: the support set's.
        reporter: hears phases "cases" and "registration", and is asked for cancellation all along.
    """
    found = leave_one_out_atlas(cases, structures, reporter)
    row = {name: summarise([HeldOutScore(*figures) for figures in scores]) for name, scores in found.items()}
    if all(math.isnan(score.dice) for score in row.values()):
        return AtlasComparison(judged)
    chosen = judged.table[judged.chosen]
    better = tuple(name for name, score in row.items() if name in chosen and _better(score, chosen[name]))
    verdict, advice = judged.verdict, judged.advice
    comparison = _clearly_ahead(row, chosen)
    if comparison:
        verdict += (
            f" Annotations carried over by registration alone (atlas) do better: {comparison}. No model can be made of"
            " them."
        )
    if better:
        advice += (
            f" Annotations carried over by registration find {', '.join(better)} better: segment with refinement by"
            " location, which joins both, or take what Propose (fseft propose) carries over."
        )
    table = {**judged.table, ATLAS: row}
    compared = (*judged.compared, ATLAS)
    return AtlasComparison(
        replace(judged, table=table, compared=compared, verdict=verdict, advice=advice), better
    )  # fmt: skip


def _better(atlas: StructureScore, adapter: StructureScore) -> bool:
    if math.isnan(atlas.dice) or math.isnan(adapter.dice):
        return False
    return atlas.dice > adapter.dice + CLEARLY


def _clearly_ahead(atlas: dict[str, StructureScore], adapter: dict[str, StructureScore]) -> str:
    """Both means, in words, where the atlas is clearly ahead over the structures that both could be scored on."""
    both = [n for n in atlas if n in adapter and not math.isnan(atlas[n].dice) and not math.isnan(adapter[n].dice)]
    if not both:
        return ""
    its, own = mean_dice({n: atlas[n] for n in both}), mean_dice({n: adapter[n] for n in both})
    return f"mean Dice {its:.2f}, against {own:.2f}" if its > own + CLEARLY else ""

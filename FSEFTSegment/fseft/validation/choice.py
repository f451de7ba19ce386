"""Which method to take: the best on held-out annotations.

Of equals the simpler one, as long as there are few cases. From :data:`ENOUGH` on the one that can learn more: every
fold learns from a case less than the model will, which flatters the simple ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fseft.adapters.registry import METHODS
from fseft.errors import InputError
from fseft.validation.scores import StructureScore, mean_dice

TIE = 0.005  # mean Dice; within it methods are equal
ENOUGH = 3  # held-out cases

Table = Mapping[str, dict[str, StructureScore]]
"""Scores by method and structure."""


def choose(table: Table, candidates: Sequence[str], cases: int) -> tuple[str, str]:
    """The best candidate and why.

    Means are over the structures that every candidate learnt: a method that knows only the easy ones, as zero-shot may,
    is compared on these. A structure that one found where there is none still counts against it alone.

    Args:
        table: scores; methods that are no candidates are only there to compare.
        candidates: method names.
        cases: how many were held out in turn; 0 where slices were.

    Raises:
        InputError: "validation-impossible" when no structure could be scored.
    """
    rows = {name: table[name] for name in METHODS if name in candidates}
    everywhere = {structure for row in rows.values() for structure in row}
    shared = {structure for structure in everywhere if all(structure in row for row in rows.values())}
    means = {
        name: mean_dice({structure: score for structure, score in row.items() if structure in shared})
        for name, row in rows.items()
    }
    means = {name: value for name, value in means.items() if not math.isnan(value)}
    if not means:
        raise InputError(
            "validation-impossible",
            "No structure is annotated often enough to be validated.",
            "Annotate each structure in at least two scans, or choose a method yourself.",
        )
    best = max(means, key=lambda name: means[name])
    equals = [name for name in means if means[name] >= means[best] - TIE]  # the simplest first, as METHODS has them
    chosen = equals[-1] if cases >= ENOUGH else equals[0]
    held_out = f"{cases} held-out cases" if cases else "held-out slices"
    if shared != everywhere:
        held_out = f"{held_out}, over what all methods know ({', '.join(sorted(shared))})"
    score = f"mean Dice {means[chosen]:.3f} on {held_out}"
    if len(means) == 1:
        reason = f"{spoken(chosen)} reaches a mean Dice of {means[chosen]:.3f} on {held_out}"
    elif chosen != best:
        why = "gains more from further cases" if cases >= ENOUGH else "simpler"
        reason = f"{spoken(chosen)} is as good as {spoken(best)} ({score}, against {means[best]:.3f}) and {why}"
    else:
        second = max((name for name in means if name != best), key=lambda name: means[name])
        reason = f"{spoken(chosen)} is best: {score}, against {means[second]:.3f} with {spoken(second)}"
    return chosen, reason[0].upper() + reason[1:]


def worse_than_zero_shot(table: Table, chosen: str) -> list[str]:
    """Structures that the chosen method segments worse than the backbone does without any training."""
    zero = table.get("zero-shot", {}) if chosen != "zero-shot" else {}
    return [name for name, score in table[chosen].items() if name in zero and score.dice < zero[name].dice - TIE]


def spoken(method: str) -> str:
    """A method's name within a sentence."""
    if method == "zero-shot":
        return method
    title = METHODS[method].title
    return f"the {title if title[1].isupper() else title[0].lower() + title[1:]}"

"""How much say the carried annotations have beside the adapter, structure by structure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Carried cases that weigh as much as the adapter: one case has a quarter of the say, three have half of it. Measured
#: on the few_shot pool at one and five shots.
CASES_LIKE_ADAPTER = 1.0
#: By how much the atlas is ahead on held-out cases of structures that are best served by the say above. Above zero:
#: the atlas' figures are of the scans' own grids, and cases that were annotated together lie more alike than others.
#: A larger lead gives the location more say; a smaller one does not take say from it: on three support sets that cost
#: as much where it was wrong as it gained where it was right.
USUAL_LEAD = 0.07
#: Change of the say's log odds per Dice of lead, were the lead known for certain.
SLOPE = 16.0
#: Held-out cases that count as much as the assumption of the usual lead: few cases say little.
SHRINKAGE = 5.0
#: Largest change of the log odds: an adapter that finds the structure is never silenced.
MOST = 1.5
#: An adapter that finds less than this part of the carried volume where any case carries the structure to has not
#: recognised it, as when it was learnt in another contrast phase; what it takes for it elsewhere is something else.
UNRECOGNISED_SHARE = 0.1
#: The say of the carried annotations then, at least.
UNRECOGNISED_SAY = 0.8
#: From this part of the carried volume on a structure is recognised, and the say the usual one; between the two parts
#: it goes from one to the other, since a tenth more or less must not decide.
RECOGNISED_SHARE = 0.4


@dataclass(frozen=True)
class Lead:
    """How far the atlas was ahead of the adapter on held-out cases.

    Attributes:
        dice: mean Dice of the atlas less that of the adapter.
        cases: held-out cases behind it.
    """

    dice: float
    cases: int


def leads_of(validation: Mapping[str, Any], method: str) -> dict[str, Lead]:
    """What a model's validation tells of the atlas beside its own method.

    Args:
        validation: the record that a model keeps, see :class:`fseft.validation.record.Validation`; may be empty.
        method: the model's.

    Returns:
        By structure, where both were scored on whole held-out cases; empty without such a validation.
    """
    table = validation.get("table") or {}
    if validation.get("kind") != "leave-one-out":
        return {}
    own, atlas = table.get(method) or {}, table.get("atlas") or {}
    leads = {}
    for name in own.keys() & atlas.keys():
        mine, other = own[name], atlas[name]
        if mine.get("dice") is not None and other.get("dice") is not None:
            leads[name] = Lead(float(other["dice"]) - float(mine["dice"]), int(min(mine["cases"], other["cases"])))
    return leads


def say_of(votes: int, lead: Lead | None = None, recognised: float = 1.0) -> float:
    """The carried annotations' share in the average, 0..1; the adapter has the rest.

    Args:
        votes: cases that carry the structure into this scan, at least one.
        lead: what leave-one-out tells; without it the say follows from the votes alone.
        recognised: volume that the adapter found where the annotated scans show the structure, as part of the volume
            that they carry.
    """
    odds = votes / CASES_LIKE_ADAPTER
    if lead is not None:
        change = SLOPE * max(0.0, lead.dice - USUAL_LEAD) * lead.cases / (lead.cases + SHRINKAGE)
        odds *= math.exp(MOST * math.tanh(change / MOST))
    say = odds / (1.0 + odds)
    missing = (RECOGNISED_SHARE - recognised) / (RECOGNISED_SHARE - UNRECOGNISED_SHARE)
    return say + min(1.0, max(0.0, missing)) * max(0.0, UNRECOGNISED_SAY - say)

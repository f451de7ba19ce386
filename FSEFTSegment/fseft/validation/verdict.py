"""What validation means, in words for the person who annotated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fseft.validation.scores import StructureScore

GOOD_DICE, GOOD_SURFACE = 0.85, 0.90  # either makes a structure good: Dice is low for small structures by itself
USABLE_DICE, USABLE_SURFACE = 0.70, 0.75  # either makes it usable with a look at every result
VARIES = 0.05  # standard deviation of Dice between cases from which another case should help
ENOUGH_CASES = 3  # below, figures are little evidence
NAMES_AT_MOST = 4  # that a sentence lists


def give_verdict(
    row: Mapping[str, StructureScore], kind: str, cases: int, worse: Sequence[str], reason: str
) -> tuple[str, str]:
    """Verdict and advice on the chosen method.

    Args:
        row: its scores per structure.
        kind: "leave-one-out" or "cross-slice".
        cases: annotated scans.
        worse: structures that are worse than zero-shot.
        reason: why it was chosen.

    Returns:
        The verdict, which begins with "Good" only when nothing needs attention, and what to do next.
    """
    scored = {name: score for name, score in row.items() if not math.isnan(score.dice)}
    poor = [name for name, score in scored.items() if grade(score) == "poor"]
    check = [name for name, score in scored.items() if grade(score) == "usable" or (name in worse and name not in poor)]
    unknown = [name for name in row if name not in scored]
    sentences = [_opening(poor, check, kind, cases), f"{reason}."]
    if kind == "cross-slice":
        sentences.append("This is weak evidence, from slices of one patient: others will be segmented worse.")
    elif cases < ENOUGH_CASES:
        sentences.append(f"This is little evidence: each figure rests on at most {cases} scans.")
    if worse:
        sentences.append(f"Worse than zero-shot for: {', '.join(worse)}.")
    if unknown:
        sentences.append(f"Not validated, for lack of annotated scans: {', '.join(unknown)}.")
    return " ".join(sentences), _advice(scored, poor, unknown, kind, cases)


def grade(score: StructureScore) -> str:
    """ "good", "usable" or "poor"; the surface Dice counts where there is one."""
    surface = -1.0 if math.isnan(score.surface_dice) else score.surface_dice
    if score.dice >= GOOD_DICE or surface >= GOOD_SURFACE:
        return "good"
    return "usable" if score.dice >= USABLE_DICE or surface >= USABLE_SURFACE else "poor"


def _opening(poor: Sequence[str], check: Sequence[str], kind: str, cases: int) -> str:
    if poor:
        return f"Not good enough yet for {_list(poor)}." + (f" Usable, but check {_list(check)}." if check else "")
    if check:
        return f"Usable, but check {_list(check)} in every result."
    return "Good." if kind == "leave-one-out" and cases >= ENOUGH_CASES else "Looks good so far."


def _advice(
    scored: Mapping[str, StructureScore], poor: Sequence[str], unknown: Sequence[str], kind: str, cases: int
) -> str:
    if kind == "cross-slice":
        return "Annotate a second scan: only then can the model be tested on a patient that it has not seen."
    if poor:
        weakest = min(poor, key=lambda name: scored[name].dice)
        return f"Annotate one more case: {weakest} is weakest (Dice {scored[weakest].dice:.2f})."
    spread = {name: score.sd for name, score in scored.items() if not math.isnan(score.sd)}
    if spread and max(spread.values()) >= VARIES:
        widest = max(spread, key=lambda name: spread[name])
        return f"Annotate one more case: {widest} varies most ({scored[widest].dice:.2f} ± {spread[widest]:.2f})."
    if cases < ENOUGH_CASES:
        return "Annotate one more case, to know how far these figures can be trusted."
    if unknown:
        return f"Annotate one more case that shows {_list(unknown)}."
    return "More cases are not needed for these structures; correct and add a case where a result is flagged."


def _list(names: Sequence[str]) -> str:
    shown = list(names[:NAMES_AT_MOST])
    if len(names) > NAMES_AT_MOST:
        return f"{', '.join(shown)} and {len(names) - NAMES_AT_MOST} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]

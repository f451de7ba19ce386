"""Which structure limits a model, from its description alone and without torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAST_STEPS = 5  # of a training curve that are averaged


def limiting_structure(description: Mapping[str, Any]) -> dict[str, Any] | None:
    """The structure with the lowest Dice.

    Args:
        description: a model's, as :func:`fseft.models.description.read_description` returns it.

    Returns:
        ``name``, ``dice``, ``measure`` ("validation" on held-out cases or slices, or "training") and ``why``, one
        sentence; None when the model has neither record.
    """
    scores = _validated(description.get("validation") or {})
    measure = "validation"
    if not scores:
        scores, measure = _trained(description.get("training") or {}), "training"
    if not scores:
        return None
    name = min(scores, key=lambda key: scores[key])
    where = "on held-out annotations" if measure == "validation" else "on training crops"
    why = f"{name} has the lowest Dice {where} ({scores[name]:.2f}): annotate scans and slices that show it well."
    if len(scores) == 1:
        why = f"{name} is the only structure; its Dice {where} is {scores[name]:.2f}."
    if measure == "training":
        why += " That says little: validate the model to know."
    return {"name": name, "dice": round(scores[name], 4), "measure": measure, "why": why}


def _validated(record: Mapping[str, Any]) -> dict[str, float]:
    table = record.get("table") or {}
    row = table.get(record.get("chosen")) or {}
    return {name: float(score["dice"]) for name, score in row.items() if score.get("dice") is not None}


def _trained(record: Mapping[str, Any]) -> dict[str, float]:
    scores = {}
    for name, curve in (record.get("structure_dice_loss") or {}).items():
        last = [value for value in curve if value is not None][-LAST_STEPS:]
        if last:
            scores[name] = 1.0 - sum(last) / len(last)
    return scores

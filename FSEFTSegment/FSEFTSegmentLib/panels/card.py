"""The card of an adapted model: leave-one-out quality, expected volumes, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.common import ADVICE_COLOR, GOOD_COLOR


def card_html(content: Mapping[str, Any]) -> str:
    """A model's result or description as rich text; parts it does not have are left out.

    Args:
        content: what the worker's "adapt" job returned, or a model's description.
    """
    parts = [
        f"<b>{escape(str(content.get('name', '')))}</b> &nbsp;<span>{escape(str(content.get('method', '')))}</span>"
    ]
    verdict = content.get("verdict") or _member(content.get("validation"), "verdict")
    if verdict:
        good = str(verdict).lower().startswith("good")
        parts.append(f'<br><span style="color:{GOOD_COLOR if good else ADVICE_COLOR}">{escape(str(verdict))}</span>')
    rows = structure_rows(content)
    if rows:
        parts.append(_table(rows))
    if not any(row["dice"] for row in rows):
        parts.append(
            "<br><i>"
            + _("Not validated: annotate at least two scans to see how good it is before you use it.")
            + "</i>"
        )
    return "".join(parts)


def structure_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per structure its name, leave-one-out Dice and expected volume, as text."""
    dice = leave_one_out_dice(content)
    priors = content.get("priors") or {}
    rows = []
    for structure in content.get("structures") or []:
        name = structure["name"]
        prior = priors.get(name) or {}
        volume = ""
        if prior.get("low_ml") is not None and prior.get("high_ml") is not None:
            volume = f"{millilitres(prior['low_ml'])} - {millilitres(prior['high_ml'])} ml"
        rows.append({"name": name, "dice": dice.get(name, ""), "volume": volume})
    return rows


def leave_one_out_dice(content: Mapping[str, Any]) -> dict[str, str]:
    """Leave-one-out Dice per structure as text ("0.91 ± 0.02"), from the shapes a report may have."""
    table = content.get("leave_one_out") or content.get("validation") or {}
    method = content.get("method")
    candidates: list[Any] = [table]
    if isinstance(table, Mapping):
        candidates += [table.get(key) for key in ("structures", "table", "rows", method)]
        methods = table.get("methods")
        if isinstance(methods, Mapping):
            chosen = methods.get(method)
            candidates += [chosen, _member(chosen, "structures")]
    for candidate in candidates:
        found = dict(_dice_entries(candidate))
        if found:
            return found
    return {}


def _dice_entries(candidate: Any) -> Iterable[tuple[str, str]]:
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(candidate, Mapping):
        entries = candidate.items()
    elif isinstance(candidate, list):
        entries = ((_member(row, "structure") or _member(row, "name"), row) for row in candidate)
    for name, row in entries:
        value = _member(row, "dice")
        if value is None:
            value = _member(row, "dice_mean")
        spread = _member(row, "dice_sd") or _member(row, "spread")
        if isinstance(value, Mapping):
            spread = value.get("sd", value.get("spread"))
            value = value.get("mean")
        if name and isinstance(value, (int, float)):
            yield str(name), f"{value:.2f} ± {spread:.2f}" if isinstance(spread, (int, float)) else f"{value:.2f}"


def millilitres(value: float) -> str:
    """A volume with as many digits as mean something."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _table(rows: list[dict[str, str]]) -> str:
    head = (_("Structure"), _("Leave-one-out Dice"), _("Expected volume"))
    cells = "".join(f'<th align="left">{escape(text)}&nbsp;&nbsp;&nbsp;</th>' for text in head)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(row[key]) or '-'}&nbsp;&nbsp;&nbsp;</td>" for key in ("name", "dice", "volume"))
        + "</tr>"
        for row in rows
    )
    return f'<table cellspacing="2" style="margin-top:4px"><tr>{cells}</tr>{body}</table>'

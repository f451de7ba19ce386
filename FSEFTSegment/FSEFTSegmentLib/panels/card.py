"""The card of an adapted model: quality on held-out annotations, expected volumes, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.common import ADVICE_COLOR, GOOD_COLOR

#: What cannot be known.
DASH = "-"


def card_html(content: Mapping[str, Any]) -> str:
    """A model's result or description as rich text; parts it does not have are left out.

    Args:
        content: what the worker's "adapt" job returned, or a model's description.
    """
    name, method = str(content.get("name", "")), str(content.get("method", ""))
    parts = [f"<b>{escape(name)}</b> &nbsp;<span>{escape(method)}</span>"]
    validation = content.get("validation") or {}
    verdict = str(validation.get("verdict") or "")
    if verdict:
        color = GOOD_COLOR if verdict.lower().startswith("good") else ADVICE_COLOR
        parts.append(f'<br><span style="color:{color}">{escape(verdict)}</span>')
    if validation.get("advice"):
        parts.append("<br><b>" + _("Next:") + f"</b> {escape(str(validation['advice']))}")
    parts.append(_structures_html(content, validation))
    parts.append(_methods_html(validation))
    if not validation.get("table"):
        parts.append(
            "<br><i>"
            + _("Not validated: tick “Check by leaving cases out” to see how good it is before you use it.")
            + "</i>"
        )
    return "".join(parts)


def structure_rows(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """Per structure its name, expected volume and held-out scores of the model's method, as text."""
    validation = content.get("validation") or {}
    scores = (validation.get("table") or {}).get(validation.get("chosen")) or {}
    priors = content.get("priors") or {}
    rows = []
    for structure in content.get("structures") or []:
        name = structure["name"]
        prior, score = priors.get(name) or {}, scores.get(name) or {}
        volume = DASH
        if prior.get("low_ml") is not None and prior.get("high_ml") is not None:
            volume = f"{millilitres(prior['low_ml'])} - {millilitres(prior['high_ml'])}"
        error = score.get("volume_error_ml")
        rows.append(
            {
                "name": name,
                "dice": dice_text(score),
                "surface": _two_digits(score.get("surface_dice")),
                "error": DASH if error is None else millilitres(error),
                "volume": volume,
            }
        )
    return rows


def dice_text(score: Mapping[str, Any]) -> str:
    """Dice with its deviation between cases ("0.91 ± 0.02"), a dash when it is not known."""
    text = _two_digits(score.get("dice"))
    return text if text == DASH or score.get("sd") is None else f"{text} ± {score['sd']:.2f}"


def mean_dice(row: Mapping[str, Any]) -> float | None:
    """Mean Dice over the structures that could be scored."""
    values = [score["dice"] for score in row.values() if score.get("dice") is not None]
    return sum(values) / len(values) if values else None


def millilitres(value: float) -> str:
    """A volume with as many digits as mean something."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _two_digits(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _structures_html(content: Mapping[str, Any], validation: Mapping[str, Any]) -> str:
    rows = structure_rows(content)
    if not rows:
        return ""
    if not validation.get("table"):
        head = [_("Structure"), _("Expected (ml)")]
        return _table(head, [[row["name"], row["volume"]] for row in rows])
    head = [_("Structure"), "Dice", _("Surface"), _("Off by (ml)"), _("Expected (ml)")]
    return _table(head, [[row[key] for key in ("name", "dice", "surface", "error", "volume")] for row in rows])


def _methods_html(validation: Mapping[str, Any]) -> str:
    """What was held out, and the other methods' Dice beside the chosen one's."""
    table = validation.get("table") or {}
    if not table:
        return ""
    between_slices = validation.get("kind") == "cross-slice"
    about = (
        _("Tested on slices of the one annotated scan that were left out.")
        if between_slices
        else _("Tested on annotated scans that were left out, one at a time.")
    )
    text = f"<br><i>{escape(about)}</i>"
    if len(table) < 2:
        return text
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    head = [_("Method"), _("mean Dice"), *names] if len(names) <= 4 else [_("Method"), _("mean Dice")]
    lines = []
    for method, row in table.items():
        cells = [method, _two_digits(mean_dice(row))]
        cells += [_two_digits((row.get(name) or {}).get("dice")) for name in head[2:]]
        lines.append(cells)
    chosen = [position for position, method in enumerate(table) if method == validation.get("chosen")]
    return text + _table(head, lines, chosen)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: Sequence[int] = ()) -> str:
    gap = "&nbsp;&nbsp;"
    cells = "".join(f'<th align="left">{_unbroken(text)}{gap}</th>' for text in head)
    body = ""
    for position, row in enumerate(rows):
        opening, closing = ("<b>", "</b>") if position in bold else ("", "")
        body += "<tr>" + "".join(f"<td>{opening}{_unbroken(text)}{closing}{gap}</td>" for text in row) + "</tr>"
    return f'<table cellspacing="2" style="margin-top:4px"><tr>{cells}</tr>{body}</table>'


def _unbroken(text: str) -> str:
    return escape(text).replace(" ", "&nbsp;").replace("-", "&#8209;") if len(text) <= 24 else escape(text)

"""The card of an adapted model: quality on held-out annotations, expected volumes, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.common import ADVICE_COLOR, GOOD_COLOR, elided_names

#: What cannot be known.
DASH = "-"


def card_html(content: Mapping[str, Any], wide: bool = False) -> str:
    """A model's result or description as rich text; parts it does not have are left out.

    Args:
        content: what the worker's "adapt" job returned, or a model's description.
        wide: whether there is room for every method's Dice per structure.
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
    if wide:
        parts.append(methods_table_html(content))
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
            volume = f"{millilitres(prior['low_ml'])}–{millilitres(prior['high_ml'])}"
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
    head = [_("Structure"), "Dice", _("Surface"), _("Error (ml)"), _("Expected (ml)")]
    return _table(head, [[row[key] for key in ("name", "dice", "surface", "error", "volume")] for row in rows])


def _methods_html(validation: Mapping[str, Any]) -> str:
    """What was held out, and the other methods' Dice beside the chosen one's."""
    table = validation.get("table") or {}
    if not table:
        return ""
    about = (
        _("Tested on slices of the one annotated scan that were left out.")
        if validation.get("kind") == "cross-slice"
        else _("Tested on annotated scans that were left out, one at a time.")
    )
    text = f"<i>{escape(about)}</i>"
    if len(table) < 2:
        return text
    everywhere = set().union(*(scored_structures(row) for row in table.values()))
    parts, partial = [], {}
    for method, row in table.items():
        words = f"{unbroken(method)}&nbsp;{_two_digits(mean_dice(row))}"
        scored = scored_structures(row)
        if scored and scored != everywhere:
            words += "*"
            partial[method] = scored
        parts.append(f"<b>{words}</b>" if method == validation.get("chosen") else words)
    text += "<br>" + _("Mean Dice:") + " " + ", ".join(parts) + "."
    for method, scored in partial.items():
        text += "<br>" + escape(_only_on(method, scored, table.get(str(validation.get("chosen"))) or {}))
    return text


def scored_structures(row: Mapping[str, Any]) -> set[str]:
    """Names of the structures that a method could be scored on."""
    return {name for name, score in row.items() if score.get("dice") is not None}


def _only_on(method: str, scored: set[str], chosen: Mapping[str, Any]) -> str:
    """That a method's mean is over some structures only, and what the chosen method reaches on these."""
    names = elided_names(tuple(name for name in chosen if name in scored) or tuple(sorted(scored)))
    text = _("* {method} knows only structures of the pretraining: its mean is over {names}.")
    if method != "zero-shot":
        text = _("* {method}: its mean is over {names} only.")
    text = text.format(method=method, names=names)
    if scored_structures(chosen) == scored:
        return text
    same = mean_dice({name: score for name, score in chosen.items() if name in scored})
    return text if same is None else text + " " + _("The chosen method has {dice:.2f} there.").format(dice=same)


def methods_table_html(content: Mapping[str, Any]) -> str:
    """Every method's held-out Dice per structure, "" where only one was tried."""
    validation = content.get("validation") or {}
    table = validation.get("table") or {}
    if len(table) < 2:
        return ""
    head = [_("Structure"), *table]
    lines = []
    for name in dict.fromkeys(name for row in table.values() for name in row):
        lines.append([name, *(dice_text(row.get(name) or {}) for row in table.values())])
    return _table(head, lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    # Names may be long and break; numbers must not.
    return table_html(head, [[escape(name), *map(unbroken, numbers)] for name, *numbers in rows], "right")


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]], align: str = "left") -> str:
    """A table of rich text, its first column to the left.

    Args:
        head: plain text.
        rows: rich text.
        align: of the other columns.
    """

    def cell(kind: str, column: int, text: str) -> str:
        return f'<{kind} align="{align if column else "left"}">{text}&nbsp;</{kind}>'

    lines = [[("th", unbroken(text)) for text in head], *([("td", text) for text in row] for row in rows)]
    body = "".join(
        "<tr>" + "".join(cell(kind, n, text) for n, (kind, text) in enumerate(line)) + "</tr>" for line in lines
    )
    return f'<table cellspacing="2" style="margin-top:4px; margin-bottom:4px">{body}</table>'


def unbroken(text: str) -> str:
    """Plain text as rich text that is never broken into lines."""
    return escape(text).replace(" ", "&nbsp;").replace("-", "&#8209;")

"""The page about an adapted model: how it learnt, how good it is on held-out annotations, what it expects.

Members that a model does not have are left out, and members this page does not know are listed at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.errors import ResourceError
from fseft.report.curves import curves_png
from fseft.report.html import Picture, Section, Table, format_value, section_of, write_html
from fseft.suggestion.limiting import limiting_structure

NO_PICTURES = "There are no pictures: they need the package matplotlib (pip install matplotlib, or fseft[report])."
DISCLAIMER = "Research use only; not a medical device."
_KNOWN = {
    "format", "version", "name", "structures", "method", "backbone", "backbone_sha256", "shots", "priors", "training",
    "validation", "quality", "created", "versions", "model", "weights_sha256", "checksum",
}  # fmt: skip


def write_adapt_report(path: Path, description: Mapping[str, Any]) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        description: the model's, as :func:`fseft.models.adapted_model.describe` gives it.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    found = (_model(description), _validation(description), _priors(description), _training(description))
    sections = [section for section in found if section is not None]
    sections.append(_made_with(description))
    rest = {name: value for name, value in description.items() if name not in _KNOWN}
    if rest:
        sections.append(section_of("Further records", rest))
    title = f"Adapted model {description.get('name', '')}".strip()
    return write_html(path, title, sections, f"FSEFT {_version(description)}. {DISCLAIMER}")


def _model(description: Mapping[str, Any]) -> Section:
    validation = description.get("validation") or {}
    texts = [str(validation[name]) for name in ("verdict", "advice") if validation.get(name)]
    if not validation.get("advice"):
        limiting = limiting_structure(description)
        texts += [limiting["why"]] if limiting else []
    names = [str(structure["name"]) for structure in description.get("structures") or []]
    rows = [
        ("structures", ", ".join(names)),
        ("method", description.get("method")),
        ("annotated scans", description.get("shots")),
        ("backbone", description.get("backbone")),
        ("went on from", _origin(description)),
        ("made", str(description.get("created", "")).replace("T", " ").replace("+00:00", " UTC")),
    ]
    return Section("The model", texts, [Table(("", ""), [row for row in rows if row[1] not in (None, "")])])


def _origin(description: Mapping[str, Any]) -> str:
    """The model that this one started from, and what became of its structures; "" for one made from the start."""
    origin = (description.get("training") or {}).get("continued") or {}
    if not origin:
        return ""
    words = {"kept": "going on", "new": "new", "dropped": "no longer there"}
    parts = [f"{text}: {', '.join(origin[kind])}" for kind, text in words.items() if origin.get(kind)]
    return "; ".join([f"{origin.get('model')} of {str(origin.get('created', '')).replace('T', ' ')[:16]} UTC", *parts])


def _validation(description: Mapping[str, Any]) -> Section | None:
    record = description.get("validation") or {}
    table: Mapping[str, Mapping[str, Any]] = record.get("table") or {}
    if not table:
        return None
    chosen = str(record.get("chosen") or "")
    structures = list(dict.fromkeys(name for row in table.values() for name in row))
    methods = list(table)
    rows = [
        [name, *(_dice(table[method].get(name)) for method in methods), *_others(table.get(chosen, {}).get(name))]
        for name in structures
    ]
    means = ["mean", *(format_value(_mean_dice(table[method])) for method in methods), "", "", ""]
    header = ["structure", *(f"Dice, {method}" + (" (chosen)" if method == chosen else "") for method in methods)]
    header += ["surface Dice", "volume error ml", "held out"]
    kind = str(record.get("kind") or "held-out")
    texts = [
        f"How: {kind}. Dice is the mean ± standard deviation over what was held out; the last three columns are those "
        "of the chosen method."
    ]
    if len(rows) > 1 and len({frozenset(_scored(table[method])) for method in methods}) > 1:
        texts.append(
            "A mean is over the structures that the method could be scored on: compare structure by structure."
        )
    if "atlas" in table:
        texts.append("Atlas: annotations carried over by registration alone, there to compare with; nothing is learnt.")
    texts += [str(record["note"])] if record.get("note") else []
    texts += [str(record["reason"]) + "."] if record.get("reason") and not record.get("verdict") else []
    return Section("Validation", texts, [Table(header, [*rows, means] if len(rows) > 1 else rows)])


def _dice(score: Mapping[str, Any] | None) -> str:
    if not score or score.get("dice") is None:
        return format_value(None)
    spread = f" ± {score['sd']:.3f}" if score.get("sd") is not None else ""
    return f"{score['dice']:.3f}{spread}"


def _others(score: Mapping[str, Any] | None) -> list[Any]:
    score = score or {}
    return [score.get("surface_dice"), score.get("volume_error_ml"), score.get("cases")]


def _scored(row: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: float(score["dice"]) for name, score in row.items() if score.get("dice") is not None}


def _mean_dice(row: Mapping[str, Mapping[str, Any]]) -> float | None:
    values = list(_scored(row).values())
    return sum(values) / len(values) if values else None


def _priors(description: Mapping[str, Any]) -> Section | None:
    priors: Mapping[str, Mapping[str, Any]] = description.get("priors") or {}
    if not priors:
        return None
    rows = [
        [name, prior.get("mean_ml"), prior.get("low_ml"), prior.get("high_ml"), prior.get("source")]
        for name, prior in priors.items()
    ]
    known = set(priors)
    without = [str(s["name"]) for s in description.get("structures") or [] if s["name"] not in known]
    texts = [f"No annotated scan shows these whole: {', '.join(without)}."] if without else []
    return Section("Expected volumes", texts, [Table(("structure", "mean ml", "low ml", "high ml", "from"), rows)])


_STOPPED = {
    "epochs": "as many as were asked for",
    "steps": "as many steps as were asked for",
    "plateau": "the loss no longer improved",
}


def _training(description: Mapping[str, Any]) -> Section | None:
    record = description.get("training") or {}
    loss: Sequence[float] = record.get("loss") or []
    curves: Mapping[str, Sequence[float | None]] = record.get("structure_dice_loss") or {}
    if not loss and not curves:
        return None
    why = _STOPPED.get(str(record.get("stopped")))
    texts = [f"Training ended after {len(loss)} epochs" + (f": {why}." if why else ".")]
    if record.get("seconds") is not None:
        texts.append(f"It took {format_value(float(record['seconds']))} s.")
    pictures = []
    try:
        if loss:
            pictures.append(Picture(curves_png({"all": loss}, "Loss", "loss"), "The loss over all structures"))
        if curves:
            png = curves_png(curves, "Dice loss per structure")
            pictures.append(Picture(png, "Dice loss per structure, on training crops"))
    except ResourceError as problem:
        if problem.code != "extra-missing":
            raise
        texts.append(NO_PICTURES)
    rows = [["all (loss)", *_ends(loss)]] if loss else []
    rows += [[f"{name} (Dice loss)", *_ends(curve)] for name, curve in curves.items()]
    return Section("Training", texts, [Table(("curve", "first", "lowest", "last"), rows)], pictures)


def _ends(curve: Sequence[float | None]) -> list[float | None]:
    values = [float(value) for value in curve if value is not None]
    return [values[0], min(values), values[-1]] if values else [None, None, None]


def _made_with(description: Mapping[str, Any]) -> Section:
    settings = (description.get("training") or {}).get("settings") or {}
    tables = []
    if settings:
        tables.append(Table(("setting", "value"), [(name, _plain(value)) for name, value in settings.items()]))
    versions = dict(description.get("versions") or {})
    digest = str(description.get("backbone_sha256") or "")
    if digest:
        versions["backbone weights (sha256)"] = digest
    if versions:
        tables.append(Table(("what", "version"), list(versions.items())))
    return Section("Settings and versions", (), tables)


def _plain(value: Any) -> Any:
    """Settings to the letter: 0.0001 must not be rounded for people."""
    return repr(value) if isinstance(value, float) else value


def _version(description: Mapping[str, Any]) -> str:
    return str((description.get("versions") or {}).get("fseft", "")).strip()

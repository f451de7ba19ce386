"""The page about segmented scans: volumes against expectations, what to look at, and the slices to look at.

Everything but the slices comes from the scans' reports; members a report does not have are left out, members of a
structure that this page does not know become columns of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fseft.errors import FseftError
from fseft.report.adapt_report import DISCLAIMER, NO_PICTURES
from fseft.report.html import Picture, Section, Table, format_value, write_html
from fseft.report.sheet import sheet_png, slices_to_show
from fseft.reporting import SILENT, Reporter
from fseft.scan.reading import read_scan, read_volume
from fseft.scan.scan import Scan
from fseft.structures import Structure

#: A page with more pictures is too large to open comfortably.
MAX_PICTURES = 20
_FIRST = ("name", "volume_ml", "expected_ml", "predicted_dice")
_HIDDEN = {"value", "centre_index", "flags", "notes", "cut_by_border"}
_TITLES = {"name": "structure", "volume_ml": "ml", "expected_ml": "expected ml", "predicted_dice": "predicted Dice"}
_INTERVALS = (
    "Predicted Dice: what the result is expected to reach, before refinement if there was one; nine of ten should lie "
    "in the range behind it."
)
_REFINED = "Refinement: the volume before and after it, and how much was added or taken away on the way."


def write_segment_report(
    path: Path,
    model: str,
    reports: Sequence[Mapping[str, Any]],
    scans: Sequence[tuple[Path, str | None]],
    structures: Sequence[Structure],
    reporter: Reporter = SILENT,
) -> Path:
    """Write the page.

    Args:
        path: the HTML file.
        model: the model's name.
        reports: one per scan, as the job "segment" returns them; ``output`` says where the labelmap is.
        scans: per report the scan's file or folder and its series.
        structures: the model's, for colours and values.
        reporter: hears phase "report".

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    sections = [_overview(reports)] if len(reports) > 1 else []
    for number, (report, (scan, series)) in enumerate(zip(reports, scans, strict=True)):
        reporter.progress("report", number, len(reports), str(report.get("name", "")))
        reporter.check_cancelled()
        texts, pictures = _texts(report), []
        if number < MAX_PICTURES:
            try:
                pictures.append(_picture(report, scan, series, structures))
            except FseftError as problem:
                missing = problem.code == "extra-missing"
                texts.append(NO_PICTURES if missing else f"There is no picture: {problem.message}")
        else:
            texts.append(f"Pictures are drawn for the first {MAX_PICTURES} scans only.")
        sections.append(Section(str(report.get("name", f"scan {number + 1}")), texts, [_table(report)], pictures))
    reporter.progress("report", len(reports), len(reports))
    versions = reports[0].get("versions", {}) if reports else {}
    return write_html(path, f"Segmented with {model}", sections, f"FSEFT {versions.get('fseft', '')}. {DISCLAIMER}")


def _overview(reports: Sequence[Mapping[str, Any]]) -> Section:
    rows = []
    for report in reports:
        flagged = [str(entry["name"]) for entry in report.get("structures", []) if entry.get("flags")]
        flagged = [*_scan_flags(report), *flagged]
        rows.append([report.get("name"), len(report.get("structures", [])), ", ".join(flagged) or "nothing"])
    return Section("All scans", (), [Table(("scan", "structures", "look at"), rows)])


def _scan_flags(report: Mapping[str, Any]) -> list[str]:
    return [str(flag) for flag in report.get("flags") or []]


def _texts(report: Mapping[str, Any]) -> list[str]:
    texts = [f"Look at this scan: {flag}." for flag in _scan_flags(report)]
    model, backbone = report.get("model") or {}, report.get("backbone") or {}
    if model.get("name"):
        texts.append(f"Model {model['name']} ({model.get('method', 'unknown method')}), backbone {backbone.get('id')}.")
    seconds = report.get("seconds") or {}
    if seconds:
        parts = ", ".join(f"{phase} {format_value(float(value))} s" for phase, value in seconds.items())
        texts.append(f"Time: {parts}.")
    for name in ("refinement", "quality", "verdict"):
        if report.get(name):
            texts.append(f"{name.capitalize()}: {format_value(report[name])}.")
    entries = report.get("structures", [])
    texts += [_INTERVALS] if any(isinstance(entry.get("predicted_dice"), Mapping) for entry in entries) else []
    texts += [_REFINED] if any(isinstance(entry.get("refinement"), Mapping) for entry in entries) else []
    return texts


def _table(report: Mapping[str, Any]) -> Table:
    """Known columns first, then whatever else the structures tell, flags and notes last."""
    entries: Sequence[Mapping[str, Any]] = report.get("structures", [])
    told = {key for entry in entries for key, value in entry.items() if value is not None}
    present = [name for name in _FIRST if name in told]
    others = [key for entry in entries for key in entry if key in told and key not in {*_FIRST, *_HIDDEN}]
    columns = [*present, *dict.fromkeys(others)]
    rows = [
        [
            *(_cell(name, entry.get(name)) for name in columns),
            *("; ".join(entry.get(n, [])) for n in ("flags", "notes")),
        ]
        for entry in entries
    ]
    return Table([*(_TITLES.get(name, name) for name in columns), "look at", "notes"], rows)


def _cell(name: str, value: Any) -> Any:
    if name == "expected_ml" and isinstance(value, (list, tuple)) and len(value) == 2:
        return f"{format_value(float(value[0]))} to {format_value(float(value[1]))}"
    if name == "predicted_dice" and isinstance(value, Mapping):
        return f"{value['value']:.2f} ({value['low']:.2f} to {value['high']:.2f})"
    if name == "refinement" and isinstance(value, Mapping):
        return _refinement(value)
    return value


def _refinement(outcome: Mapping[str, Any]) -> str:
    """What refinement did to a structure; why it was refused stands among what to look at."""
    if outcome.get("action") == "refused":
        return "refused"
    before, after, changed = (float(outcome.get(name) or 0.0) for name in ("before_ml", "after_ml", "changed_ml"))
    if not changed:
        return "unchanged"
    return f"{format_value(before)} to {format_value(after)} ml ({format_value(changed)} ml changed)"


def _picture(report: Mapping[str, Any], path: Path, series: str | None, structures: Sequence[Structure]) -> Picture:
    scan = read_scan(path, series=series)
    labels = _labels(Path(str(report["output"])), scan)
    shown = slices_to_show(scan, labels, report.get("structures", []))
    flagged = sum(bool(entry.caption) for entry in shown)
    which = f"the first {flagged} through what is flagged" if flagged else "spread over what was found"
    png = sheet_png(scan, labels, structures, shown)
    return Picture(png, f"Axial slices, {which}; the patient's right is on the left")


def _labels(path: Path, scan: Scan) -> np.ndarray:
    array, geometry, _ = read_volume(path, labelmap=True)
    if array.shape != scan.hounsfield.shape or not geometry.same_grid(scan.geometry):
        raise FseftError("labelmap-other-grid", f"{path.name} is not on the scan's grid.", "Segment the scan again.")
    return array

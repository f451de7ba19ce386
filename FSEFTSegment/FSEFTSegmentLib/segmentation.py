"""From scans in the scene to a segmentation job, and from its results back into the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.structures import Structure

from FSEFTSegmentLib.adaptation import CaseNodes, case_entries_steps, structure_entry
from FSEFTSegmentLib.mrml.grid import Grid
from FSEFTSegmentLib.mrml.results import BEFORE, ResultIdentity, find_result, load_result_steps, show_before
from FSEFTSegmentLib.mrml.volumes import frame_label, write_scan_steps
from FSEFTSegmentLib.steps import Steps


@dataclass(frozen=True)
class WrittenScan:
    """A scan handed to the worker: its volume, the grid it was written with, its frame, and the files to expect."""

    volume: Any
    grid: Grid
    frame: str
    output: Path
    before: Path


#: Refinements that work with the annotated scans themselves.
NEEDS_SUPPORT = ("location", "paper")


@dataclass(frozen=True)
class Refinement:
    """How to refine.

    Attributes:
        mode: "off", "default", "location" or "paper".
        cases: support cases that were annotated with the model's structures; :data:`NEEDS_SUPPORT` need them.
        structures: the model's structures as the support set has them.
    """

    mode: str = "off"
    cases: tuple[CaseNodes, ...] = ()
    structures: tuple[Structure, ...] = ()


def segment_parameters_steps(
    volumes: Sequence[Any],
    options: Mapping[str, Any],
    folder: Path,
    sequences: Any | None,
    refinement: Refinement | None = None,
) -> Steps[tuple[dict[str, Any], list[WrittenScan]]]:
    """Write scans into the job's folder; returns the job's parameters and what was written.

    Args:
        volumes: volume nodes to segment.
        options: "model", "priors", "keep_largest", "device".
        folder: the job's private folder.
        sequences: Slicer's sequences logic, or None.
        refinement: off by default.

    Raises:
        ScanError: for a volume that cannot be used.
        ResourceError: "disk-full", "cannot-write".
    """
    refinement = refinement or Refinement()
    entries, written = yield from write_scans_steps(volumes, folder, sequences)
    parameters = {
        "model": options["model"],
        "scans": entries,
        "refine": refinement.mode,
        "priors": dict(options.get("priors", {})),
        "keep_largest": bool(options.get("keep_largest", False)),
        "device": options.get("device", "auto"),
    }
    if refinement.mode != "off":
        for entry, scan in zip(entries, written, strict=True):
            entry["before"] = str(scan.before)
        if refinement.cases:
            cases, _ = yield from case_entries_steps(refinement.cases, refinement.structures, folder, "support-")
            structures = [structure_entry(structure) for structure in refinement.structures]
            parameters["support"] = {"cases": cases, "structures": structures}
    return parameters, written


def write_scans_steps(
    volumes: Sequence[Any], folder: Path, sequences: Any | None
) -> Steps[tuple[list[dict[str, Any]], list[WrittenScan]]]:
    """Write scans into a job's folder; returns them as a job has them, and what was written.

    They are called "scan 1" and so on, in order: names of patients never reach the worker.

    Raises:
        ScanError: for a volume that cannot be used.
        ResourceError: "disk-full", "cannot-write".
    """
    entries: list[dict[str, Any]] = []
    written = []
    for number, volume in enumerate(volumes, start=1):
        scan = folder / f"scan{number}.nrrd"
        frame = frame_label(volume, sequences)
        grid = yield from write_scan_steps(volume, scan)
        output, before = folder / f"result{number}.seg.nrrd", folder / f"before{number}.seg.nrrd"
        written.append(WrittenScan(volume, grid, frame, output, before))
        entries.append({"scan": str(scan), "name": f"scan {number}", "output": str(output)})
    return entries, written


@dataclass(frozen=True)
class LoadedResult:
    """A result in the scene: the scan, the segmentation, the one before refinement if any, and the report."""

    volume: Any
    segmentation: Any
    before: Any | None
    report: dict[str, Any]


def load_results_steps(
    scene: Any,
    written: Sequence[WrittenScan],
    result: Mapping[str, Any],
    structures: tuple[Structure, ...],
    model: str,
) -> Steps[list[LoadedResult]]:
    """Load what the worker wrote; volumes removed in the meantime, and those it could not use, are left out.

    Raises:
        ScanError: "file-unreadable", "result-grid", "result-volume-changed".
    """
    loaded = []
    reports = {report["name"]: report for report in result["scans"]}
    for number, scan in enumerate(written, start=1):
        report = reports.get(f"scan {number}")
        if report is None or not scene.IsNodePresent(scan.volume):
            continue
        identity = ResultIdentity(model, frame=scan.frame)
        node = yield from load_result_steps(scene, scan.volume, scan.output, scan.grid, structures, identity)
        earlier = ResultIdentity(model, BEFORE, scan.frame)
        before = None
        if report.get("before"):
            before = yield from load_result_steps(scene, scan.volume, scan.before, scan.grid, structures, earlier)
        else:
            outdated = find_result(scene, scan.volume, earlier)
            if outdated is not None:
                scene.RemoveNode(outdated)
        show_before(node, before, False)
        kept = {key: report[key] for key in ("structures", "flags", "model", "backbone") if key in report}
        loaded.append(LoadedResult(scan.volume, node, before, kept))
    return loaded


def left_out_text(failed: Sequence[Mapping[str, Any]]) -> str:
    """Which scans of a finished job could not be used and why, to follow "Done, but "; "" for none."""
    if not failed:
        return ""
    names = ", ".join(str(entry["name"]) for entry in failed)
    first = failed[0]
    return f"{names} could not be segmented. {first['message']} {first['hint']}"


def flag_text(flag: Any) -> str:
    """A flag in words, however the report gives it."""
    if isinstance(flag, Mapping):
        return str(flag.get("message") or flag.get("text") or flag.get("code") or "")
    return str(flag)


def refinement_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What refinement says of a structure of a report; empty without refinement."""
    return entry.get("refinement") or {}


def table_rows(loaded: Sequence[LoadedResult], model: str) -> list[dict[str, Any]]:
    """One row per structure and scan, for the screen and for CSV."""
    rows = []
    for result in loaded:
        for entry in result.report.get("structures", []):
            low, high = entry.get("expected_ml") or (None, None)
            dice, refined = entry.get("predicted_dice") or {}, refinement_of(entry)
            rows.append(
                {
                    "scan": result.volume.GetName() if result.volume is not None else "",
                    "model": model,
                    "structure": entry["name"],
                    "label value": entry.get("value"),
                    "volume (ml)": entry.get("volume_ml"),
                    "expected from (ml)": low,
                    "expected to (ml)": high,
                    "predicted Dice": dice.get("value"),
                    "predicted Dice from": dice.get("low"),
                    "predicted Dice to": dice.get("high"),
                    "refinement": refined.get("action"),
                    "volume before refinement (ml)": refined.get("before_ml"),
                    "flags": "; ".join(
                        flag_text(flag) for flag in [*result.report.get("flags", []), *entry.get("flags", [])]
                    ),
                    "notes": "; ".join(map(str, entry.get("notes") or [])),
                }
            )
    return rows

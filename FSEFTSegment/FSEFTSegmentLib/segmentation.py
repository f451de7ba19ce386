"""From scans in the scene to a segmentation job, and from its results back into the scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.structures import Structure

from FSEFTSegmentLib.mrml.grid import Grid
from FSEFTSegmentLib.mrml.results import BEFORE, ResultIdentity, load_result_steps
from FSEFTSegmentLib.mrml.volumes import frame_label, write_scan_steps
from FSEFTSegmentLib.steps import Steps


@dataclass(frozen=True)
class WrittenScan:
    """A scan handed to the worker: its volume, the grid it was written with, its frame, and the files to expect."""

    volume: Any
    grid: Grid
    frame: str
    output: Path
    output_before: Path


def segment_parameters_steps(
    volumes: Sequence[Any], options: Mapping[str, Any], folder: Path, sequences: Any | None
) -> Steps[tuple[dict[str, Any], list[WrittenScan]]]:
    """Write scans into the job's folder; returns the job's parameters and what was written.

    Args:
        volumes: volume nodes to segment.
        options: "model", "refine", "priors", "keep_largest", "device".
        folder: the job's private folder.
        sequences: Slicer's sequences logic, or None.

    Raises:
        ScanError: for a volume that cannot be used.
        ResourceError: "disk-full", "cannot-write".
    """
    written = []
    entries = []
    for number, volume in enumerate(volumes, start=1):
        scan = folder / f"scan{number}.nrrd"
        frame = frame_label(volume, sequences)
        grid = yield from write_scan_steps(volume, scan)
        output, before = folder / f"result{number}.seg.nrrd", folder / f"before{number}.seg.nrrd"
        written.append(WrittenScan(volume, grid, frame, output, before))
        entry: dict[str, Any] = {"scan": str(scan), "name": f"scan {number}", "output": str(output)}
        if options.get("refine", "off") != "off":
            entry["output_before"] = str(before)
        entries.append(entry)
    parameters = {
        "model": options["model"],
        "scans": entries,
        "refine": options.get("refine", "off"),
        "priors": dict(options.get("priors", {})),
        "keep_largest": bool(options.get("keep_largest", False)),
        "device": options.get("device", "auto"),
    }
    return parameters, written


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
    """Load what the worker wrote; volumes removed in the meantime are left out.

    Raises:
        ScanError: "file-unreadable", "result-grid", "result-volume-changed".
    """
    loaded = []
    for scan, report in zip(written, result["scans"], strict=False):
        if not scene.IsNodePresent(scan.volume):
            continue
        identity = ResultIdentity(model, frame=scan.frame)
        node = yield from load_result_steps(scene, scan.volume, scan.output, scan.grid, structures, identity)
        before = None
        if scan.output_before.is_file():
            earlier = ResultIdentity(model, BEFORE, scan.frame)
            before = yield from load_result_steps(
                scene, scan.volume, scan.output_before, scan.grid, structures, earlier
            )
            before.GetDisplayNode().SetVisibility(False)
        kept = {key: report[key] for key in ("structures", "model", "backbone", "quality") if key in report}
        loaded.append(LoadedResult(scan.volume, node, before, kept))
    return loaded


def flag_text(flag: Any) -> str:
    """A flag in words, however the report gives it."""
    if isinstance(flag, Mapping):
        return str(flag.get("message") or flag.get("text") or flag.get("code") or "")
    return str(flag)


def table_rows(loaded: Sequence[LoadedResult], model: str) -> list[dict[str, Any]]:
    """One row per structure and scan, for the screen and for CSV."""
    rows = []
    for result in loaded:
        for entry in result.report.get("structures", []):
            low, high = entry.get("expected_ml") or (None, None)
            rows.append(
                {
                    "scan": result.volume.GetName() if result.volume is not None else "",
                    "model": model,
                    "structure": entry["name"],
                    "label value": entry.get("value"),
                    "volume (ml)": entry.get("volume_ml"),
                    "expected from (ml)": low,
                    "expected to (ml)": high,
                    "predicted Dice": entry.get("predicted_dice"),
                    "flags": "; ".join(flag_text(flag) for flag in entry.get("flags", [])),
                }
            )
    return rows

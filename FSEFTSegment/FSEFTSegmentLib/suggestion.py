"""What to annotate next: from the scans in the scene to a job for the worker, and its answer in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.errors import FseftError
from fseft.structures import Structure

from FSEFTSegmentLib.activity import in_own_names
from FSEFTSegmentLib.adaptation import structure_entry
from FSEFTSegmentLib.mrml.volumes import check_volume, looks_like_ct, write_scan_steps
from FSEFTSegmentLib.steps import Steps


def can_be_suggested(volume: Any) -> bool:
    """Whether a volume is a CT that could be annotated."""
    try:
        check_volume(volume)
    except FseftError:
        return False
    return looks_like_ct(volume)


def suggest_parameters_steps(
    scans: Sequence[Any],
    annotated: Sequence[Any],
    structures: tuple[Structure, ...],
    options: Mapping[str, Any],
    folder: Path,
) -> Steps[dict[str, Any]]:
    """Write scans into the job's folder; returns the job's parameters.

    Args:
        scans: volume nodes without annotation; called "scan 1" and so on.
        annotated: volume nodes of the support set; called "case 1" and so on.
        structures: the support set's.
        options: "model" (name or ""), "backbone", "device".
        folder: the job's private folder.

    Raises:
        ScanError: for a volume that cannot be used.
        ResourceError: "disk-full", "cannot-write".
    """
    entries: dict[str, list[dict[str, Any]]] = {"scan": [], "case": []}
    for word, volumes in (("scan", scans), ("case", annotated)):
        for number, volume in enumerate(volumes, start=1):
            path = folder / f"{word}{number}.nrrd"
            yield from write_scan_steps(volume, path)
            entries[word].append({"scan": str(path), "name": f"{word} {number}"})
    return {
        "scans": entries["scan"],
        "cases": entries["case"],
        "structures": [structure_entry(structure) for structure in structures],
        "model": options.get("model") or None,
        "backbone": None if options.get("model") else options.get("backbone"),
        "device": options.get("device", "auto"),
    }


def first_suggestion(result: Mapping[str, Any], volumes: Mapping[str, Any]) -> tuple[Any | None, str]:
    """The volume to annotate next and why, in the volumes' own names; no volume when there is nothing to choose.

    Args:
        result: of the job.
        volumes: volume nodes by the names they had in the job.
    """
    if not result.get("ranking"):
        return None, "Every loaded scan is annotated already: load another one."
    first = result["ranking"][0]
    volume = volumes[first["name"]]
    sentences = [f"Annotate “{volume.GetName()}” next.", first["why"]]
    if result.get("slices"):
        sentences.append(result["slices"]["advice"])
    if result.get("limiting_structure"):
        why = str(result["limiting_structure"]["why"])
        sentences.append(why[:1].upper() + why[1:])
    return volume, in_own_names(" ".join(sentences), {name: node.GetName() for name, node in volumes.items()})

"""Drafts of annotations: from the scene to a job for the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.structures import Structure

from FSEFTSegmentLib.adaptation import CaseNodes, case_entries_steps, structure_entry
from FSEFTSegmentLib.segmentation import WrittenScan, write_scans_steps
from FSEFTSegmentLib.steps import Steps

#: Carry the annotations of other scans over by registration.
ATLAS = "atlas"
#: Segment with an adapted model.
MODEL = "model"


def propose_parameters_steps(
    volume: Any,
    options: Mapping[str, Any],
    cases: Sequence[CaseNodes],
    structures: tuple[Structure, ...],
    folder: Path,
    sequences: Any | None,
) -> Steps[tuple[dict[str, Any], list[WrittenScan]]]:
    """Write what the job needs into its folder; returns the job's parameters and the scan written.

    Args:
        volume: the volume node to draft an annotation for.
        options: "method" (:data:`ATLAS` or :data:`MODEL`), "model", "device".
        cases: annotated scans, for :data:`ATLAS`.
        structures: those annotated there, for :data:`ATLAS`.
        folder: the job's private folder.
        sequences: Slicer's sequences logic, or None.

    Raises:
        FseftError: when a scan or an annotation cannot be used; the message names it.
        ResourceError: "disk-full", "cannot-write".
    """
    entries, written = yield from write_scans_steps([volume], folder, sequences)
    parameters: dict[str, Any] = {"method": options["method"], "scans": entries}
    if options["method"] == MODEL:
        parameters.update(model=options["model"], device=options.get("device", "auto"))
    else:
        described, _ = yield from case_entries_steps(cases, structures, folder, "support-")
        parameters.update(cases=described, structures=[structure_entry(structure) for structure in structures])
    return parameters, written

"""From the support set in the scene to a job for the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.errors import AnnotationError
from fseft.structures import Structure

from FSEFTSegmentLib.mrml.annotations import annotation_steps, write_annotation_steps
from FSEFTSegmentLib.mrml.cases import CaseStatus
from FSEFTSegmentLib.mrml.volumes import write_scan_steps
from FSEFTSegmentLib.steps import Steps

#: Chosen in place of a method: a few steps from the model that has the name, after a correction.
CONTINUE = "continue"


@dataclass(frozen=True)
class CaseNodes:
    """A support case's nodes."""

    volume: Any
    segmentation: Any
    sparse: bool = False


def why_not_ready(structures: Sequence[Structure], statuses: Sequence[CaseStatus]) -> str:
    """Why Adapt cannot start yet, as a sentence; "" when it can."""
    if not structures:
        return "Add at least one structure."
    if not statuses:
        return "Add at least one scan and annotate it."
    usable = [status for status in statuses if status.is_usable]
    if not usable:
        for status in statuses:
            for problem in status.problems:
                if problem.blocking:
                    return f"{problem.message} {problem.hint}"
        return "Annotate at least one structure in one scan."
    annotated = {name for status in usable for name in status.annotated}
    lacking = [structure.name for structure in structures if structure.name not in annotated]
    if lacking:
        return f"Not annotated in any scan: {', '.join(lacking)}. Annotate it, or remove it from the structures."
    return ""


def adapt_parameters_steps(
    cases: Sequence[CaseNodes], structures: tuple[Structure, ...], options: Mapping[str, Any], folder: Path
) -> Steps[tuple[dict[str, Any], list[str]]]:
    """Write scans and annotations into the job's folder; returns the job's parameters and warnings.

    Cases are called "case 1" and so on, in order: names of patients never reach the worker.

    Args:
        cases: the usable support cases.
        structures: the support set's.
        options: "name", "backbone", "method" (one of the engine's, or :data:`CONTINUE`, which keeps the method and the
            backbone of the model of that name), "validate", "device", "seed", "output".
        folder: the job's private folder.

    Raises:
        FseftError: when a scan or an annotation cannot be used; the message names it.
        ResourceError: "disk-full", "cannot-write".
    """
    entries, warnings = yield from case_entries_steps(cases, structures, folder)
    parameters = {
        "name": options["name"],
        "cases": entries,
        "structures": [structure_entry(structure) for structure in structures],
        **_how(options),
        "validate": bool(options.get("validate", False)),
        "device": options.get("device", "auto"),
        "seed": int(options.get("seed", 0)),
        "output": options.get("output"),
    }
    return parameters, warnings


def _how(options: Mapping[str, Any]) -> dict[str, Any]:
    method = options.get("method", "auto")
    if method == CONTINUE:
        return {"previous": options["name"]}
    return {"method": method, "backbone": options.get("backbone", "fseft-mini")}


def case_entries_steps(
    cases: Sequence[CaseNodes], structures: tuple[Structure, ...], folder: Path, prefix: str = ""
) -> Steps[tuple[list[dict[str, Any]], list[str]]]:
    """Write support cases into a job's folder; returns them as a job has them, and warnings.

    Args:
        cases: the support cases.
        structures: those whose annotation is written.
        folder: the job's private folder.
        prefix: of the files' names, where the folder holds other scans too.

    Raises:
        FseftError: when a scan or an annotation cannot be used; the message names it.
        ResourceError: "disk-full", "cannot-write".
    """
    entries: list[dict[str, Any]] = []
    warnings: list[str] = []
    for number, case in enumerate(cases, start=1):
        scan = folder / f"{prefix}scan{number}.nrrd"
        annotation_file = folder / f"{prefix}annotation{number}.seg.nrrd"
        grid = yield from write_scan_steps(case.volume, scan)
        annotation = yield from annotation_steps(case.segmentation, case.volume, structures)
        if not annotation.structures:
            raise AnnotationError(
                "annotation-empty",
                f"Nothing is annotated in “{case.volume.GetName()}”.",
                "Annotate a structure in it, or remove the case.",
            )
        warnings += [f"{case.volume.GetName()}: {sentence}" for sentence in annotation.warnings()]
        yield from write_annotation_steps(annotation, grid, annotation_file)
        entries.append(
            {
                "scan": str(scan),
                "annotation": str(annotation_file),
                "name": f"case {number}",
                "sparse": "auto" if case.sparse else "no",
            }
        )
    return entries, warnings


def structure_entry(structure: Structure) -> dict[str, Any]:
    """A structure as a job file has it."""
    return {
        "name": structure.name,
        "value": structure.value,
        "color": list(structure.color),
        "terminology": structure.terminology,
    }

"""Compare predictions with references, file by file, on the references' own grids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fseft.errors import InputError
from fseft.evaluation.labelmap import Labelmap, common_structures, read_labelmap, union_box
from fseft.evaluation.metrics import structure_metrics
from fseft.evaluation.table import EvaluationRow, EvaluationTable
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.reading import stem_of
from fseft.structures import Structure


def evaluate(
    pairs: Sequence[tuple[Path, Path]],
    structures: Sequence[Structure] | None = None,
    tolerance_mm: float = 2.0,
    reporter: Reporter = SILENT,
) -> EvaluationTable:
    """Score predictions on the scans' native grid (the published protocol scores on a 1.5 mm grid instead).

    Args:
        pairs: (prediction, reference) labelmaps or segmentation files; the two of a pair share one grid.
        structures: what to score; matched by name in segmentation files, by value in plain labelmaps. None scores
            what the files themselves name, or every value that occurs.
        tolerance_mm: of the surface Dice.
        reporter: told the phase "evaluation" by case.

    Raises:
        InputError: "evaluation-no-pairs", "evaluation-grids-differ", "evaluation-nothing-common".
        ScanError, AnnotationError: when a file cannot be read as a labelmap.
    """
    if not pairs:
        raise InputError(
            "evaluation-no-pairs", "There is nothing to compare.", "Give a prediction and a reference for each case."
        )
    names = case_names([reference for _, reference in pairs])
    rows: list[EvaluationRow] = []
    for number, (name, (prediction_path, reference_path)) in enumerate(zip(names, pairs, strict=True)):
        reporter.progress("evaluation", number, len(pairs), name)
        prediction, reference = read_labelmap(Path(prediction_path)), read_labelmap(Path(reference_path))
        rows += _compare(name, prediction, reference, structures, tolerance_mm, reporter)
    reporter.progress("evaluation", len(pairs), len(pairs))
    return EvaluationTable(tuple(rows), tolerance_mm)


def case_names(paths: Sequence[Path]) -> list[str]:
    """A name for each case: the file's, with its folder's in front where file names alone are not distinct."""
    stems = [stem_of(Path(path)) for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{Path(path).resolve().parent.name}/{stem}" for path, stem in zip(paths, stems, strict=True)]


def _compare(
    case: str,
    prediction: Labelmap,
    reference: Labelmap,
    structures: Sequence[Structure] | None,
    tolerance_mm: float,
    reporter: Reporter,
) -> list[EvaluationRow]:
    if not prediction.geometry.same_grid(reference.geometry):
        raise InputError(
            "evaluation-grids-differ",
            f"{prediction.name} ({describe_grid(prediction.geometry)}) is not on the grid of "
            f"{reference.name} ({describe_grid(reference.geometry)}).",
            "Compare labelmaps of the same scan; resample one of them to the other's grid if it is the same scan.",
        )
    wanted = common_structures(prediction, reference) if structures is None else structures
    if not any(_is_there(labelmap, s) for s in wanted for labelmap in (prediction, reference)):
        raise InputError(
            "evaluation-nothing-common",
            f"Neither {prediction.name} nor {reference.name} holds any of the structures to compare.",
            "Check the list of structures and their values.",
        )
    spacing = reference.geometry.spacing[::-1]
    rows = []
    for structure in wanted:
        reporter.check_cancelled()
        box = union_box([prediction.box_of(structure), reference.box_of(structure)])
        metrics = structure_metrics(
            prediction.mask(structure, box), reference.mask(structure, box), spacing, tolerance_mm
        )
        rows.append(EvaluationRow(case, structure.name, metrics))
    return rows


def _is_there(labelmap: Labelmap, structure: Structure) -> bool:
    return all(part.stop > part.start for part in labelmap.box_of(structure))


def describe_grid(geometry: Geometry) -> str:
    """A grid in words: size, spacing in mm, origin in LPS mm, orientation."""
    size = " x ".join(str(n) for n in geometry.size)
    spacing = " x ".join(f"{s:.4g}" for s in geometry.spacing)
    origin = ", ".join(f"{o:.1f}" for o in geometry.origin)
    return f"{size} voxels of {spacing} mm from {origin}, {geometry.axis_codes()}"

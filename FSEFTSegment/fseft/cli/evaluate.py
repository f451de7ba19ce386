"""``fseft evaluate``: predictions against references."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fseft.errors import InputError
from fseft.reporting import Reporter
from fseft.scan.reading import FILE_ENDINGS, stem_of
from fseft.structures import Structure, canonical_name

_BEFORE = ".before"
SUMMARY = "Score labelmaps: Dice, surface Dice, HD95 and volume error on the native grid."
EXAMPLES = """\
Folders are matched by file name without its ending; structures by name, or by label value.

Examples:
  fseft evaluate --prediction result.seg.nrrd --reference truth.nii.gz --labels dataset.json
  fseft evaluate --prediction results/ --reference labels/ --csv scores.csv --cases
  fseft evaluate --prediction results/ --reference labels/ --labels labels.json --structure liver"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--prediction", type=Path, required=True, help="a labelmap or a folder of them")
    parser.add_argument("--reference", type=Path, required=True, help="a labelmap or a folder of them")
    parser.add_argument("--labels", type=Path, help="JSON with names and values, for labelmaps without names")
    parser.add_argument(
        "--structure",
        action="append",
        metavar="NAME",
        help="one of --labels to score, repeated; default: all of them, also those that the model was not taught",
    )
    parser.add_argument("--tolerance", type=float, default=2.0, help="of the surface Dice, mm (default 2)")
    parser.add_argument("--cases", action="store_true", help="print every case, not only the means")
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--json", type=Path, help="also write the table as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    import dataclasses

    from fseft.jobs.evaluate_job import make_table
    from fseft.jobs.outputs import check_outputs, check_own
    from fseft.scan.segments import structures_from_json

    pairs = match_labelmaps(options.prediction, options.reference)
    check_own(options.csv, "CSV table")
    check_own(options.json, "JSON file")
    tables = [path for path in (options.csv, options.json) if path is not None]
    check_outputs(tables, [*(path for pair in pairs for path in pair), *([options.labels] if options.labels else [])])
    structures = _chosen(structures_from_json(options.labels) if options.labels else (), options.structure)
    table = make_table(
        {
            "pairs": [{"prediction": str(p), "reference": str(r)} for p, r in pairs],
            "structures": [dataclasses.asdict(structure) for structure in structures],
            "tolerance_mm": options.tolerance,
        },
        reporter,
    )
    print(table.to_text(options.cases))
    for path in tables:
        table.write(path)


def _chosen(structures: Sequence[Structure], names: Sequence[str] | None) -> Sequence[Structure]:
    """Those of the listed structures that were asked for, in the order of asking; all without names.

    Raises:
        InputError: "structure-unknown" for a name that the list does not have.
    """
    if names is None:
        return structures
    known = {canonical_name(structure.name): structure for structure in structures}
    for name in names:
        if canonical_name(name) not in known:
            listed = ", ".join(structure.name for structure in structures)
            raise InputError(
                "structure-unknown",
                f"Nothing says which label {name!r} is.",
                f"Choose from: {listed}." if listed else "Give a list of names and values with --labels.",
            )
    return [known[canonical_name(name)] for name in names]


def match_labelmaps(prediction: Path, reference: Path) -> list[tuple[Path, Path]]:
    """Pairs of labelmap files with the same stem.

    Raises:
        InputError: "evaluation-no-pairs" or "evaluation-unmatched".
    """
    if not prediction.is_dir() and not reference.is_dir():
        return [(prediction, reference)]
    if not (prediction.is_dir() and reference.is_dir()):
        raise InputError(
            "evaluation-no-pairs", "One of the two is a folder and the other is not.", "Give two files or two folders."
        )
    predictions, references = _by_stem(prediction), _by_stem(reference)
    for stem in list(predictions):
        # What refinement started from lies beside its result, and is not another case.
        if stem.endswith(_BEFORE) and stem.removesuffix(_BEFORE) in predictions and stem not in references:
            predictions.pop(stem)
    missing = sorted(set(predictions) - set(references))
    if missing:
        raise InputError(
            "evaluation-unmatched",
            f"There is no reference for: {', '.join(missing[:5])}.",
            "Name references like the predictions.",
        )
    return [(path, references[stem]) for stem, path in sorted(predictions.items())]


def _by_stem(folder: Path) -> dict[str, Path]:
    files = [f for f in folder.iterdir() if f.is_file() and not f.name.startswith(".")]
    return {stem_of(f): f for f in files if f.name.lower().endswith(tuple(FILE_ENDINGS))}

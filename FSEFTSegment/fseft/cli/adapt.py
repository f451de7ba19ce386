"""``fseft adapt``: learn structures from annotated scans."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fseft.cli.support_arguments import (
    SUPPORT_SET,
    add_support_arguments,
    add_training_arguments,
    training_parameters,
)
from fseft.cli.tables import count_of, print_table
from fseft.cli.validate import add_atlas_argument, print_validation
from fseft.reporting import Reporter

SUMMARY = "Make an adapted model from annotated scans."
EXAMPLES = f"""\
{SUPPORT_SET}

Examples:
  fseft adapt liver --case ct1.nii.gz liver1.seg.nrrd --structure liver=1
  fseft adapt organs --folder Dataset001/ --method spatial-adapter
  fseft adapt heart --csv cases.csv --sparse auto --output models/heart"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("name", help="name of the new model")
    add_support_arguments(parser)
    parser.add_argument(
        "--method",
        help="auto (best by leave-one-out), zero-shot, linear-probe, mlp-adapter or spatial-adapter (the default, but "
        "for --continue)",
    )
    add_training_arguments(parser)
    parser.add_argument("--validate", action="store_true", help="leave-one-out validation; always done with auto")
    add_atlas_argument(parser)
    parser.add_argument(
        "--continue", dest="previous", metavar="MODEL", help="go on from this model, with its method and few steps"
    )
    parser.add_argument("--output", type=Path, help="model folder; default: in the model library")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page about the model")
    parser.add_argument("--keep-existing", action="store_true", help="fail rather than replace a model of that name")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.jobs.job import Job
    from fseft.jobs.kinds import run_job

    result = run_job(Job("adapt", job_parameters(options)), reporter)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    rows = []
    for structure in result["structures"]:
        prior = result["priors"].get(structure["name"])
        expected = f"{prior['low_ml']:.1f} - {prior['high_ml']:.1f}" if prior else "-"
        curve = [v for v in result["training"]["structure_dice_loss"].get(structure["name"], []) if v is not None]
        rows.append([structure["name"], expected, f"{1 - curve[-1]:.2f}" if curve else "-"])
    print_table(["structure", "expected ml", "Dice in the last step"], rows)
    if result["validation"]:
        print()
        print_validation(result["validation"])
    print(f"Model {result['name']!r} ({result['method']}, {count_of(result['shots'], 'case')}) is in {result['model']}")


def job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The job that the command line asks for."""
    from fseft.cli.support_set import collect_support_set
    from fseft.models.description import check_name
    from fseft.models.library import find_model

    check_name(options.name)
    if options.previous is not None:
        find_model(options.previous)  # an empty name, of a variable that is not set, is no wish to start anew
    cases, structures = collect_support_set(options)
    # Whether to compare with the atlas is the job's to decide, unless it is told not to.
    without_atlas = {} if options.atlas else {"atlas": False}
    return {
        "name": options.name,
        "cases": cases,
        "structures": structures,
        "method": options.method,
        "validate": options.validate,
        "previous": options.previous,
        **without_atlas,
        **training_parameters(options),
        "output": None if options.output is None else str(options.output),
        "replace": not options.keep_existing,
        "report": None if options.report is None else str(options.report),
    }

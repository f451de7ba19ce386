"""``fseft validate``: how good a model of these annotations would be, and with which method."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from typing import Any

from fseft.cli.support_arguments import (
    SUPPORT_SET,
    add_support_arguments,
    add_training_arguments,
    training_parameters,
)
from fseft.cli.tables import print_table
from fseft.reporting import Reporter

SUMMARY = "Test methods on annotated scans, each without the scan it is tested on."
EXAMPLES = f"""\
{SUPPORT_SET}

No model is made. Every method learns from all scans but one and is scored on that one, in turn; with a single scan
slices are held out instead. Scores are of the backbone's grid. With several scans the row "atlas" says what their
annotations, carried over by registration, would reach on the scans' own grids; it is compared with, never chosen.

Examples:
  fseft validate --folder Dataset001/
  fseft validate --csv cases.csv --method linear-probe --method spatial-adapter --json
  fseft validate --folder Dataset001/ --method spatial-adapter --no-atlas"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_support_arguments(parser)
    parser.add_argument(
        "--method",
        action="append",
        help="a method to test, repeated; default, or auto: all that can learn these structures",
    )
    add_atlas_argument(parser)
    add_training_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_atlas_argument(parser: argparse.ArgumentParser) -> None:
    """Whether to compare with the atlas."""
    parser.add_argument(
        "--no-atlas",
        dest="atlas",
        action="store_false",
        help="do not compare with annotations carried over by registration, which takes about 5 s a pair of scans",
    )


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.cli.support_set import collect_support_set
    from fseft.jobs.job import Job
    from fseft.jobs.kinds import run_job

    cases, structures = collect_support_set(options)
    parameters = {
        "cases": cases,
        "structures": structures,
        # "auto" compares all of them, and so does this command when it is not told which.
        "methods": None if "auto" in (options.method or ()) else options.method,
        "atlas": options.atlas,
        **training_parameters(options),
    }
    result = run_job(Job("validate", parameters), reporter)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print_validation(result)


def print_validation(record: Mapping[str, Any]) -> None:
    """Print a validation's table, choice, verdict and advice."""
    table: Mapping[str, Mapping[str, Mapping[str, Any]]] = record["table"]
    rows = []
    for structure in dict.fromkeys(name for row in table.values() for name in row):
        for method, row in table.items():
            if structure in row:
                chosen = " (chosen)" if method == record["chosen"] else ""
                rows.append([structure, *_cells(row[structure]), method + chosen])
    print_table(["structure", "Dice", "surface Dice", "volume error ml", "held out", "method"], rows)
    print(f"{record['verdict']}\n{record['advice']}")
    if record.get("note"):
        print(record["note"])


def _cells(score: Mapping[str, Any]) -> list[str]:
    return [
        _spread(score["dice"], score["sd"], 3),
        _spread(score["surface_dice"], score.get("surface_sd"), 3),
        _spread(score["volume_error_ml"], score.get("volume_error_sd_ml"), 1),
        str(score["cases"]),
    ]


def _spread(mean: float | None, deviation: float | None, digits: int) -> str:
    if mean is None:
        return "-"
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")

"""``fseft adapt``: learn structures from annotated scans."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fseft.cli.tables import print_table
from fseft.errors import InputError
from fseft.reporting import Reporter

SUMMARY = "Make an adapted model from annotated scans."
EXAMPLES = """\
The support set comes from one of:
  --case SCAN ANNOTATION          pairs of files, repeated
  --folder FOLDER                 images/ and labels/, or an nnU-Net or MSD folder with dataset.json
  --csv FILE                      columns scan, annotation and optionally name, sparse, structures

Examples:
  fseft adapt liver --case ct1.nii.gz liver1.seg.nrrd --structure liver=1
  fseft adapt organs --folder Dataset001/ --method spatial-adapter
  fseft adapt heart --csv cases.csv --sparse auto --output models/heart"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("name", help="name of the new model")
    support = parser.add_mutually_exclusive_group()
    support.add_argument("--case", nargs=2, action="append", metavar=("SCAN", "ANNOTATION"), help="an annotated scan")
    support.add_argument("--folder", type=Path, help="a folder with annotated scans")
    support.add_argument("--csv", type=Path, help="a table of annotated scans")
    parser.add_argument(
        "--structure", action="append", metavar="NAME=VALUE", help="structure and its label value; default: all found"
    )
    parser.add_argument(
        "--sparse", choices=["no", "auto", "x", "y", "z"], help="only some slices are annotated, along this axis"
    )
    parser.add_argument(
        "--method",
        default="spatial-adapter",
        help="auto (best by leave-one-out), zero-shot, linear-probe, mlp-adapter or spatial-adapter (default)",
    )
    parser.add_argument("--backbone", default="fseft-mini")
    parser.add_argument("--protocol", choices=["default", "published"], default="default", help="training protocol")
    parser.add_argument("--setting", action="append", metavar="NAME=VALUE", help="override one number of the protocol")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
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
        expected = f"{prior['low_ml']:.1f} - {prior['high_ml']:.1f}" if prior else "unknown"
        curve = [v for v in result["training"]["structure_dice_loss"].get(structure["name"], []) if v is not None]
        rows.append([structure["name"], expected, f"{1 - curve[-1]:.2f}" if curve else "-"])
    print_table(["structure", "expected ml", "training Dice"], rows)
    print(f"Model {result['name']!r} ({result['method']}, {result['shots']} cases) is in {result['model']}")


def job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The job that the command line asks for."""
    from fseft.cli.support_set import collect_support_set

    cases, structures = collect_support_set(options)
    return {
        "name": options.name,
        "cases": cases,
        "structures": structures,
        "backbone": options.backbone,
        "method": options.method,
        "protocol": options.protocol,
        "settings": dict(_setting(text) for text in options.setting or []),
        "device": options.device,
        "seed": options.seed,
        "output": None if options.output is None else str(options.output),
        "replace": not options.keep_existing,
        "report": None if options.report is None else str(options.report),
    }


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as problem:
        if value and value.replace("-", "").isalpha():
            return name, value
        raise InputError("setting-invalid", f"{text!r} is not a setting.", "Write NAME=VALUE.") from problem

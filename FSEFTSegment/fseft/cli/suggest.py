"""``fseft suggest``: what to annotate next."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fseft.cli.outputs import complain_of_left_out
from fseft.cli.segment import scan_stem, scans_in
from fseft.cli.tables import print_table
from fseft.errors import InputError
from fseft.reporting import Reporter

SUMMARY = "Suggest which scan, structure and slices to annotate next."
EXAMPLES = """\
Scans are files (NIfTI, NRRD, MHA), DICOM folders, or --folder with several of either. Nothing is annotated or changed.

Examples:
  fseft suggest --folder scans/
  fseft suggest --folder scans/ --annotated scans/ct3.nii.gz scans/ct7.nii.gz --model my-model
  fseft suggest new.nii.gz --labelmap rough.nii.gz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "scans", nargs="*", type=Path, default=[], help="scan files or DICOM folders without annotation"
    )
    parser.add_argument("--folder", type=Path, help="every scan in this folder; annotated ones are left out")
    parser.add_argument("--annotated", nargs="+", type=Path, default=[], metavar="SCAN", help="scans with annotation")
    parser.add_argument("--model", help="adapted model whose uncertainty counts: a name in the library, or a folder")
    parser.add_argument("--labelmap", type=Path, help="a rough labelmap, where there is one scan: which slices first")
    parser.add_argument("--backbone", help="default: the model's, else fseft-mini")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.jobs.job import Job
    from fseft.jobs.kinds import run_job

    result = run_job(Job("suggest", job_parameters(options)), reporter)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        _print(result)
    complain_of_left_out(result["left_out"], len(result["ranking"]) + len(options.annotated))


def _print(result: dict[str, Any]) -> None:
    rows = [[entry["name"], f"{entry['score']:.2f}", entry["why"]] for entry in result["ranking"]]
    print_table(["annotate next", "score", "why"], rows)
    if result["limiting_structure"] is not None:
        print(result["limiting_structure"]["why"])
    if result["slices"] is not None:
        order = ", ".join(str(entry["k"]) for entry in result["slices"]["slices"])
        print(
            f"{result['slices']['name']}: {result['slices']['advice']} Slices along z, from 0, in this order: {order}"
        )


def job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The job that the command line asks for."""
    annotated = {path.resolve() for path in options.annotated}
    given = [*options.scans, *(scans_in(options.folder) if options.folder is not None else ())]
    # By its place on disk, so that a file that is named twice, or is annotated already, counts once.
    scans = list({path.resolve(): path for path in given if path.resolve() not in annotated}.values())
    if options.labelmap is not None and len(scans) != 1:
        raise InputError(
            "labelmap-one-scan", f"A rough labelmap belongs to one scan, not to {len(scans)}.", "Name that scan alone."
        )
    labelmap = None if options.labelmap is None else str(options.labelmap)
    return {
        "scans": [{"scan": str(path), "name": scan_stem(path), "labelmap": labelmap} for path in scans],
        "cases": [{"scan": str(path), "name": scan_stem(path)} for path in options.annotated],
        "model": options.model,
        "backbone": options.backbone,
        "device": options.device,
    }

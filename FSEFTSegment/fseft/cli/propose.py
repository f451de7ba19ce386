"""``fseft propose``: first drafts of annotations for new scans."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fseft.cli.outputs import check_replaced, complain_of_left_out, is_single_output
from fseft.cli.segment import scan_stem
from fseft.cli.support_arguments import SUPPORT_SET, add_support_arguments
from fseft.cli.tables import print_table
from fseft.errors import InputError
from fseft.reporting import Reporter

SUMMARY = "Propose annotations for new scans, to be corrected rather than drawn."
EXAMPLES = f"""\
{SUPPORT_SET}

Every annotated scan is registered to the new one and its annotation carried over; several vote. Nothing is learnt.
With --model an adapted model proposes instead.

Examples:
  fseft propose --case ct1.nii.gz seg1.seg.nrrd --scan ct2.nii.gz --output draft2.seg.nrrd
  fseft propose --folder annotated/ --scan ct7.nii.gz --scan ct8.nii.gz --output drafts/
  fseft propose --model my-model --scan ct7.nii.gz --output draft7.seg.nrrd"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_support_arguments(parser)
    parser.add_argument("--model", help="an adapted model that proposes instead: a name in the library, or a folder")
    parser.add_argument("--scan", type=Path, action="append", required=True, help="a scan file or DICOM folder")
    parser.add_argument("--series", help="DICOM series (UID or number), where a folder holds several")
    parser.add_argument("--output", type=Path, required=True, help="a labelmap file for one scan, else a folder")
    parser.add_argument("--format", choices=[".seg.nrrd", ".nii.gz", ".nrrd", ".mha"], default=".seg.nrrd")
    parser.add_argument("--overwrite", action="store_true", help="replace existing proposals")
    parser.add_argument("--device", default="auto", help="for --model: auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.jobs.job import Job
    from fseft.jobs.kinds import run_job

    result = run_job(Job("propose", job_parameters(options)), reporter)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        _print_proposals(result["scans"])
    complain_of_left_out(result["left_out"], len(result["scans"]))


def _print_proposals(scans: Sequence[dict[str, Any]]) -> None:
    for scan in scans:
        print(f"\n{scan['name']} -> {scan['output']}")
        rows = []
        for entry in scan["structures"]:
            votes = "-" if entry["votes"] is None else f"{entry['votes']} of {entry['of']}"
            agreement = "-" if entry["agreement"] is None else f"{entry['agreement']:.2f}"
            rows.append([entry["name"], f"{entry['volume_ml']:.1f}", votes, agreement])
        print_table(["structure", "ml", "votes", "agreement"], rows)
        for sentence in scan["failed"]:
            print(f"Not used: {sentence}")


def job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The job that the command line asks for."""
    scans = _scans(options)
    if options.model is not None:
        if options.case or options.folder or options.csv:
            raise InputError(
                "propose-two-ways",
                "Both a model and annotated scans are given, and only one of them can propose.",
                "Leave out --model, or the annotated scans.",
            )
        return {"method": "model", "model": options.model, "scans": scans, "device": options.device}
    from fseft.cli.support_set import collect_support_set

    cases, structures = collect_support_set(options)
    return {"method": "atlas", "cases": cases, "structures": structures, "scans": scans}


def _scans(options: argparse.Namespace) -> list[dict[str, Any]]:
    single = is_single_output(options.output, len(options.scan))
    entries = []
    for scan in options.scan:
        output = options.output if single else options.output / (scan_stem(scan) + options.format)
        check_replaced(output, [output], options.overwrite, options.scan)
        entries.append({"scan": str(scan), "output": str(output), "name": scan_stem(scan), "series": options.series})
    return entries

"""``fseft segment``: new scans with an adapted model."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fseft.cli.outputs import IMAGE_SUFFIXES, check_replaced, complain_of_left_out, is_single_output
from fseft.cli.support_arguments import add_sparse_argument
from fseft.cli.tables import print_table
from fseft.errors import InputError
from fseft.reporting import Reporter
from fseft.structures import canonical_name

SUMMARY = "Segment scans with an adapted model."
EXAMPLES = """\
Scans are files (NIfTI, NRRD, MHA), DICOM folders, or --folder with several of either.

Examples:
  fseft segment my-model ct.nii.gz --output result.seg.nrrd
  fseft segment my-model --folder new-scans/ --output results/ --format .nii.gz
  fseft segment my-model dicom-folder/ --output results/ --prior liver=1200..1800ml --refine default
  fseft segment my-model ct.nii.gz --output result.seg.nrrd --refine location --support annotated/ --sparse z"""

_PRIOR = re.compile(r"^(?P<name>.+)=\s*(?P<low>[\d.]+?)\s*\.\.\s*(?P<high>[\d.]+?)\s*(ml|cc|cm3)?$", re.IGNORECASE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("model", help="name in the library, or a model folder")
    parser.add_argument("scans", nargs="*", type=Path, default=[], help="scan files or DICOM folders")
    parser.add_argument("--folder", type=Path, help="segment every scan in this folder")
    parser.add_argument("--series", help="DICOM series (UID or number), where a folder holds several")
    parser.add_argument("--output", type=Path, required=True, help="a labelmap file for one scan, else a folder")
    parser.add_argument("--format", choices=[".seg.nrrd", ".nii.gz", ".nrrd", ".mha"], default=".seg.nrrd")
    parser.add_argument("--prior", action="append", metavar="NAME=LOW..HIGHml|preset", help="expected volume")
    parser.add_argument(
        "--refine",
        choices=["off", "default", "location", "paper"],
        default="off",
        help="'default' brings volumes that leave their expected range back towards it; 'location' carries the "
        "annotated scans of --support into the new one, about 5 s each; 'paper' is the published way, slow, and needs "
        "--support too",
    )
    parser.add_argument(
        "--support", type=Path, help="annotated scans for --refine: a folder or CSV as 'fseft adapt' takes them"
    )
    add_sparse_argument(parser, " of --support")
    parser.add_argument("--largest", action="store_true", help="keep only each structure's largest component")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page with volumes and slices")
    parser.add_argument("--overwrite", action="store_true", help="replace earlier results; scans and annotations never")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
    parser.add_argument("--json", action="store_true", help="print the reports as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.jobs.job import Job
    from fseft.jobs.kinds import run_job

    result = run_job(Job("segment", job_parameters(options)), reporter)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        _print_reports(result["scans"])
    complain_of_left_out(result["left_out"], len(result["scans"]))


def _print_reports(reports: Sequence[dict[str, Any]]) -> None:
    for report in reports:
        rows = []
        refined = any(entry["refinement"] for entry in report["structures"])
        for entry in report["structures"]:
            expected = "-" if entry["expected_ml"] is None else "{:.1f} - {:.1f}".format(*entry["expected_ml"])
            dice = entry["predicted_dice"]
            rows.append(
                [
                    entry["name"],
                    f"{entry['volume_ml']:.1f}",
                    expected,
                    *([_refined(entry["refinement"])] if refined else []),
                    "-" if dice is None else f"{dice['value']:.2f}",
                    "; ".join(entry["flags"]),
                    "; ".join(entry["notes"]),
                ]
            )
        print(f"\n{report['name']} -> {report['output']}  ({sum(report['seconds'].values()):.0f} s)")
        if report.get("flags"):
            print(f"Look at this scan: {'; '.join(report['flags'])}.")
        header = ["structure", "ml", "expected ml", *(["ml before"] if refined else []), "predicted Dice"]
        print_table([*header, "look at", "notes"], rows)


def _refined(outcome: dict[str, Any] | None) -> str:
    """The volume before refinement, or that nothing changed."""
    if outcome is None or not outcome["changed_ml"]:
        return "unchanged"
    return f"{outcome['before_ml']:.1f}"


def job_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The job that the command line asks for."""
    scans = list(options.scans)
    if options.folder is not None:
        scans += scans_in(options.folder)
    if not scans:
        raise InputError("no-scans", "There is no scan to segment.", "Name scans, or a folder with --folder.")
    single = is_single_output(options.output, len(scans))
    support = _support(options)
    given = [*scans, *(Path(case[part]) for case in support.get("cases", ()) for part in ("scan", "annotation"))]
    entries = []
    for scan in scans:
        output = options.output if single else options.output / (scan_stem(scan) + options.format)
        entry = {"scan": str(scan), "output": str(output), "name": scan_stem(scan), "series": options.series}
        written = [output]
        if options.refine != "off":
            name = scan_stem(output) if not output.name.lower().endswith(".seg.nrrd") else output.name[:-9]
            written.append(output.with_name(f"{name}.before{output.name[len(name) :]}"))
            entry["before"] = str(written[1])
        check_replaced(output, written, options.overwrite, given)
        entries.append(entry)
    return {
        "model": options.model,
        "scans": entries,
        "priors": _priors(options.prior or []),
        "keep_largest": options.largest,
        "refine": options.refine,
        "support": support,
        "report": None if options.report is None else str(options.report),
        "device": options.device,
    }


def scans_in(folder: Path) -> list[Path]:
    """Scan files of a folder, and its sub-folders taken as DICOM series.

    Raises:
        InputError: "folder-missing" or "no-scans".
    """
    if not folder.is_dir():
        raise InputError("folder-missing", f"There is no folder {folder}.", "Check the path.")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    # In a support set or a folder of phantoms scans lie below, beside labels, which are none.
    found = _image_files(folder) or _image_files(folder / "images") or [path for path in entries if path.is_dir()]
    if not found:
        raise InputError(
            "no-scans", f"{folder} holds no scan.", f"Known files: {', '.join(IMAGE_SUFFIXES)}, DICOM folders."
        )
    return found


def _image_files(folder: Path) -> list[Path]:
    """Files with an image's ending, by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in entries if path.is_file() and path.name.lower().endswith(IMAGE_SUFFIXES)]


def scan_stem(path: Path) -> str:
    """A scan's name without its suffixes."""
    for suffix in IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.resolve().name


def _support(options: argparse.Namespace) -> dict[str, Any]:
    from fseft.cli.support_set import collect_support_set

    if options.support is None:
        if options.sparse is not None:
            raise InputError(
                "sparse-without-support",
                "--sparse speaks of annotated scans, and none are given.",
                "Add --support, or leave --sparse out.",
            )
        return {}
    if options.refine == "off":
        raise InputError(
            "support-without-refinement",
            "Annotated scans are given, and without refinement nothing is done with them.",
            "Add --refine location or --refine default, or leave --support out.",
        )
    table = options.support.suffix.lower() == ".csv"
    chosen = {"folder": None if table else options.support, "csv": options.support if table else None}
    cases, structures = collect_support_set(
        argparse.Namespace(case=None, structure=None, sparse=options.sparse, **chosen)
    )
    # The model decides which structures count: what else these scans have is background, as when it was made.
    return {"cases": [{**case, "others": "background"} for case in cases], "structures": structures}


def _priors(texts: Sequence[str]) -> dict[str, dict[str, Any]]:
    priors: dict[str, dict[str, Any]] = {}
    for name, prior in map(_prior, texts):
        if canonical_name(name) in map(canonical_name, priors):
            raise InputError("prior-twice", f"Two volumes are given for {name!r}.", "Give one range a structure.")
        priors[name] = prior
    return priors


def _prior(text: str) -> tuple[str, dict[str, Any]]:
    text = text.strip()
    if text.endswith("=preset"):
        return text.removesuffix("=preset"), {"preset": True}
    match = _PRIOR.match(text)
    try:
        if match is None:
            raise ValueError(text)
        return match["name"], {"low_ml": float(match["low"]), "high_ml": float(match["high"])}
    except ValueError as problem:
        raise InputError(
            "prior-invalid",
            f"{text!r} is not a range of volumes in ml.",
            "Write two numbers and two dots, for example --prior liver=1200..1800ml.",
        ) from problem

"""Where a command may write: one labelmap or a folder of them, and what `--overwrite` may replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.errors import InputError

#: Endings of files that hold a scan or a labelmap.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")

#: Endings of what is easily taken for a labelmap or a report.
_OTHER_FILES = frozenset((".txt", ".csv", ".json", ".html", ".htm", ".png", ".jpg", ".pdf", ".dcm", ".gz", ".zip"))


def complain_of_left_out(left_out: Sequence[Mapping[str, Any]], used: int) -> None:
    """End a command that could not use all scans as one that failed, after it has told what it did.

    Args:
        left_out: as a job's result has them.
        used: how many scans could be used.

    Raises:
        InputError: "scans-left-out".
    """
    names = [str(entry["name"]) for entry in left_out]
    if names:
        raise InputError(
            "scans-left-out",
            f"{len(names)} of {used + len(names)} scans could not be used: {', '.join(names)}.",
            "The results of the others are whole; the warnings tell what is wrong with these.",
        )


def check_replaced(output: Path, written: Sequence[Path], overwrite: bool, given: Sequence[Path]) -> None:
    """Refuse to replace what is there without being told to, and annotations and scans even then.

    What was given to this very run is left to the job, which says so.

    Raises:
        InputError: "output-exists", or "output-not-a-result" for a file without a result's report beside it.
    """
    from fseft.segmentation.report import report_path  # brings torch along

    report = report_path(output)
    for path in written:
        if not path.exists():
            continue
        if not overwrite:
            raise InputError("output-exists", f"{path} already exists.", "Add --overwrite, or choose another output.")
        if not report.exists() and path.resolve() not in {other.resolve() for other in given}:
            raise InputError(
                "output-not-a-result",
                f"{path} is no earlier result: {report.name} does not lie beside it.",
                "It may be a scan or an annotation. Choose another output, or move that file away yourself.",
            )


def is_single_output(output: Path, scans: int) -> bool:
    """Whether ``--output`` names one labelmap, and not a folder for as many as there are scans.

    Raises:
        InputError: "output-not-a-folder" when one labelmap is named for several scans.
    """
    names_file = output.name.lower().endswith(IMAGE_SUFFIXES) and not output.is_dir()
    if not names_file and not output.is_dir() and output.suffix.lower() in _OTHER_FILES:
        raise InputError(
            "output-format",
            f"{output.name!r} is not the name of a labelmap, nor of a folder.",
            f"Give it one of these endings: .seg.nrrd, {', '.join(IMAGE_SUFFIXES[:3])}, .mha; or none for a folder.",
        )
    if names_file and scans > 1:
        raise InputError(
            "output-not-a-folder",
            f"{output.name!r} names one labelmap, and there are {scans} scans.",
            "Name a folder; --format chooses the kind of file.",
        )
    return names_file

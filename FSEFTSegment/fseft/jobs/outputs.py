"""What a job may write: every output a file of its own, none that was given, and all of them writable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fseft.adaptation.adapt import CaseFiles
from fseft.errors import InputError
from fseft.files import require_writable
from fseft.scan.writing import checked_ending
from fseft.segmentation.report import report_path
from fseft.segmentation.segment import Query

_ENDINGS = {"page": (".html", ".htm"), "CSV table": (".csv",), "JSON file": (".json",)}


def outputs_of(query: Query) -> list[Path]:
    """Every file that segmenting a scan may write: the labelmap, its report, the labelmap before refinement.

    Raises:
        InputError: "output-format" for a labelmap in a format that is not written.
    """
    labelmaps = [query.output, *([query.before] if query.before is not None else [])]
    for path in labelmaps:
        checked_ending(path)
    return [*labelmaps, report_path(query.output)]


def check_ending(path: str | Path | None, kind: str) -> None:
    """Refuse an output whose name is not one of its kind: it would take the place of whatever has that name.

    Args:
        path: of the output; None is right.
        kind: "page", "CSV table" or "JSON file".

    Raises:
        InputError: "output-ending".
    """
    endings = _ENDINGS[kind]
    if path is not None and Path(path).suffix.lower() not in endings:
        raise InputError(
            "output-ending",
            f"A {kind} would be written to {Path(path).name!r}, which is not the name of one.",
            f"Give it a name that ends in {endings[0]}.",
        )


def files_of(cases: Iterable[CaseFiles]) -> list[Path]:
    """Scans and annotations of support cases."""
    return [path for case in cases for path in (case.scan, case.annotation)]


def check_outputs(outputs: Sequence[Path], given: Iterable[Path]) -> None:
    """Refuse outputs that meet each other, overwrite what was given, or cannot be written, before any work is done.

    Paths are compared as the file system resolves them: another spelling or a link is the same file.

    Args:
        outputs: every file that will be written.
        given: scans, annotations and labelmaps that are read.

    Raises:
        InputError: "output-twice" or "output-is-input".
        ResourceError: "disk-full" or "cannot-write".
    """
    read = {_place(path) for path in given}
    seen: set[str] = set()
    for output in outputs:
        place = _place(output)
        if place in read:
            raise InputError(
                "output-is-input",
                f"The result would overwrite {output.name!r}, which was given.",
                "Choose another output.",
            )
        if place in seen:
            raise InputError(
                "output-twice",
                f"Two results would be written to {output.name!r}.",
                "Give every result a file name of its own.",
            )
        seen.add(place)
    for output in outputs:
        require_writable(output)


def _place(path: Path) -> str:
    return os.path.normcase(os.path.realpath(path))

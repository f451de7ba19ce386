"""What a job may write: every output a file of its own, none that was given, and all of them writable."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fseft.adaptation.adapt import CaseFiles
from fseft.errors import InputError
from fseft.evaluation.table import CSV_START, JSON_FORMAT
from fseft.files import require_writable
from fseft.report.html import GENERATOR
from fseft.scan.writing import checked_ending
from fseft.segmentation.report import report_path
from fseft.segmentation.segment import Query


@dataclass(frozen=True)
class _Kind:
    """Files of one kind: how their names end, and what is in the first bytes of those that FSEFT wrote."""

    endings: tuple[str, ...]
    mark: str


_KINDS = {
    "page": _Kind((".html", ".htm"), GENERATOR),
    "CSV table": _Kind((".csv",), CSV_START),
    "JSON file": _Kind((".json",), f'"format": "{JSON_FORMAT}"'),
}
_FIRST_BYTES = 4096


def outputs_of(query: Query) -> list[Path]:
    """Every file that segmenting a scan may write: the labelmap, its report, the labelmap before refinement.

    Raises:
        InputError: "output-format" for a labelmap in a format that is not written.
    """
    labelmaps = [query.output, *([query.before] if query.before is not None else [])]
    for path in labelmaps:
        checked_ending(path)
    return [*labelmaps, report_path(query.output)]


def check_own(path: str | Path | None, kind: str) -> None:
    """Refuse an output that would take the place of a file that is none of FSEFT's, whatever it is.

    Args:
        path: of the output; None is right.
        kind: "page", "CSV table" or "JSON file".

    Raises:
        InputError: "output-ending", or "output-not-a-result".
    """
    if path is None:
        return
    path, known = Path(path), _KINDS[kind]
    if path.suffix.lower() not in known.endings:
        raise InputError(
            "output-ending",
            f"A {kind} would be written to {path.name!r}, which is not the name of one.",
            f"Give it a name that ends in {known.endings[0]}.",
        )
    if path.is_file() and known.mark not in _beginning(path):
        raise InputError(
            "output-not-a-result",
            f"{path} is no earlier {kind} of FSEFT.",
            "Choose another name, or move that file away yourself.",
        )


def _beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(_FIRST_BYTES).decode("utf-8", "replace")


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

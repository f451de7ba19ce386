"""Support cases as the atlas needs them: a coarse scan to register and labels to carry, no feature volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fseft.adaptation.adapt import CaseFiles
from fseft.errors import InputError
from fseft.location.between_slices import filled_between
from fseft.location.coarse import CoarseScan, coarse_scan
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import Annotation, SparseSlices, read_annotation
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.structures import Structure

_AXES: dict[str, Literal["auto", 0, 1, 2]] = {"auto": "auto", "x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class Placed:
    """A scan reduced to what registration and propagation need.

    Attributes:
        coarse: the body on a coarse grid.
        geometry: the scan's own grid.
        key: identity of its content, see :attr:`fseft.scan.scan.Scan.content_key`.
    """

    coarse: CoarseScan
    geometry: Geometry
    key: str

    @classmethod
    def of_scan(cls, scan: Scan) -> Placed:
        """Reduce a scan; its voxels can be forgotten afterwards."""
        return cls(coarse_scan(scan), scan.geometry, scan.content_key)


@dataclass(frozen=True)
class AtlasCase:
    """An annotated scan whose annotation can be carried to a query.

    Attributes:
        placed: the scan.
        annotation: to carry; between slices that were drawn it may be filled in.
        drawn: bool mask that broadcasts to (z, y, x): what was drawn by hand, which alone may be called true. None
            = everywhere.
    """

    placed: Placed
    annotation: Annotation
    drawn: np.ndarray | None = None


def load_atlas_cases(
    cases: Sequence[CaseFiles], structures: Sequence[Structure], reporter: Reporter = SILENT
) -> list[AtlasCase]:
    """Read a support set, one scan in memory at a time; its labels stay.

    Args:
        cases: the support set.
        structures: what to carry; labels of other structures are handled as the case says.
        reporter: hears phase "cases".

    Raises:
        InputError: for unusable scans or annotations; "scan-twice" when two cases hold the same scan.
    """
    loaded: list[AtlasCase] = []
    for number, files in enumerate(cases):
        reporter.progress("cases", number, len(cases), files.name)
        reporter.check_cancelled()
        scan = read_scan(files.scan, name=files.name, reporter=reporter)
        if any(other.placed.key == scan.content_key for other in loaded):
            raise InputError(
                "scan-twice",
                f"{files.name!r} is the same scan as another case.",
                "Keep one of them: a scan that counts twice outvotes the others.",
            )
        wanted = [s for s in structures if files.structures is None or s.name in files.structures]
        others = files.others if files.structures is None else "background"
        annotation = read_annotation(files.annotation, scan, wanted, _sparse(files.sparse), reporter, others)
        filled = filled_between(_compact(annotation), scan.geometry)
        loaded.append(AtlasCase(Placed.of_scan(scan), filled, annotation.annotated))
    reporter.progress("cases", len(cases), max(1, len(cases)))
    return loaded


def _sparse(text: str) -> SparseSlices | None:
    if text == "no":
        return None
    if text not in _AXES:
        raise InputError(
            "sparse-axis-unknown", f"{text!r} is not a way to annotate slices.", "Use no, auto, x, y or z."
        )
    return SparseSlices(axis=_AXES[text])


def _compact(annotation: Annotation) -> Annotation:
    """Labels in one byte where that is enough: all cases' labels are in memory together."""
    highest = int(annotation.labels.max(initial=0))
    labels = annotation.labels.astype(np.uint8) if highest <= 255 else annotation.labels
    return Annotation(labels, annotation.structures, annotation.annotated)

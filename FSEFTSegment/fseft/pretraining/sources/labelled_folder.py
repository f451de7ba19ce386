"""Real scans: a folder of ``<case>_ct.nii.gz``, ``<case>_seg.nii.gz`` and ``<case>.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.location.registration import REGISTRATION_VERSION
from fseft.preprocessing.grid import NetworkGrid, make_grid
from fseft.preprocessing.intensity import AIR_HU
from fseft.pretraining.cases import VERSION, PreparedCase, case_folder, is_prepared, read_case, write_case
from fseft.pretraining.registered_frame import registered_coordinates
from fseft.pretraining.sources.source import Preparation, Selection
from fseft.scan.reading import read_scan, read_volume
from fseft.scan.scan import Scan

_CT, _LABELS, _NOTES = "_ct.nii.gz", "_seg.nii.gz", ".json"


@dataclass(frozen=True)
class LabelledFolder:
    """A folder of labelled scans.

    Attributes:
        folder: holds for every case the scan, the labelmap and a JSON file with ``labels`` (name to value) and
            optionally ``usable_labels`` (names).
        selection: which labels may be used.
        cases: names of the cases to take; None takes all.
        weight: relative share of crops.
        template: a case of the folder to which all others are registered, so that every voxel's place in the body is
            known; its labels have to give a canonical frame. "" leaves it at landmarks.
    """

    folder: Path
    selection: Selection = field(default_factory=Selection)
    cases: tuple[str, ...] | None = None
    weight: float = 1.0
    template: str = ""

    @property
    def description(self) -> str:
        """One line without the folder's path."""
        count = "all" if self.cases is None else str(len(self.cases))
        only = "+".join(self.selection.only) or "all labels"
        without = f" without {'+'.join(self.selection.left_out)}" if self.selection.left_out else ""
        placed = ", registered to one of them" if self.template else ""
        return f"labelled folder, {count} cases, {only}{without}{placed}, weight {self.weight:g}"

    def preparations(self, specification: BackboneSpecification) -> list[Preparation]:
        """The folder's cases, see :meth:`cases_of_folder`."""
        return list(self.cases_of_folder(specification))

    def cases_of_folder(self, specification: BackboneSpecification) -> list[FolderCase]:
        """The folder's cases.

        Raises:
            InputError: "pretraining-source-empty", "pretraining-case-missing", "pretraining-case-invalid".
        """
        if not self.folder.is_dir():
            raise InputError(
                "pretraining-source-empty", f"There is no folder {self.folder.name!r} to learn from.", "Check the path."
            )
        found = sorted(path.name[: -len(_CT)] for path in self.folder.glob(f"*{_CT}"))
        wanted = found if self.cases is None else list(self.cases)
        if not wanted:
            raise InputError(
                "pretraining-source-empty",
                f"The folder {self.folder.name!r} holds no scan that ends in {_CT}.",
                f"Name scans <case>{_CT}, labelmaps <case>{_LABELS} and label names <case>{_NOTES}.",
            )
        cases = [self._preparation(name, specification) for name in wanted]
        if not self.template:
            return cases
        template = self._preparation(self.template, specification)
        return [case if case.name == template.name else replace(case, template=template) for case in cases]

    def _preparation(self, name: str, specification: BackboneSpecification) -> FolderCase:
        for ending in (_CT, _LABELS, _NOTES):
            if not (self.folder / f"{name}{ending}").is_file():
                raise InputError(
                    "pretraining-case-missing",
                    f"The case {name!r} has no file {name}{ending}.",
                    "Add the file, or leave the case out of the list of cases.",
                )
        labels, usable = _read_notes(self.folder / f"{name}{_NOTES}")
        used, left_out = self.selection.split(labels, usable)
        values = tuple(labels[entry] for entry in used)
        return FolderCase(self.folder, name, tuple(used), values, tuple(left_out), specification)


@dataclass(frozen=True)
class FolderCase:
    """One case of a folder, to be resampled once."""

    source: Path
    name: str
    structures: tuple[str, ...]
    values: tuple[int, ...]
    left_out: tuple[str, ...]
    specification: BackboneSpecification
    template: FolderCase | None = None

    def needs(self) -> tuple[Preparation, ...]:
        """The template, if there is one."""
        return () if self.template is None else (self.template,)

    def folder(self, work: Path) -> Path:
        """By the files' identity, the labels in use, the grid and the template."""
        files = [(self.source / f"{self.name}{ending}").stat() for ending in (_CT, _LABELS)]
        identity = [
            VERSION,
            str((self.source / self.name).resolve()),
            [(file.st_size, file.st_mtime_ns) for file in files],
            [self.structures, self.values, self.left_out],
            [self.specification.spacing_mm, self.specification.patch, self.specification.window_multiple],
        ]
        if self.template is not None:
            identity.append([self.template.folder(work).name, REGISTRATION_VERSION])
        return case_folder(work, identity)

    def run(self, work: Path) -> PreparedCase:
        """Resample scan and labels to the network grid."""
        folder = self.folder(work)
        if is_prepared(folder):
            return read_case(folder)
        scan = read_scan(self.source / f"{self.name}{_CT}")
        original, geometry, _ = read_volume(self.source / f"{self.name}{_LABELS}")
        if not geometry.same_grid(scan.geometry):
            raise InputError(
                "pretraining-labels-other-grid",
                f"The labels of {self.name!r} are not on the grid of their scan.",
                "Resample the labelmap to the scan.",
            )
        table = np.zeros(max(int(original.max()), *self.values, 0) + 1, dtype=np.uint16)
        table[list(self.values)] = np.arange(1, len(self.values) + 1)
        grid = make_grid(scan, self.specification)
        labels = grid.labels_to_network(_forget(original, table), tuple(range(1, len(self.values) + 1)))
        hounsfield = grid.to_network(scan.hounsfield, self.specification.antialias, AIR_HU)
        spacing = self.specification.spacing_mm
        places = None if self.template is None else self._places(scan, grid, self.template, work)
        return write_case(folder, hounsfield, labels, self.structures, self.left_out, spacing, places)

    def _places(self, scan: Scan, grid: NetworkGrid, template: FolderCase, work: Path) -> np.ndarray | None:
        """Coordinates in the template's frame; None where the registration was refused, landmarks serve then."""
        frame = template.run(work).frame
        if frame is None:
            raise InputError(
                "pretraining-template-invalid",
                f"The template {template.name!r} has no canonical frame.",
                "Choose a case with both parotid glands labelled, or with one and the brain stem.",
            )
        placed = read_scan(template.source / f"{template.name}{_CT}")
        return registered_coordinates(scan, grid, placed, make_grid(placed, self.specification), frame)


def _forget(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Values in use renumbered, all others background."""
    result: np.ndarray = table[labels.astype(np.int64)]
    return result


def _read_notes(path: Path) -> tuple[dict[str, int], list[str] | None]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        labels = {str(name): int(value) for name, value in content["labels"].items()}
        usable = content.get("usable_labels")
        if any(value < 1 for value in labels.values()):
            raise ValueError("label values start at 1")
        return labels, None if usable is None else [str(name) for name in usable]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise InputError(
            "pretraining-case-invalid",
            f"{path.name} does not tell the labels: {problem}.",
            'Write {"labels": {"liver": 1, ...}}.',
        ) from problem


def listed_cases(path: Path, key: str) -> tuple[str, ...]:
    """Names of cases under ``key`` of a JSON file of splits.

    Raises:
        InputError: "pretraining-splits-invalid".
    """
    try:
        names = json.loads(path.read_text(encoding="utf-8"))[key]
        if not isinstance(names, list):
            raise ValueError(f"{key!r} is not a list")
        return tuple(str(name) for name in names)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise InputError(
            "pretraining-splits-invalid",
            f"{path.name} does not list cases under {key!r}.",
            'Write {"pretraining": ["case1", "case2"]}.',
        ) from problem

"""Synthetic scans from the shapes of real labels: anatomy as it is, recombined and bent, in any appearance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.phantom.appearance import Appearance
from fseft.pretraining.cases import VERSION, PreparedCase, case_folder, is_prepared, open_case, read_case, write_case
from fseft.pretraining.sources.labelled_folder import FolderCase, LabelledFolder
from fseft.pretraining.sources.source import Preparation, draw_appearance, draw_field
from fseft.pretraining.synthesis import Anatomy, synthesise


@dataclass(frozen=True)
class LabelShapes:
    """Synthetic scans of a folder's anatomies.

    Attributes:
        folder: whose labels give the shapes; its selection and weight are this source's.
        count: how many.
        seed: of the first.
        randomised: share with an appearance far beyond what CT looks like.
    """

    folder: LabelledFolder
    count: int = 40
    seed: int = 0
    randomised: float = 0.4

    @property
    def weight(self) -> float:
        """Relative share of crops."""
        return self.folder.weight

    @property
    def description(self) -> str:
        """One line without the folder's path."""
        return f"{self.count} synthetic scans from the shapes of a {self.folder.description}"

    def preparations(self, specification: BackboneSpecification) -> list[Preparation]:
        """The synthetic scans; every one has an anatomy of the folder, and some organs of another.

        Raises:
            InputError: "pretraining-bad-count", or as the folder does.
        """
        if self.count < 1:
            raise InputError("pretraining-bad-count", f"{self.count} scans cannot be made.", "Ask for 1 or more.")
        patients = tuple(self.folder.cases_of_folder(specification))
        cases: list[Preparation] = []
        for seed in range(self.seed, self.seed + self.count):
            draw = np.random.default_rng((seed, 2))
            appearance = draw_appearance(self.randomised, draw)
            base, donor = (patients[int(number)] for number in draw.integers(len(patients), size=2))
            size = draw_field(specification.spacing_mm, draw)
            cases.append(_ShapesCase(base, donor, seed, appearance, size))
        return cases


@dataclass(frozen=True)
class _ShapesCase:
    """One synthetic scan to be made."""

    base: FolderCase
    donor: FolderCase
    seed: int
    appearance: Appearance
    size: tuple[int, int, int]

    def needs(self) -> tuple[Preparation, ...]:
        """The two anatomies on the network grid."""
        return (self.base, self.donor)

    def folder(self, work: Path) -> Path:
        """By the two anatomies and all that is drawn."""
        anatomies = [self.base.folder(work).name, self.donor.folder(work).name]
        identity = [VERSION, "shapes", anatomies, self.seed, self.appearance, self.size]
        return case_folder(work, identity)

    def run(self, work: Path) -> PreparedCase:
        """Make the scan."""
        folder = self.folder(work)
        if is_prepared(folder):
            return read_case(folder)
        spacing = self.base.specification.spacing_mm
        donor = None if self.donor is self.base else _anatomy(self.donor, work)
        made = synthesise(_anatomy(self.base, work), donor, spacing, self.size, self.appearance, self.seed)
        return write_case(folder, made.hounsfield, made.labels, self.base.structures, self.base.left_out, spacing)


def _anatomy(case: FolderCase, work: Path) -> Anatomy:
    arrays = open_case(read_case(case.folder(work)))
    return Anatomy(arrays.hounsfield, arrays.labels, case.structures)

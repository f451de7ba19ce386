"""Synthetic scans: complete labels and dense coordinates, in appearances real and beyond."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.phantom import STRUCTURES, make_phantom
from fseft.phantom.appearance import Appearance
from fseft.phantom.frame import REGIONS
from fseft.phantom.tissues import LABEL_OF_TISSUE
from fseft.preprocessing.grid import make_grid
from fseft.preprocessing.intensity import AIR_HU
from fseft.pretraining.cases import (
    COORDINATE_STRIDE,
    VERSION,
    PreparedCase,
    case_folder,
    is_prepared,
    read_case,
    write_case,
)
from fseft.pretraining.landmarks import canonical_of_body
from fseft.pretraining.sources.source import Preparation, Selection, draw_appearance, draw_field

#: Structures that are painted; "bone" is there in its parts only.
_PAINTED = frozenset(int(value) for value in np.unique(LABEL_OF_TISSUE))
_THINNED = (slice(None, None, COORDINATE_STRIDE),) * 3


@dataclass(frozen=True)
class Phantoms:
    """Phantoms of one region, each with its own field of view.

    Attributes:
        region: see :func:`fseft.phantom.make_phantom`.
        count: how many.
        seed: of the first.
        randomised: share with an appearance far beyond what CT looks like.
        selection: which structures may be used.
        weight: relative share of crops.
    """

    region: str
    count: int = 40
    seed: int = 0
    randomised: float = 0.4
    selection: Selection = field(default_factory=Selection)
    weight: float = 1.0

    @property
    def description(self) -> str:
        """One line."""
        without = f" without {'+'.join(self.selection.left_out)}" if self.selection.left_out else ""
        return f"phantoms, {self.count} of {self.region}{without}, weight {self.weight:g}"

    def preparations(self, specification: BackboneSpecification) -> list[Preparation]:
        """The phantoms.

        Raises:
            InputError: "phantom-unknown-region", "phantom-bad-count".
        """
        if self.region not in REGIONS:
            raise InputError(
                "phantom-unknown-region",
                f"There is no region {self.region!r}.",
                f"Choose one of {', '.join(REGIONS)}.",
            )
        if self.count < 1:
            raise InputError("phantom-bad-count", f"{self.count} phantoms cannot be made.", "Ask for 1 or more.")
        used, left_out = self.selection.split(s.name for s in STRUCTURES if s.value in _PAINTED)
        cases: list[Preparation] = []
        for seed in range(self.seed, self.seed + self.count):
            draw = np.random.default_rng((seed, 1))
            appearance = draw_appearance(self.randomised, draw)
            size = draw_field(specification.spacing_mm, draw)
            cases.append(_PhantomCase(self.region, seed, appearance, size, tuple(used), tuple(left_out), specification))
        return cases


@dataclass(frozen=True)
class _PhantomCase:
    """One phantom to be made."""

    region: str
    seed: int
    appearance: Appearance
    size: tuple[int, int, int]
    structures: tuple[str, ...]
    left_out: tuple[str, ...]
    specification: BackboneSpecification

    def needs(self) -> tuple[Preparation, ...]:
        """Nothing."""
        return ()

    def folder(self, work: Path) -> Path:
        """By all that decides the phantom."""
        identity = [
            VERSION,
            [self.region, self.seed, self.appearance, self.size, self.structures],
            [self.specification.spacing_mm, self.specification.patch, self.specification.window_multiple],
        ]
        return case_folder(work, identity)

    def run(self, work: Path) -> PreparedCase:
        """Make the phantom at the network's spacing."""
        folder = self.folder(work)
        if is_prepared(folder):
            return read_case(folder)
        spacing = self.specification.spacing_mm
        phantom = make_phantom(self.seed, self.region, spacing, self.size, self.appearance, with_coordinates=True)
        assert phantom.coordinates is not None
        values = {structure.name: structure.value for structure in STRUCTURES}
        table = np.zeros(len(STRUCTURES) + 1, dtype=np.uint16)
        table[[values[name] for name in self.structures]] = np.arange(1, len(self.structures) + 1)
        grid = make_grid(phantom.scan, self.specification)
        canonical = canonical_of_body(phantom.coordinates)
        return write_case(
            folder,
            grid.to_network(phantom.scan.hounsfield, self.specification.antialias, AIR_HU),
            grid.labels_to_network(table[phantom.labels], tuple(range(1, len(self.structures) + 1))),
            self.structures,
            self.left_out,
            spacing,
            np.stack([grid.to_network(canonical[..., axis], False, 0.0)[_THINNED] for axis in range(3)], axis=-1),
        )

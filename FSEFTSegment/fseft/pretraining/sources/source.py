"""What a source of training cases offers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fseft.backbones.specification import BackboneSpecification
from fseft.phantom.appearance import Appearance
from fseft.pretraining.cases import PreparedCase
from fseft.structures import canonical_name

_FIELDS_MM = (140.0, 320.0)


class Preparation(Protocol):
    """One case to be made; picklable, so that other processes can make it."""

    def needs(self) -> Sequence[Preparation]:
        """Cases that have to be there before this one is made."""

    def folder(self, work: Path) -> Path:
        """Where the case goes under the work folder; the same content has the same place."""

    def run(self, work: Path) -> PreparedCase:
        """Make the case."""


class Source(Protocol):
    """A collection of cases with one way of labelling."""

    @property
    def weight(self) -> float:
        """The share of crops that come from it, relative to the other sources."""

    @property
    def description(self) -> str:
        """One line for the record of the run, without paths."""

    def preparations(self, specification: BackboneSpecification) -> list[Preparation]:
        """All cases; raises InputError where the source cannot be used."""


@dataclass(frozen=True)
class Selection:
    """Which label names of a source may be used.

    Attributes:
        only: the allowed names; empty allows all.
        left_out: forbidden names.
    """

    only: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def split(self, names: Iterable[str], usable: Iterable[str] | None = None) -> tuple[list[str], list[str]]:
        """Names in use and names left out, in their order; spelling does not matter.

        Args:
            names: what a case labels.
            usable: what of it its makers call usable; None means all.
        """
        only = {canonical_name(name) for name in self.only}
        forbidden = {canonical_name(name) for name in self.left_out}
        fit = None if usable is None else {canonical_name(name) for name in usable}
        used: list[str] = []
        rest: list[str] = []
        for name in names:
            plain = canonical_name(name)
            allowed = (not only or plain in only) and plain not in forbidden and (fit is None or plain in fit)
            (used if allowed else rest).append(name)
        return used, rest


def draw_appearance(randomised: float, draw: np.random.Generator) -> Appearance:
    """How a synthetic scan looks: a share of them like no CT at all."""
    return "randomised" if draw.random() < randomised else "realistic"


def draw_field(spacing_mm: Sequence[float], draw: np.random.Generator) -> tuple[int, int, int]:
    """A synthetic scan's field of view in voxels (x, y, z), 14 to 32 cm along each axis."""
    edges = draw.uniform(*_FIELDS_MM, 3) / spacing_mm
    return (int(edges[0]), int(edges[1]), int(edges[2]))

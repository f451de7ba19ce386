"""The method ``atlas``: annotations of support scans carried to a query, and what they agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fseft.location.cache import RegistrationCache
from fseft.location.carried import carry_structure
from fseft.location.propagation import Carrier
from fseft.location.registration import Registration, register_coarse
from fseft.location.support import AtlasCase, Placed
from fseft.location.vote import threshold_of
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.structures import Structure

#: A case's weight is its refined correlation to this power: 0.9 against 0.8 is about 3 against 2.
WEIGHT_POWER = 4.0


@dataclass(frozen=True)
class StructureProposal:
    """How one structure's proposal came about.

    Attributes:
        name: the structure's.
        votes: cases that carried the structure into the query.
        of: cases that registered and annotate the structure.
        agreement: mean Dice between the cases' own propagated structures, 0..1; None with fewer than two votes.
        volume_ml: of the proposal.
    """

    name: str
    votes: int
    of: int
    agreement: float | None
    volume_ml: float


@dataclass(frozen=True)
class Proposal:
    """A proposed annotation of a query.

    Attributes:
        labels: (z, y, x) on the query's own grid with the structures' own values; uint8 when 255 is enough, else
            uint16; 0 = background.
        structures: one record per structure, in the order asked for.
        failed: one sentence per case that could not be used, without file names.
        used: cases that registered.
    """

    labels: np.ndarray
    structures: list[StructureProposal]
    failed: list[str] = field(default_factory=list)
    used: int = 0


def propose(
    query: Placed,
    cases: Sequence[AtlasCase],
    structures: Sequence[Structure],
    reporter: Reporter = SILENT,
    cache: RegistrationCache | None = None,
) -> Proposal:
    """Register every case to the query and vote.

    Args:
        query: the scan to propose an annotation for; a case with the same scan is left out.
        cases: the support set.
        structures: what to propose.
        reporter: hears phase "registration".
        cache: where registrations are kept; by default beside the feature volumes.

    Returns:
        The proposal; empty with ``used == 0`` when no case registered.

    Raises:
        Cancelled: between iterations of a registration, or between structures.
    """
    carriers, weights, failed = register_all(query, cases, reporter, cache)
    labels, records = combine(query.geometry, carriers, weights, structures, reporter)
    return Proposal(labels, records, failed, len(carriers))


def register_all(
    query: Placed, cases: Sequence[AtlasCase], reporter: Reporter = SILENT, cache: RegistrationCache | None = None
) -> tuple[list[Carrier], list[float], list[str]]:
    """Register every case to the query.

    Args:
        query: see :func:`propose`.
        cases: the support set.
        reporter: hears phase "registration".
        cache: see :func:`propose`.

    Returns:
        Of the cases that registered their carriers and weights, of the others one sentence each.
    """
    cache = cache or RegistrationCache()
    carriers, weights, failed = [], [], []
    for number, case in enumerate(cases):
        inner = OneOfMany(reporter, number, len(cases))
        inner.progress("registration", 0, 1, f"case {number + 1} of {len(cases)}")
        if case.placed.key == query.key:
            failed.append(f"Case {number + 1}: it is the scan itself.")
            continue
        found = registration_of(query, case.placed, inner, cache)
        if found.failure:
            failed.append(f"Case {number + 1}: {found.failure}.")
            continue
        carriers.append(Carrier(case.annotation, case.placed.geometry, query.geometry, found))
        weights.append(max(found.refined_correlation, 0.05) ** WEIGHT_POWER)
    reporter.progress("registration", len(cases), max(1, len(cases)))
    return carriers, weights, failed


def registration_of(
    query: Placed, support: Placed, reporter: Reporter = SILENT, cache: RegistrationCache | None = None
) -> Registration:
    """A registration from the cache, or made and kept there."""
    cache = cache or RegistrationCache()
    found = cache.read(query.key, support.key)
    if found is None:
        found = register_coarse(query.coarse, support.coarse, reporter)
        cache.write(query.key, support.key, found)
    return found


def combine(
    grid: Geometry,
    carriers: Sequence[Carrier],
    weights: Sequence[float],
    structures: Sequence[Structure],
    reporter: Reporter = SILENT,
) -> tuple[np.ndarray, list[StructureProposal]]:
    """Carry structure by structure and vote, see :mod:`fseft.location.vote`.

    Memory holds one structure's box per case, and two arrays of the query's size.
    """
    highest = max((s.value for s in structures), default=0)
    labels = np.zeros(grid.array_shape, dtype=np.uint8 if highest <= 255 else np.uint16)
    best = np.zeros(grid.array_shape, dtype=np.float16)
    raw: list[tuple[int, int, float | None]] = []
    for structure in structures:
        reporter.check_cancelled()
        raw.append(_propose_one(structure, carriers, weights, labels, best))
    sizes = np.bincount(labels.ravel(), minlength=highest + 1) if labels.size else np.zeros(highest + 1)
    records = [
        StructureProposal(s.name, votes, of, agreement, float(sizes[s.value]) * grid.voxel_volume_ml)
        for s, (votes, of, agreement) in zip(structures, raw, strict=True)
    ]
    return labels, records


def _propose_one(
    structure: Structure,
    carriers: Sequence[Carrier],
    weights: Sequence[float],
    labels: np.ndarray,
    best: np.ndarray,
) -> tuple[int, int, float | None]:
    """Write one structure into ``labels`` and its shares into ``best``; returns votes, of, agreement."""
    carried = carry_structure(structure.name, carriers, weights)
    if carried.share is None or carried.box is None:
        return 0, carried.of, None
    share, box = carried.share, carried.box
    taken = (share >= threshold_of(share, carried.expected_voxels)) & (share > best[box])
    labels[box][taken] = structure.value
    best[box][taken] = share[taken]
    return carried.votes, carried.of, carried.agreement


class OneOfMany(Reporter):
    """One part's progress as part of all of them: of registrations to a scan, or of scans registered to."""

    def __init__(self, outer: Reporter, number: int, count: int) -> None:
        self.outer, self.number, self.count = outer, number, count
        self.detail = f"case {number + 1} of {count}"

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        self.outer.progress(phase, self.number + done / max(total, 1e-9), self.count, self.detail)

    def log(self, message: str, level: str = "info") -> None:
        self.outer.log(message, level)

    def check_cancelled(self) -> None:
        self.outer.check_cancelled()

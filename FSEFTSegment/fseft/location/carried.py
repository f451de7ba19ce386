"""One structure as all registered cases carry it into a query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fseft.location.propagation import Box, Carrier, union
from fseft.location.vote import agreement_of, weighted_share


@dataclass(frozen=True)
class Carried:
    """A structure's votes in a query.

    Attributes:
        of: cases that registered and annotate the structure.
        voters: those of them that carried it into the query, each with the structure's label in its annotation.
        box: the part of the query's grid (z, y, x) that can hold it; None without votes.
        share: (z, y, x) float32 of the box, weighted share of votes, 0..1; None without votes.
        knowing: (z, y, x) float32 of the box, how many voters show and know each voxel; None without votes.
        expected_voxels: weighted mean of the voters' volumes, in voxels *that the query shows*: of an organ that the
            scan cuts, the part inside.
        agreement: mean Dice between voters; None with fewer than two.
    """

    of: int
    voters: tuple[tuple[Carrier, int], ...] = ()
    box: Box | None = None
    share: np.ndarray | None = None
    knowing: np.ndarray | None = None
    expected_voxels: float = 0.0
    agreement: float | None = None

    @property
    def votes(self) -> int:
        """How many voters."""
        return len(self.voters)


def carry_structure(name: str, carriers: Sequence[Carrier], weights: Sequence[float]) -> Carried:
    """Carry one structure along every registration and count votes, see :mod:`fseft.location.vote`.

    Args:
        name: the structure's, as the annotations declare it.
        carriers, weights: of the cases that registered.
    """
    able, values, own = [], [], []
    for carrier, weight in zip(carriers, weights, strict=True):
        value = {s.name: s.value for s in carrier.annotation.structures}.get(name)
        if value is not None:
            able.append(carrier)
            values.append(value)
            own.append(weight)
    boxes = [box for c, value in zip(able, values, strict=True) if (box := c.box_of(value)) is not None]
    if not boxes:
        return Carried(len(able))
    box = union(boxes)
    carried = [carrier.carry(value, box) for carrier, value in zip(able, values, strict=True)]
    covers, knowns = [c for c, _ in carried], [k for _, k in carried]
    sizes = [int(np.count_nonzero((c >= 0.5) & (k > 0))) for c, k in carried]
    voters = [i for i, size in enumerate(sizes) if size]
    # A case that does not show the place cannot say how large the structure is.
    if not voters:
        return Carried(len(able))
    expected = float(np.average([sizes[i] for i in voters], weights=[own[i] for i in voters]))
    agreement = agreement_of([covers[i] for i in voters], [knowns[i] for i in voters])
    share, knowing = weighted_share(covers, knowns, own), np.sum([knowns[i] for i in voters], axis=0)
    return Carried(len(able), tuple((able[i], values[i]) for i in voters), box, share, knowing, expected, agreement)

"""How several propagated annotations become one.

* Every case's vote at a voxel is how much of the voxel its structure covers, 0..1, weighted by how well the case
  registered; a case that does not know a voxel (not annotated there, or not in its scan) has no vote.
* **Majority:** a voxel with at least half of the weighted votes belongs to the structure; a tie of two cases counts
  for the structure, because a proposal is corrected more easily by erasing than by finding what is missing.
* **Minority:** where the cases miss each other, a majority keeps less than any of them shows, and of thin structures
  nothing. While the structure stays smaller than the cases' mean volume, voxels with fewer votes are added in order
  of their votes, down to :data:`LEAST_SHARE`.
* Where two structures claim a voxel, the one with more votes has it, on a tie the earlier one in the list.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAJORITY = 0.5
LEAST_SHARE = 0.3
#: Interpolated coverages of one half are rarely exactly that.
ROUNDING = 1e-4


def weighted_share(covers: Sequence[np.ndarray], knowns: Sequence[np.ndarray], weights: Sequence[float]) -> np.ndarray:
    """Weighted mean of the cases' coverage over the cases that know a voxel; 0 where none does.

    Args:
        covers: per case, how much of each voxel is the structure, 0..1.
        knowns: per case, how much of each voxel it knows, 0..1; same shapes.
        weights: per case, above 0.
    """
    total = np.zeros_like(covers[0], dtype=np.float32)
    votes = np.zeros_like(total)
    for cover, known, weight in zip(covers, knowns, weights, strict=True):
        total += np.float32(weight) * known
        votes += np.float32(weight) * known * cover
    share: np.ndarray = np.divide(votes, total, out=np.zeros_like(votes), where=total > 1e-6)
    return share


def threshold_of(share: np.ndarray, expected_voxels: float, least: float = LEAST_SHARE) -> float:
    """The share from which on a voxel belongs to the structure, see the module's documentation.

    Args:
        share: as :func:`weighted_share` gives it.
        expected_voxels: weighted mean number of voxels of the cases' own propagated structures.
        least: the share that a voxel needs however small the structure is.
    """
    majority = MAJORITY - ROUNDING
    if np.count_nonzero(share >= majority) >= expected_voxels:
        return majority
    candidates = np.sort(share[share >= least - ROUNDING])[::-1]
    if candidates.size <= expected_voxels:
        return least - ROUNDING
    return min(majority, float(candidates[max(0, int(np.ceil(expected_voxels)) - 1)]))


def agreement_of(covers: Sequence[np.ndarray], knowns: Sequence[np.ndarray]) -> float | None:
    """Mean Dice of all pairs of cases over the voxels that both know; None when there is no pair to compare."""
    figures = []
    masks = [(cover >= MAJORITY) & (known > 0) for cover, known in zip(covers, knowns, strict=True)]
    for later in range(len(masks)):
        for earlier in range(later):
            both = (knowns[later] > 0) & (knowns[earlier] > 0)
            first, second = masks[earlier] & both, masks[later] & both
            size = int(first.sum()) + int(second.sum())
            if size:
                figures.append(2.0 * int((first & second).sum()) / size)
    return float(np.mean(figures)) if figures else None

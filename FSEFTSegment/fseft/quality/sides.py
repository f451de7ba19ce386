"""Whether left and right of a pair may have been swapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fseft.features.volume import FeatureVolume
from fseft.structures import canonical_name

SWAPPED_FLAG = "left and right may be swapped"
MARGIN_MM = 10.0  # both of a pair this far on one side of the midline are not left and right; patients lie askew


def side_flags(centres: Mapping[str, Sequence[float]], body_centre_x: float) -> dict[str, str]:
    """Flags of paired structures that lie on the same side of the body or the wrong way round.

    Args:
        centres: (x, y, z) centres of the structures that were found, LPS mm: x grows to the patient's left.
        body_centre_x: of the body's midline, LPS mm, see :func:`body_centre_x`.

    Returns:
        :data:`SWAPPED_FLAG` by structure name, for both of a pair; structures without a partner are not judged.
    """
    flags: dict[str, str] = {}
    for right, left in side_pairs(list(centres)):
        of_right, of_left = float(centres[right][0]), float(centres[left][0])
        same_side = min(of_right, of_left) > body_centre_x + MARGIN_MM
        same_side |= max(of_right, of_left) < body_centre_x - MARGIN_MM
        if of_right >= of_left or same_side:
            flags[right] = flags[left] = SWAPPED_FLAG
    return flags


def side_pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names that are the right and the left of one thing, as (right, left), however they are spelt."""
    by_canonical = {canonical_name(name): name for name in names}
    pairs = []
    for canonical, name in by_canonical.items():
        side, _, rest = canonical.partition(" ")
        other = by_canonical.get(f"left {rest}")
        if side == "right" and rest and other is not None:
            pairs.append((name, other))
    return pairs


def body_centre_x(features: FeatureVolume) -> float:
    """The body's midline: the median over its slices of the middle between its right and left outline, LPS mm."""
    grid = features.grid
    across = np.asarray(features.body.any(axis=1))  # (x, z)
    slices = np.flatnonzero(across.any(axis=0))
    if not slices.size:
        slices, across = np.arange(grid.shape[2]), np.ones(across.shape, dtype=bool)
    first = across.argmax(axis=0)[slices]
    last = across.shape[0] - 1 - across[::-1].argmax(axis=0)[slices]
    used_y = np.flatnonzero(features.body.any(axis=(0, 2)))
    middle = [
        float(np.median((first + last) / 2)),
        float(used_y[[0, -1]].mean()) if used_y.size else (grid.shape[1] - 1) / 2,
        float(slices[[0, -1]].mean()),
    ]
    index = np.zeros(3)
    for axis, position in zip(grid.axes, middle, strict=True):
        # An axis (z, y, x) of the array is index axis 2 - it.
        index[2 - axis.scan_axis] = axis.first + (-1.0 if axis.flipped else 1.0) * axis.ratio * position
    return float(grid.geometry.to_world(index[None])[0, 0])

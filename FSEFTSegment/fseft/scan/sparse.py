"""Annotations on some slices only: which voxels count, and how to notice that an annotation is of that kind.

How such an annotation is read: the user went through the scan, drew every structure completely on every n-th slice
from the first slice that shows one to the last, and left the slices in between alone. So

- a slice that holds any label is annotated, all of it: its unlabelled voxels are background;
- slices in between are not annotated;
- slices beyond the first or last annotated one count as background once they are further away than the
  distance between annotated slices; nearer ones may still hold the end of a structure and are not annotated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fseft.errors import AnnotationError
from fseft.reporting import SILENT, Reporter
from fseft.structures import Structure

_AXIS_NAMES = ("x", "y", "z")
#: Share of drawn slices, from the first to the last, above which none count as skipped.
_SKIPPED = 0.6


@dataclass(frozen=True)
class SparseSlices:
    """How an annotation on some slices was made.

    Attributes:
        axis: index axis (0 = x, 1 = y, 2 = z) across the annotated slices, or "auto" to find it in the labels.
        annotated: indices of slices that were looked at and count even when they hold no label; None for no more
            than those with labels.
    """

    axis: Literal["auto", 0, 1, 2] = "auto"
    annotated: tuple[int, ...] | None = None


def looks_sparse(labels: np.ndarray) -> int | None:
    """The index axis (0 = x, 1 = y, 2 = z) along which only every n-th slice holds labels, or None.

    Meant for a warning, so it wants at least three annotated slices, almost none of them neighbours.

    Args:
        labels: (z, y, x), 0 = background.
    """
    return _sparse_axis(labels, fewest=3)


def annotated_mask(
    labels: np.ndarray, sparse: SparseSlices, structures: Sequence[Structure] = (), reporter: Reporter = SILENT
) -> np.ndarray:
    """Which voxels count, as a bool mask that broadcasts to ``labels``.

    Args:
        labels: (z, y, x) with at least one label.
        sparse: how the annotation was made.
        structures: for the warning about structures that were drawn on other slices than the rest.
        reporter: hears that warning.

    Returns:
        A bool array of shape (z, 1, 1), (1, y, 1) or (1, 1, x).

    Raises:
        AnnotationError: "annotation-not-sparse" when no axis can be found, "annotation-sparse-axis" when slices were
            clearly skipped along another one, "annotation-slices" for indices outside the scan.
    """
    axis = _sparse_axis(labels, fewest=1) if sparse.axis == "auto" else sparse.axis
    if axis is None:
        raise AnnotationError(
            "annotation-not-sparse",
            "The labels fill neighbouring slices along every axis, so nobody can tell which slices were skipped.",
            "Give the axis, x, y or z, or treat the annotation as complete.",
        )
    array_axis = 2 - axis
    count = labels.shape[array_axis]
    drawn = _slices_with_labels(labels > 0, array_axis)
    if sparse.axis != "auto":
        _check_axis(labels, axis, drawn)
    listed = sparse.annotated or ()
    outside = [i for i in listed if not 0 <= i < count]
    if outside:
        raise AnnotationError(
            "annotation-slices",
            f"Slice {outside[0]} is outside the scan, which has slices 0 to {count - 1} along {_AXIS_NAMES[axis]}.",
            "Correct the list of annotated slices.",
        )
    chosen = np.union1d(drawn, np.asarray(listed, dtype=int))
    _warn_other_slices(labels, array_axis, chosen, structures, reporter)
    mask = np.zeros(count, dtype=bool)
    mask[chosen] = True
    gap = _usual_gap(chosen)
    if gap is not None:
        mask[: max(0, int(chosen[0]) - gap)] = True
        mask[int(chosen[-1]) + gap + 1 :] = True
    shape = [1, 1, 1]
    shape[array_axis] = count
    return mask.reshape(shape)


def _check_axis(labels: np.ndarray, axis: int, drawn: np.ndarray) -> None:
    """Refuse an axis along which hardly a slice was skipped when they clearly were along another one."""
    seen = looks_sparse(labels)
    if seen not in (None, axis) and len(drawn) > _SKIPPED * (drawn[-1] - drawn[0] + 1):
        raise AnnotationError(
            "annotation-sparse-axis",
            f"Slices were skipped along {_AXIS_NAMES[seen]}, it seems, and not along {_AXIS_NAMES[axis]}.",
            f"Give {_AXIS_NAMES[seen]} as the axis of this annotation.",
        )


def _slices_with_labels(there: np.ndarray, array_axis: int) -> np.ndarray:
    others = tuple(a for a in range(3) if a != array_axis)
    return np.flatnonzero(there.any(axis=others))


def _usual_gap(chosen: np.ndarray) -> int | None:
    """The largest distance of neighbouring annotated slices, leaving out jumps from one structure to the next."""
    if len(chosen) < 2:
        return None
    gaps = np.diff(chosen)
    return int(gaps[gaps <= 3 * np.median(gaps)].max())


def _sparse_axis(labels: np.ndarray, fewest: int) -> int | None:
    there = labels > 0
    best: tuple[float, int] | None = None
    for array_axis in range(3):
        drawn = _slices_with_labels(there, array_axis)
        if len(drawn) < fewest or labels.shape[array_axis] < 2:
            continue
        if len(drawn) == 1:
            share = 1.0  # a single slice: taken when no axis shows a pattern of several
        else:
            share = len(drawn) / float(drawn[-1] - drawn[0] + 1)
            if share > _SKIPPED or float((np.diff(drawn) >= 2).mean()) < 0.8:
                continue
        if best is None or share < best[0]:
            best = (share, 2 - array_axis)
    return None if best is None else best[1]


def _warn_other_slices(
    labels: np.ndarray, array_axis: int, chosen: np.ndarray, structures: Sequence[Structure], reporter: Reporter
) -> None:
    """Structures drawn on alternating slices teach each other's slices as background: worth a word."""
    for structure in structures:
        own = _slices_with_labels(labels == structure.value, array_axis)
        if len(own) == 0:
            continue
        between = chosen[(chosen >= own[0]) & (chosen <= own[-1])]
        empty = len(between) - len(np.intersect1d(between, own))
        if empty > 0.2 * len(between):
            reporter.log(
                f"{structure.name} is not drawn on {empty} of the {len(between)} annotated slices between its first"
                " and its last; it counts as absent there. Draw all structures on the same slices.",
                "warning",
            )

"""Which slices of a scan to annotate first, when not every slice can be."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fseft.scan.geometry import Geometry

#: Distance of annotated slices, in mm, that is enough to start with.
START_MM = 20.0
#: A structure gets at least so many slices however short it is.
FEWEST = 5


@dataclass(frozen=True)
class SliceToAnnotate:
    """One slice.

    Attributes:
        k: index in the scan's own slice direction, 0-based.
        position_mm: position of its centre along the nearest patient axis, towards left, posterior or superior.
        why: "spread" or "shape changes".
    """

    k: int
    position_mm: float
    why: str


@dataclass(frozen=True)
class SliceAdvice:
    """Slices in the order to annotate them.

    Attributes:
        direction: what ``position_mm`` grows towards: "L", "P" or "S".
        slices: the first to annotate first.
        advice: one sentence.
    """

    direction: str
    slices: tuple[SliceToAnnotate, ...]
    advice: str

    def as_json(self) -> dict[str, Any]:
        """Ready for a job's result."""
        return {**asdict(self), "slices": [asdict(entry) for entry in self.slices]}


def advise_slices(
    geometry: Geometry, body: tuple[int, int], labels: np.ndarray | None = None, count: int | None = None
) -> SliceAdvice:
    """Slices to annotate first.

    With a rough labelmap: slices spread evenly from the structure's first slice to its last, then half as many again
    where its outline changes most between annotated slices. Without one: every n-th slice of the body.

    Args:
        geometry: the scan's.
        body: first slice with body and the one after the last, as :func:`fseft.preprocessing.body.find_body` gives.
        labels: (z, y, x), non-zero where the structures roughly are.
        count: slices to spread; by default about one in 20 mm, at least five.

    Returns:
        The advice; body slices when the labelmap is empty.
    """
    spacing = geometry.spacing[2]
    used = np.empty(0, dtype=int) if labels is None else np.flatnonzero(labels.any(axis=(1, 2)))
    if labels is None or not used.size:
        every = max(1, round(START_MM / spacing))
        chosen = list(range(min(body[0] + every // 2, body[1] - 1), body[1], every))
        text = f"Annotate every {_ordinal(every)} slice of the body ({every * spacing:.3g} mm)."
        return _advice(geometry, chosen, [], text)
    first, last = int(used[0]), int(used[-1])
    wanted = count or max(FEWEST, round((last - first) * spacing / START_MM) + 1)
    spread = _spread(first, last, wanted)
    extra = _where_shape_changes(labels, spread, -(-len(spread) // 2))
    text = f"Annotate {len(spread)} slices spread over the structure"
    return _advice(geometry, spread, extra, text + (", then those where its shape changes most." if extra else "."))


def _spread(first: int, last: int, count: int) -> list[int]:
    """Evenly from first to last, ends included, the middle of what is left first so that stopping early is no loss."""
    even = sorted({int(k) for k in np.rint(np.linspace(first, last, min(count, last - first + 1)))})
    order = [even[len(even) // 2]]
    while len(order) < len(even):
        order.append(max((k for k in even if k not in order), key=lambda k: min(abs(k - other) for other in order)))
    return order


def _where_shape_changes(labels: np.ndarray, chosen: list[int], count: int) -> list[int]:
    """Split, again and again, the gap between chosen slices in which the outline changes most, at half its change."""
    marks = sorted(chosen)
    first, last = marks[0], marks[-1]
    part = labels[first : last + 1]
    step = (part[1:] != part[:-1]).sum(axis=(1, 2)).astype(float)  # change from slice to slice, in voxels
    path = np.concatenate([[0.0], np.cumsum(step)])
    extra: list[int] = []
    for _ in range(count):
        gaps = [(path[b - first] - path[a - first], a, b) for a, b in pairwise(marks) if b - a > 1]
        change, a, b = max(gaps, default=(0.0, 0, 0))
        if change <= 0:
            break
        inner = np.arange(a + 1, b)
        half = (path[a - first] + path[b - first]) / 2
        extra.append(int(inner[np.argmin(np.abs(path[inner - first] - half))]))
        marks = sorted([*marks, extra[-1]])
    return extra


def _advice(geometry: Geometry, spread: list[int], extra: list[int], text: str) -> SliceAdvice:
    axes, _ = geometry.nearest_axes()
    centre = [(geometry.size[0] - 1) / 2, (geometry.size[1] - 1) / 2]
    entries = [(k, "spread") for k in spread] + [(k, "shape changes") for k in extra]
    world = geometry.to_world(np.array([[*centre, k] for k, _ in entries])) if entries else np.zeros((0, 3))
    slices = tuple(
        SliceToAnnotate(k, round(float(position[axes[2]]), 2), why)
        for (k, why), position in zip(entries, world, strict=True)
    )
    return SliceAdvice("LPS"[axes[2]], slices, text)


def _ordinal(number: int) -> str:
    suffix = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{suffix}"

"""In which order to annotate scans: unlike what is annotated already, and where the model is unsure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ranked:
    """A scan worth annotating.

    Attributes:
        name: the scan's.
        score: 1 for the first, falling; comparable within one ranking only.
        why: one sentence.
    """

    name: str
    score: float
    why: str


def rank_scans(
    candidates: Mapping[str, np.ndarray],
    annotated: Mapping[str, np.ndarray],
    uncertainty: Mapping[str, float] | None = None,
) -> list[Ranked]:
    """Order scans so that annotating the first n is a good choice for every n.

    With nothing annotated, the medoid comes first: the scan nearest to all others. Each next scan is the one farthest
    from its nearest neighbour among those annotated or ranked before it (farthest-first traversal), in a space of
    feature statistics standardised over all scans. With uncertainties, half of the score is distance and half is
    uncertainty, each as a share of its largest value.

    Args:
        candidates: feature statistics of the scans without annotation, by name.
        annotated: the same of the annotated scans.
        uncertainty: of the model on each candidate, 0..1.

    Returns:
        All candidates, the first to annotate first.
    """
    names, known = list(candidates), list(annotated)
    points = _standardised([*candidates.values(), *annotated.values()])
    distance = np.sqrt(((points[: len(names), None] - points[None]) ** 2).mean(axis=2))
    ranking: list[Ranked] = []
    left = list(range(len(names)))
    taken = [len(names) + position for position in range(len(known))]
    labels = [*names, *known]
    if left and not taken:
        first = min(left, key=lambda i: float(distance[i, : len(names)].sum()))
        ranking.append(Ranked(names[first], 1.0, _why_first(names)))
        left.remove(first)
        taken.append(first)
    doubt = _share([(uncertainty or {}).get(name, 0.0) for name in names])
    scale = max((float(distance[i, taken].min()) for i in left), default=0.0) or 1.0
    while left:
        novelty = {i: float(distance[i, taken].min()) / scale for i in left}
        value = {i: novelty[i] if uncertainty is None else (novelty[i] + doubt[i]) / 2 for i in left}
        best = max(left, key=lambda i: value[i])
        nearest = labels[taken[int(np.argmin(distance[best, taken]))]]
        why = _why(novelty[best], nearest, None if uncertainty is None else (doubt[best], uncertainty[names[best]]))
        ranking.append(Ranked(names[best], round(value[best], 4), why))
        left.remove(best)
        taken.append(best)
    return ranking


def _standardised(statistics: Sequence[np.ndarray]) -> np.ndarray:
    """Zero mean and unit deviation per number over the scans; numbers that never differ are left out."""
    points = np.stack(statistics) if statistics else np.zeros((0, 1))
    spread = points.std(axis=0) if len(points) else np.zeros(points.shape[1])
    varying = spread > 1e-9
    if not varying.any():
        return np.zeros((len(points), 1))
    standardised: np.ndarray = (points[:, varying] - points[:, varying].mean(axis=0)) / spread[varying]
    return standardised


def _share(values: Sequence[float]) -> list[float]:
    largest = max(values, default=0.0)
    return [value / largest if largest > 0 else 0.0 for value in values]


def _why_first(names: Sequence[str]) -> str:
    if len(names) == 1:
        return "It is the only scan there is."
    return f"It is the most typical of the {len(names)} scans."


def _why(novelty: float, nearest: str, doubt: tuple[float, float] | None) -> str:
    if novelty >= 0.8:
        likeness = f"It differs most from the scans chosen so far (the nearest is {nearest})"
    elif novelty >= 0.4:
        likeness = f"It differs clearly from the scans chosen so far (the nearest is {nearest})"
    else:
        likeness = f"It is much like {nearest}"
    if doubt is None:
        return f"{likeness}."
    share, entropy = doubt
    certainty = "is least sure here" if share >= 0.95 else "is unsure here" if share >= 0.6 else "is fairly sure here"
    return f"{likeness}, and the model {certainty} ({entropy:.2f} bits around its structures)."

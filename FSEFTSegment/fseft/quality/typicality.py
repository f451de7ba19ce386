"""Whether a scan looks to the backbone like those that a model has learnt from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fseft.features.volume import FeatureVolume
from fseft.suggestion.statistics import feature_statistics

UNLIKE_FLAG = "unlike the annotated scans"
#: Distance from which one annotated scan alone calls another unlike. In the bundled backbone's features nine
#: head-and-neck planning CTs lie at most 0.29 from each other, scans of the head alone 0.46 and more from all of them,
#: of the torso 0.42 and more; without what is above the parotids the same scans are 0.24 to 0.51 away.
DEFAULT_THRESHOLD = 0.35
LEAST_THRESHOLD = 0.3  # however alike the annotated scans are: a planning CT may be 0.18 from its nearest neighbour
SPREAD_FACTOR = 2.0  # times the largest distance of an annotated scan from its nearest neighbour among them
_LEAST_DEVIATION = 1e-3  # of a channel; a dead one must not decide


def support_statistics(support: Sequence[FeatureVolume]) -> dict[str, Any]:
    """What a model keeps of its support set's features: two numbers per channel and case, no voxel, no identity.

    Args:
        support: feature volumes of the annotated scans.

    Returns:
        JSON-ready: ``cases``, means and then standard deviations over the body of the coarsest level's channels for
        each case, and ``threshold``, the distance from which a scan is unlike them; empty without cases.
    """
    cases = [np.array([float(f"{v:.4g}") for v in feature_statistics(features)]) for features in support]
    if not cases:
        return {}
    threshold = DEFAULT_THRESHOLD
    if len(cases) > 1:
        nearest = [min(_distance(a, b) for b in cases if b is not a) for a in cases]
        threshold = max(LEAST_THRESHOLD, SPREAD_FACTOR * max(nearest))
    return {"cases": [case.tolist() for case in cases], "threshold": round(threshold, 4)}


def unlike(statistics: Mapping[str, Any], features: FeatureVolume) -> float:
    """Distance of a scan from the most similar annotated scan, as a multiple of the threshold.

    Args:
        statistics: what :func:`support_statistics` gave.
        features: the scan's.

    Returns:
        0 for an annotated scan itself, above 1 for a scan to be flagged with :data:`UNLIKE_FLAG`; nan when a model
        has no statistics or they are of another backbone.
    """
    query = feature_statistics(features)
    cases = [np.asarray(case, dtype=np.float64) for case in statistics.get("cases") or []]
    if not cases or any(case.shape != query.shape for case in cases):
        return math.nan
    return min(_distance(query, case) for case in cases) / float(statistics["threshold"])


def _distance(query: np.ndarray, case: np.ndarray) -> float:
    """Root mean square over channels of the shift of the mean, in deviations of the case, and of the log ratio of
    deviations: both have no unit, so one annotated scan is enough to measure in."""
    channels = query.size // 2
    deviations = np.maximum(case[channels:], _LEAST_DEVIATION)
    shift = (query[:channels] - case[:channels]) / deviations
    ratio = np.log(np.maximum(query[channels:], _LEAST_DEVIATION) / deviations)
    return float(np.sqrt((shift**2 + ratio**2).mean()))

"""Size priors from the support annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fseft.models.adapted_model import SizePrior

#: The paper's margin around the mean volume (section 3.4).
MARGIN = 0.3
#: From this many cases on, sizes outside median +- one standard deviation are dropped (section 4.2).
OUTLIER_CASES = 5


def prior_from_volumes(volumes_ml: Sequence[float]) -> SizePrior | None:
    """The default prior from whole annotated structures: the paper's, never narrower than the volumes seen.

    Args:
        volumes_ml: volumes of completely annotated, uncut structures.

    Returns:
        The mean with the published margin, widened to the volumes kept; None without a volume.
    """
    published = published_prior(volumes_ml)
    if published is None:
        return None
    kept = _without_outliers(np.asarray(published.volumes_ml))
    low, high = min(published.low_ml, float(kept.min())), max(published.high_ml, float(kept.max()))
    return replace(published, low_ml=low, high_ml=high)


def published_prior(volumes_ml: Sequence[float]) -> SizePrior | None:
    """The paper's size prior, to the letter (sections 3.4 and 4.2).

    S is the mean volume; from five cases on, after dropping volumes further than one standard deviation (of the
    population) from the median. The range is (1 - g) S to (1 + g) S with g = 0.3.

    Args:
        volumes_ml: volumes of completely annotated, uncut structures.

    Returns:
        The prior; None without a volume.
    """
    volumes = np.asarray([volume for volume in volumes_ml if volume > 0], dtype=float)
    if volumes.size == 0:
        return None
    mean = float(_without_outliers(volumes).mean())
    noun = "case" if volumes.size == 1 else "cases"
    source = f"{volumes.size} annotated {noun}"
    return SizePrior(mean, mean * (1 - MARGIN), mean * (1 + MARGIN), source, tuple(float(v) for v in volumes))


def _without_outliers(volumes: np.ndarray) -> np.ndarray:
    if volumes.size < OUTLIER_CASES:
        return volumes
    inside = np.abs(volumes - np.median(volumes)) <= volumes.std()
    kept: np.ndarray = volumes[inside] if inside.any() else volumes
    return kept

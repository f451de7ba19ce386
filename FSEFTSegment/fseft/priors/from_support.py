"""Size priors from the support annotations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fseft.models.adapted_model import SizePrior

#: The paper's margin around the mean volume (section 3.4).
MARGIN = 0.3
#: From this many cases on, sizes outside median +- one standard deviation are dropped (section 4.2).
OUTLIER_CASES = 5


def prior_from_volumes(volumes_ml: Sequence[float]) -> SizePrior | None:
    """Prior from whole annotated structures (paper, section 3.4).

    Args:
        volumes_ml: volumes of completely annotated, uncut structures.

    Returns:
        The mean with the published margin, widened to the volumes seen; None without a volume.
    """
    volumes = np.asarray([volume for volume in volumes_ml if volume > 0], dtype=float)
    if volumes.size == 0:
        return None
    kept = volumes
    if volumes.size >= OUTLIER_CASES:
        inside = np.abs(volumes - np.median(volumes)) <= volumes.std()
        kept = volumes[inside] if inside.any() else volumes
    mean = float(kept.mean())
    low = min(mean * (1 - MARGIN), float(kept.min()))
    high = max(mean * (1 + MARGIN), float(kept.max()))
    noun = "case" if volumes.size == 1 else "cases"
    return SizePrior(mean, low, high, f"{volumes.size} annotated {noun}", tuple(float(v) for v in volumes))

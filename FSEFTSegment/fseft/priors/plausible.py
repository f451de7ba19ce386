"""Which volumes of a structure a new patient may well have, given how few were annotated.

The published margin of 30 % says how far a result may be from the mean before it is corrected, not how people differ:
of sixty head-and-neck patients the same organ's volumes have a deviation of 24 % (brain stem) to 41 % (larynx) in
logarithm, the largest is two to three times the median, and a mean of a few cases is itself off.
"""

from __future__ import annotations

import numpy as np

from fseft.models.adapted_model import SizePrior

SPREAD = 0.4  # deviation of the logarithm of volumes between patients, assumed before any was seen
SPREAD_CASES = 4.0  # cases that it counts as
DEVIATIONS = 2.0  # about nineteen of twenty patients lie within


def plausible_range(prior: SizePrior) -> tuple[float, float]:
    """Volumes (ml) that are no reason for doubt.

    Args:
        prior: from annotated cases; a range that a person gave, or a preset, is taken as it is.

    Returns:
        Lowest and highest, never narrower than the prior's own range.
    """
    volumes = np.array([volume for volume in prior.volumes_ml if volume > 0])
    if not volumes.size:
        return prior.low_ml, prior.high_ml
    logarithms = np.log(volumes)
    centre = float(logarithms.mean())
    squares = float(((logarithms - centre) ** 2).sum())
    deviation = np.sqrt((squares + SPREAD_CASES * SPREAD**2) / (volumes.size - 1 + SPREAD_CASES))
    half = DEVIATIONS * float(deviation) * float(np.sqrt(1.0 + 1.0 / volumes.size))  # the mean is uncertain as well
    return min(prior.low_ml, float(np.exp(centre - half))), max(prior.high_ml, float(np.exp(centre + half)))

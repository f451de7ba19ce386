"""How much say the carried annotations have beside the adapter, structure by structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: What :func:`say_of` is: cases that know a voxel, share recognised and whether the structure is a base one, to a say.
Say = Callable[[np.ndarray, float, bool], np.ndarray]
#: Carried cases that weigh as much as the adapter for a structure that is novel to the backbone: one case has half of
#: the say, three have three quarters. Measured on other patients, see docs/benchmarks.md: with three cases a say of
#: 0.75 is 0.02 Dice better than 0.5 and as good as 0.9.
CASES_LIKE_ADAPTER = 1.0
#: The same for a structure that the backbone was pretrained on, which it sees better than cases place it: one case has
#: a quarter of the say, three have half of it. With the number above parotids of the few_shot pool lose 0.04.
CASES_LIKE_PRETRAINED = 3.0
#: An adapter that finds less than this part of the carried volume where any case carries the structure to has not
#: recognised it, as when it was learnt in another contrast phase; what it takes for it elsewhere is something else.
UNRECOGNISED_SHARE = 0.1
#: The say of the carried annotations then, at least.
UNRECOGNISED_SAY = 0.8
#: From this part of the carried volume on a structure is recognised, and the say the usual one; between the two parts
#: it goes from one to the other, since a tenth more or less must not decide.
RECOGNISED_SHARE = 0.4


def say_of(knowing: np.ndarray, recognised: float = 1.0, base: bool = False) -> np.ndarray:
    """The carried annotations' share in the average, 0..1, of each voxel; the adapter has the rest.

    Args:
        knowing: how many of the cases that carry the structure into this scan know a voxel; where none does, as
            beyond what their scans show, the adapter decides alone.
        recognised: volume that the adapter found where the annotated scans show the structure, as part of the volume
            that they carry.
        base: whether the backbone was pretrained on the structure.

    Returns:
        float32, of the same shape.
    """
    say: np.ndarray = knowing / (knowing + np.float32(CASES_LIKE_PRETRAINED if base else CASES_LIKE_ADAPTER))
    missing = (RECOGNISED_SHARE - recognised) / (RECOGNISED_SHARE - UNRECOGNISED_SHARE)
    missing = min(1.0, max(0.0, missing))
    if missing:
        # A voxel that is known by half is half of a reason.
        say += np.float32(missing) * np.minimum(1, knowing) * np.maximum(0, np.float32(UNRECOGNISED_SAY) - say)
    return say.astype(np.float32, copy=False)

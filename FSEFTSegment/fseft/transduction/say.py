"""How much say the carried annotations have beside the adapter, structure by structure."""

from __future__ import annotations

#: Carried cases that weigh as much as the adapter: one case has half of the say, three have three quarters. Measured on
#: OpenKBP's other half, see docs/benchmarks.md: with three cases a say of 0.75 is 0.017 Dice better than 0.5 and as
#: good as 0.9. What leave-one-out tells of the atlas beside the adapter adds nothing to that.
CASES_LIKE_ADAPTER = 1.0
#: An adapter that finds less than this part of the carried volume where any case carries the structure to has not
#: recognised it, as when it was learnt in another contrast phase; what it takes for it elsewhere is something else.
UNRECOGNISED_SHARE = 0.1
#: The say of the carried annotations then, at least.
UNRECOGNISED_SAY = 0.8
#: From this part of the carried volume on a structure is recognised, and the say the usual one; between the two parts
#: it goes from one to the other, since a tenth more or less must not decide.
RECOGNISED_SHARE = 0.4


def say_of(votes: int, recognised: float = 1.0) -> float:
    """The carried annotations' share in the average, 0..1; the adapter has the rest.

    Args:
        votes: cases that carry the structure into this scan, at least one.
        recognised: volume that the adapter found where the annotated scans show the structure, as part of the volume
            that they carry.
    """
    say = votes / (votes + CASES_LIKE_ADAPTER)
    missing = (RECOGNISED_SHARE - recognised) / (RECOGNISED_SHARE - UNRECOGNISED_SHARE)
    return say + min(1.0, max(0.0, missing)) * max(0.0, UNRECOGNISED_SAY - say)

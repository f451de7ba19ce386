"""Whether and how a segmentation is refined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fseft.adaptation.support import SupportCase
from fseft.errors import InputError
from fseft.location.support import AtlasCase

MODES = ("off", "default", "location", "paper")


_SUPPORT_HINT = (
    "Give the support set (on the command line: --support FOLDER), or refine with 'default', which does not need it."
)


@dataclass(frozen=True)
class Refining:
    """Settings of refinement.

    Attributes:
        mode: "off", "default" (this project's, by volume), "location" (by registration; needs ``atlas``), or "paper"
            (to the letter; needs ``support``).
        support: annotated scans with cached features, in the model's structures.
        atlas: annotated scans ready to be registered.
    """

    mode: str = "off"
    support: Sequence[SupportCase] = ()
    atlas: Sequence[AtlasCase] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(
                "refinement-unknown", f"There is no refinement {self.mode!r}.", f"Choose one of: {', '.join(MODES)}."
            )
        if self.mode == "paper" and not self.support:
            raise InputError(
                "refinement-needs-support",
                "The published refinement trains on the annotated scans again, and none are given.",
                _SUPPORT_HINT,
            )
        if self.mode == "location" and not self.atlas:
            raise InputError(
                "refinement-needs-support",
                "Refinement by location carries annotated scans into the new one, and none are given.",
                _SUPPORT_HINT,
            )


OFF = Refining()

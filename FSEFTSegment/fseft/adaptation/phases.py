"""Contrast phases: a scan's annotated organs as they would look before the contrast medium, or after it.

A scan shows one phase, and what is learnt from it alone holds in that phase alone. How much organs brighten is known;
an annotated scan can be shown in the phases it was not taken in. What is not annotated stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects, uniform_filter

from fseft.phantom.tissues import TISSUES
from fseft.preprocessing.intensity import SOFT_TISSUE_HU
from fseft.scan.annotation import Annotation

#: Share of the arterial and of the venous brightening in each phase.
PHASES: Mapping[str, tuple[float, float]] = {"native": (0.0, 0.0), "arterial": (0.8, 0.15), "venous": (0.0, 1.0)}

_ENOUGH_HU = 12.0  # smaller changes are not worth another appearance
_DOUBT_HU = 80.0  # a structure that is further from a phase than this says no more against it


@dataclass(frozen=True)
class Brightening:
    """HU of a structure without contrast medium, and what the two phases add."""

    native: float
    arterial: float
    venous: float

    def level(self, phase: str) -> float:
        """HU in a phase."""
        arterial, venous = PHASES[phase]
        return self.native + arterial * self.arterial + venous * self.venous


def _known() -> dict[str, Brightening]:
    tissues = {tissue.name: tissue for tissue in TISSUES}
    hollow = {name.removesuffix(" content") for name in tissues if name.endswith(" content")}
    return {
        name: Brightening(tissue.hounsfield, tissue.arterial, tissue.venous)
        for name, tissue in tissues.items()
        if tissue.label == name and name not in hollow and f"{name} marrow" not in tissues
    }


#: By a structure's common name; hollow organs and bones do not brighten as a whole.
BRIGHTENING: Mapping[str, Brightening] = _known()


def phase_of(hounsfield: np.ndarray, annotation: Annotation) -> str | None:
    """The phase that a scan's annotated structures look most like, or None where none of them tells.

    Args:
        hounsfield: (z, y, x).
        annotation: on the same grid.
    """
    levels = {}
    for structure in annotation.structures:
        if structure.canonical in BRIGHTENING:
            found = hounsfield[annotation.labels == structure.value]
            found = found[(found > SOFT_TISSUE_HU[0]) & (found < SOFT_TISSUE_HU[1])]
            if found.size:
                levels[structure.canonical] = float(np.median(found))
    if not levels:
        return None
    return min(
        PHASES,
        key=lambda phase: sum(
            min(abs(level - BRIGHTENING[name].level(phase)), _DOUBT_HU) for name, level in levels.items()
        ),
    )


def in_phase(hounsfield: np.ndarray, annotation: Annotation, phase: str) -> np.ndarray:
    """A scan with its annotated structures brightened or darkened to another phase.

    Differences between patients stay: every structure changes by what lies between the scan's phase and the other. Gas,
    fat and calcium stay too, and the rim of a structure changes by as much as it is of it.

    Args:
        hounsfield: (z, y, x).
        annotation: of every slice; a scan annotated in some slices only is returned as it is, since its other slices
            could not change with them.
        phase: one of :data:`PHASES`.

    Returns:
        (z, y, x) float32.
    """
    volume = hounsfield.astype(np.float32)
    if annotation.annotated is not None:
        return volume
    taken = phase_of(hounsfield, annotation)
    if taken is None:
        return volume
    changes = {
        structure.value: BRIGHTENING[structure.canonical].level(phase) - BRIGHTENING[structure.canonical].level(taken)
        for structure in annotation.structures
        if structure.canonical in BRIGHTENING
    }
    shifts = np.zeros(max(int(annotation.labels.max()), *changes) + 1, dtype=np.float32)
    for value, change in changes.items():
        shifts[value] = change if abs(change) >= _ENOUGH_HU else 0.0
    box = find_objects((shifts[annotation.labels] != 0).astype(np.uint8))
    if not box:
        return volume
    around = tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box[0])
    part = volume[around]
    soft = (part > SOFT_TISSUE_HU[0]) & (part < SOFT_TISSUE_HU[1])
    part += uniform_filter(shifts[annotation.labels[around]], 3) * soft
    return volume

"""A canonical frame: anatomical coordinates that mean the same place in every patient.

The origin lies midway between the parotid glands, axes right, anterior, superior; one unit is a millimetre of an
average adult, whose parotid glands lie 110 mm apart. Phantoms know their dense body coordinates, which are brought
to the same origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

RIGHT, LEFT, STEM = "right parotid gland", "left parotid gland", "brain stem"
LANDMARKS: tuple[str, ...] = (RIGHT, LEFT, STEM)
_PAROTID_DISTANCE_MM = 110.0
_SCALE_RANGE = (0.8, 1.2)
#: Midway between the phantoms' parotid glands in their body coordinates (left, back, up), mm.
_PHANTOM_ORIGIN = np.array((0.0, -6.0, 394.0))


@dataclass(frozen=True)
class CanonicalFrame:
    """A patient's place in the canonical frame.

    Attributes:
        origin_mm: of the frame on the patient's network grid: voxel index times spacing, right, anterior, superior.
        scale: the patient's size relative to the average.
    """

    origin_mm: tuple[float, float, float]
    scale: float

    def canonical(self, positions_mm: Tensor) -> Tensor:
        """(n, 3) network grid positions in mm to canonical coordinates."""
        return (positions_mm - torch.tensor(self.origin_mm, device=positions_mm.device)) / self.scale


def find_frame(centres_mm: Mapping[str, np.ndarray]) -> CanonicalFrame | None:
    """The frame from landmarks' centres (network grid, mm); None where too few of them are there.

    With one parotid gland, the brain stem gives the midline and the scale stays that of the average.
    """
    right, left, stem = (centres_mm.get(name) for name in LANDMARKS)
    if right is not None and left is not None:
        apart = abs(float(right[0] - left[0])) / _PAROTID_DISTANCE_MM
        return _frame((right + left) / 2, float(np.clip(apart, *_SCALE_RANGE)))
    side = right if right is not None else left
    if stem is not None and side is not None:
        return _frame(np.array((stem[0], side[1], side[2])), 1.0)
    return None


def canonical_of_body(coordinates: np.ndarray) -> np.ndarray:
    """Phantoms' body coordinates (..., 3; left, back, up in mm) in the canonical frame."""
    moved = np.asarray(coordinates, dtype=np.float32) - _PHANTOM_ORIGIN.astype(np.float32)
    return moved * np.array((-1, -1, 1), dtype=np.float32)


def _frame(origin: np.ndarray, scale: float) -> CanonicalFrame:
    return CanonicalFrame((float(origin[0]), float(origin[1]), float(origin[2])), scale)

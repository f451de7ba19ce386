"""The body's frame, and what differs between patients.

Body coordinates are in mm with x to the patient's left, y to the back, z to the head (as LPS).
z = 0 is the disc between the twelfth thoracic and the first lumbar vertebra, x = 0 the midline,
y = 0 about the middle of the trunk. Numbers describe an adult of 175 cm before scaling.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Side factor of x: the patient's left is positive.
SIDES: tuple[tuple[str, int], ...] = (("left", 1), ("right", -1))

#: Lowest and highest body coordinates (x, y, z) in mm of what a scan of a region shows.
REGIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "torso": ((-192, -145, -360), (192, 150, 315)),
    "abdomen": ((-172, -140, -215), (172, 148, 130)),
    "chest": ((-192, -145, -70), (192, 150, 300)),
    "head-neck": ((-165, -165, 225), (165, 150, 580)),
    "whole": ((-195, -150, -400), (195, 150, 580)),
}

#: Muscle surface of the trunk and neck: z, half width, front y, back y.
TRUNK: tuple[tuple[float, float, float, float], ...] = (
    (-372, 150, -58, 96), (-340, 160, -66, 106), (-310, 164, -74, 112), (-270, 166, -82, 114), (-230, 158, -88, 110),
    (-190, 146, -90, 102), (-150, 136, -90, 96), (-100, 130, -90, 94), (-50, 132, -92, 96), (0, 139, -96, 100),
    (50, 146, -100, 106), (100, 150, -103, 112), (150, 155, -102, 116), (190, 160, -92, 118), (220, 164, -78, 114),
    (245, 155, -62, 108), (265, 122, -48, 100), (285, 82, -42, 92), (305, 63, -46, 84), (330, 56, -50, 78),
    (360, 55, -46, 76), (395, 56, -40, 78), (425, 52, -30, 80),
)  # fmt: skip

#: Middle of the ribs: z, half width, front y, back y.
CAGE: tuple[tuple[float, float, float, float], ...] = (
    (-75, 112, -72, 72), (-40, 122, -80, 78), (0, 129, -85, 84), (50, 135, -90, 92), (100, 135, -92, 98),
    (150, 130, -86, 102), (190, 118, -75, 102), (220, 103, -62, 98), (245, 84, -46, 92), (265, 62, -30, 84),
    (284, 36, -8, 74),
)  # fmt: skip

#: Inside of the abdominal wall: z, half width, front y, back y.
ABDOMEN: tuple[tuple[float, float, float, float], ...] = (
    (-352, 55, -45, 62), (-320, 72, -55, 66), (-280, 84, -66, 72), (-240, 98, -72, 74), (-200, 112, -76, 72),
    (-150, 116, -78, 70), (-100, 116, -78, 70), (-50, 118, -80, 72), (0, 123, -84, 76), (50, 127, -86, 84),
    (110, 126, -86, 88),
)  # fmt: skip

_SPINE_Y = (
    (-300, 84), (-265, 95), (-235, 90), (-200, 68), (-178, 54), (-150, 42), (-90, 34), (-30, 38), (30, 50), (100, 62),
    (180, 64), (240, 54), (290, 38), (330, 24), (370, 18), (425, 20),
)  # fmt: skip


@dataclass(frozen=True)
class Vertebra:
    """A vertebra of the average body, sizes in mm.

    Attributes:
        name: "L3", "T12", "C1", ...
        z: middle of its body; ``y`` likewise.
        half_height: of the body, without the disc.
        half_width: of the body; ``half_depth`` likewise.
    """

    name: str
    z: float
    y: float
    half_height: float
    half_width: float
    half_depth: float


def spine_y(z: float) -> float:
    """y of the middle of the vertebral bodies at height ``z``."""
    return float(np.interp(z, [p[0] for p in _SPINE_Y], [p[1] for p in _SPINE_Y]))


def canal_y(z: float) -> float:
    """y of the middle of the spinal canal at height ``z``."""
    return spine_y(z) + float(np.interp(z, [-200, -20, 120, 250, 300, 400], [24, 26, 24, 20, 16, 15]))


def _stack() -> tuple[Vertebra, ...]:
    result = []
    for i in range(5):
        z = -17.5 - 35 * i
        result.append(Vertebra(f"L{i + 1}", z, spine_y(z), 13.5, 23 + 0.8 * i, 16.5))
    bottom = 0.0
    for i in range(12):
        pitch = 28.0 - 0.72 * i
        z = bottom + pitch / 2
        result.append(Vertebra(f"T{12 - i}", z, spine_y(z), pitch / 2 - 2.5, 20 - 0.55 * i, 16 - 0.45 * i))
        bottom += pitch
    for i in range(6):
        pitch = 17.0
        z = bottom + pitch / 2
        result.append(Vertebra(f"C{7 - i}", z, spine_y(z), pitch / 2 - 1.7, 13 - 0.4 * i, 9.2))
        bottom += pitch
    return tuple(result)


#: L1..L5, then T12..T1, then C7..C2.
VERTEBRAE: tuple[Vertebra, ...] = _stack()


class Draw:
    """Random numbers of one part of the body; parts do not disturb each other's."""

    def __init__(self, seed: int, part: str) -> None:
        self.rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, zlib.crc32(part.encode())])

    def around(self, mean: float, deviation: float) -> float:
        """A normal number, never further than two deviations from the mean."""
        return mean + deviation * float(np.clip(self.rng.standard_normal(), -2, 2))

    def between(self, low: float, high: float) -> float:
        """A uniform number."""
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        """True with the probability."""
        return bool(self.rng.random() < probability)

    def near(self, point: Sequence[float] | np.ndarray, deviation: float) -> np.ndarray:
        """A point moved by normal jitter along each axis."""
        return np.asarray(point, dtype=float) + deviation * np.clip(self.rng.standard_normal(3), -2, 2)

    def radii(self, radii: Sequence[float] | np.ndarray, deviation: float = 0.07) -> np.ndarray:
        """Radii scaled together and, half as much, each on its own; ``deviation`` relative."""
        common = 1 + deviation * np.clip(self.rng.standard_normal(), -2, 2)
        own = 1 + deviation / 2 * np.clip(self.rng.standard_normal(3), -2, 2)
        return np.asarray(radii, dtype=float) * common * own


@dataclass(frozen=True)
class Patient:
    """One patient's habitus and circumstances.

    Attributes:
        seed: of everything about the patient.
        female: chooses the pelvic organs, breasts and proportions.
        scale: size along x, y, z relative to the average body.
        fat_mm: subcutaneous fat at the sides, front and back.
        visceral: 0 slim to 1 much fat around the organs.
        arms_up: arms above the head, as in most body CT; beside the trunk otherwise.
    """

    seed: int
    female: bool
    scale: tuple[float, float, float]
    fat_mm: tuple[float, float, float]
    visceral: float
    arms_up: bool

    def draw(self, part: str) -> Draw:
        """The random numbers for one part of this patient."""
        return Draw(self.seed, part)


def random_patient(seed: int) -> Patient:
    """A patient drawn from ``seed``."""
    draw = Draw(seed, "patient")
    female = draw.chance(0.5)
    height = draw.around(0.96 if female else 1.0, 0.03)
    girth = draw.around(0.95 if female else 1.0, 0.035)
    depth = girth * draw.around(1.0, 0.03)
    obesity = float(draw.rng.beta(1.6, 3.0))
    fat = (
        4 + 34 * obesity * draw.around(1, 0.15),
        5 + (38 if female else 32) * obesity * draw.around(1, 0.15),
        5 + 26 * obesity * draw.around(1, 0.15),
    )
    visceral = float(np.clip(obesity + draw.around(0, 0.15), 0, 1))
    return Patient(seed, female, (girth, depth, height), fat, visceral, draw.chance(0.8))

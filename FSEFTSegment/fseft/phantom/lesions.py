"""Tumours and cysts, in some patients."""

from __future__ import annotations

import numpy as np

from fseft.phantom.bowel import colon_path
from fseft.phantom.frame import Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import ellipsoid

#: Chance of each kind of lesion in a patient.
CHANCES: dict[str, float] = {
    "liver tumour": 0.35, "hepatic vessel tumour": 0.12, "kidney tumour": 0.25, "kidney cyst": 0.3, "lung tumour": 0.35,
    "pancreas tumour": 0.25, "colon tumour": 0.2,
}  # fmt: skip


def paint_lesions(body: Body, patient: Patient) -> None:
    """Lesions inside their organs, each kind present in some patients."""
    for kind, chance in CHANCES.items():
        draw = patient.draw(kind)
        if not draw.chance(chance):
            continue
        for _ in range(int(draw.rng.integers(1, 4)) if kind in ("liver tumour", "lung tumour", "kidney cyst") else 1):
            centre, largest, over = _place(kind, patient)
            radius = draw.between(0.35, 1.0) * largest
            at = draw.near(centre, largest * 0.45 if kind != "colon tumour" else 2)
            if kind == "liver tumour" or kind == "lung tumour":
                at = draw.rng.uniform(*_ROOM[kind])
            body.paint(
                kind, ellipsoid(at, draw.radii([radius] * 3, 0.12)), over=over, wobble=(0.1 * radius, 0.08 * radius)
            )


#: Lowest and highest body coordinates of the centres of lesions that are spread through their organ.
_ROOM = {
    "liver tumour": (np.array((-108, -45, -20)), np.array((-30, 40, 55))),
    "lung tumour": (np.array((-105, -50, 110)), np.array((-55, 60, 220))),
}


def _place(kind: str, patient: Patient) -> tuple[tuple[float, float, float], float, tuple[str, ...]]:
    """Centre, largest radius and the tissues a lesion may replace."""
    both = lambda name: (f"left {name}", f"right {name}")  # noqa: E731
    if kind == "kidney tumour":
        return (-72, 50, -66), 24, (*both("kidney"), *both("kidney medulla"), "visceral fat")
    if kind == "kidney cyst":
        return (70, 46, -10), 20, (*both("kidney"), *both("kidney medulla"), "visceral fat")
    if kind == "pancreas tumour":
        return (-28, -8, -40), 13, ("pancreas",)
    if kind == "hepatic vessel tumour":
        return (-45, -5, 15), 14, ("liver", "hepatic vessel")
    if kind == "colon tumour":
        place = patient.draw("colon tumour place")
        path = colon_path(patient)
        x, y, z = path[int(place.rng.integers(1, len(path) - 4))]
        return (x, y, z), 17, ("colon", "stool", "colon gas")
    if kind == "lung tumour":
        return (0, 0, 0), 18, (*both("lung"), *both("lung vessel"))
    return (0, 0, 0), 26, ("liver", "hepatic vessel")

"""Skin, fat and muscle of trunk, neck and limbs: the ground that organs are painted on."""

from __future__ import annotations

import numpy as np

from fseft.phantom.frame import CAGE, SIDES, TRUNK, Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import Shape, Solid, cone, ellipsoid, everywhere, grow, profile, shift, tube, union

SKIN_MM = 2.2


def paint_surface(body: Body, patient: Patient) -> None:
    """Skin, subcutaneous fat and undivided muscle, from the thighs to the neck, and the arms."""
    draw = patient.draw("surface")
    fat = np.asarray(patient.fat_mm)
    wobble = (draw.between(1, 2.5), draw.between(0.3, 0.8))
    thighs = _thighs(fat)
    body.paint("skin", union(_fatty_trunk(patient, fat), *thighs), wobble=wobble, core=(("fat", SKIN_MM),))
    if patient.female:
        _paint_breasts(body, patient)
    _paint_arms(body, patient, float(fat[0]))
    body.regions["trunk"] = profile(TRUNK)
    trunk = body.regions["trunk"]
    body.paint("muscle", everywhere(trunk.lo, trunk.hi), within="trunk")
    for _, side in SIDES:
        # Shoulder and buttock muscles stand out of the stacked cross-sections.
        body.paint("muscle", ellipsoid((side * 148, 20, 236), (38, 44, 50)), wobble=(1, 0.6), over=("fat", "skin"))
        body.paint("muscle", ellipsoid((side * 62, 88, -285), (68, 38, 82), (20, 0, 0)), wobble=(2, 1))
        body.paint("muscle", ellipsoid((side * 105, 8, -385), (58, 62, 90)), wobble=(1.5, 1))
    _paint_fat_planes(body)
    body.regions["chest"] = profile(CAGE, (-7, -7, -7))


def _fatty_trunk(patient: Patient, fat: np.ndarray) -> Shape:
    """The trunk with fat; more at the belly and hips, little at the neck."""
    levels = []
    for z, side, front, back in TRUNK:
        share = float(
            np.interp(z, [-370, -250, -100, 20, 150, 260, 310, 425], [1.0, 1.25, 1.2, 0.9, 0.8, 0.9, 0.5, 0.4])
        )
        belly = float(np.interp(z, [-300, -220, -110, 0, 60], [0.7, 1.0, 1.0, 0.9, 0.7]))
        bulge = 24 * patient.visceral * float(np.interp(z, [-260, -150, -50, 60], [0, 1, 0.8, 0]))
        levels.append((z, side + fat[0] * share, front - fat[1] * share * belly - 0.3 * bulge, back + fat[2] * share))
    return profile(levels)


def _thighs(fat: np.ndarray) -> list[Solid]:
    thickness = float(fat[0]) * 0.8
    return [cone((s * 100, 8, -330), (s * 98, 5, -480), 76 + thickness, 66 + thickness) for _, s in SIDES]


def _paint_breasts(body: Body, patient: Patient) -> None:
    draw = patient.draw("breasts")
    size = draw.between(0.7, 1.25) * (0.8 + patient.fat_mm[1] / 60)
    front = -96 - patient.fat_mm[1] * 0.5
    for _, side in SIDES:
        breast = ellipsoid((side * 78, front, 118), (58 * size**0.4, 40 * size, 58 * size**0.4), (0, 0, 12 * side))
        body.paint("skin", grow(breast, SKIN_MM), over="air")
        body.paint("fat", breast, over=("skin",))
        gland = ellipsoid((side * 78, front - 12 * size, 116), (30, 18 * size, 30))
        body.paint("soft", gland, over=("fat",), wobble=(4, 4))


def _paint_arms(body: Body, patient: Patient, fat: float) -> None:
    draw = patient.draw("arms")
    for name, side in SIDES:
        if patient.arms_up:
            path = [(side * 160, 20, 238), (side * 168, 14, 330), (side * 150, 10, 480), (side * 110, 0, 600)]
        else:
            path = [(side * 160, 20, 238), (side * 188, 26, 120), (side * 196, 16, -40), (side * 190, -10, -230)]
        aside = 0.0 if patient.arms_up else side * fat
        places = [shift(draw.near(p, 4 if i else 0), aside, 0, 0) for i, p in enumerate(path)]
        muscle = (46.0, 42.0, 36.0, 28.0)
        thick = [r + fat * 0.45 for r in muscle]
        body.paint("skin", tube(places, [r + SKIN_MM for r in thick], 30), over="air")
        body.paint("fat", tube(places, thick, 30), over=("air", "skin"))
        body.paint("muscle", tube(places, muscle, 30), over=("air", "skin", "fat"), wobble=(0.8, 0.5))
        bone = places[:3]
        body.paint(f"{name} humerus", tube(bone, (13, 11, 11), 30))
        body.paint(f"{name} humerus marrow", tube(bone, (9, 6, 6), 30))
        head = (side * 150, 18, 247)
        body.paint(f"{name} humerus", ellipsoid(head, (24, 24, 24)))
        body.paint(f"{name} humerus marrow", ellipsoid(head, (21.5, 21.5, 21.5)))


def _paint_fat_planes(body: Body) -> None:
    """The armpits, and fat between muscles as thin sheets."""
    for side in (1, -1):
        body.paint("fat", ellipsoid((side * 128, 12, 190), (17, 34, 46)), over="muscle", wobble=(3, 2))
    trunk = body.regions["trunk"]
    body.paint(
        "muscle fat", _sheets(trunk.lo, trunk.hi), over="muscle", within="trunk", clearance=4, wobble=(0.1, 0.06)
    )


def _sheets(lo: np.ndarray, hi: np.ndarray) -> Shape:
    """Curved sheets, some 2 mm thick, running along the body."""

    def field(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        along = np.sin(y * np.float32(0.05) + z * np.float32(0.012))
        across = np.sin(x * np.float32(0.045))
        wave = np.sin(x * np.float32(0.11) + np.float32(1.7) * along)
        wave *= np.cos(y * np.float32(0.12) + np.float32(1.5) * across)
        return np.abs(wave - np.float32(0.35)) - np.float32(0.06)

    return Shape(lo, hi, field)

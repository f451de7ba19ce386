"""Solid organs of the abdomen, the stomach, and their vessels."""

from __future__ import annotations

import numpy as np

from fseft.phantom.chest import diaphragm, grow_tree
from fseft.phantom.frame import ABDOMEN, CAGE, SIDES, Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import (
    Point,
    Shape,
    Solid,
    below,
    blend,
    clip,
    cone,
    cut,
    ellipsoid,
    everywhere,
    profile,
    shift,
    spline,
    tube,
    tube_through,
    union,
)

_FAT = ("visceral fat",)
_SOFT = ("visceral fat", "soft", "muscle", "muscle fat", "diaphragm")


def paint_cavity(body: Body, patient: Patient) -> None:
    """The abdominal cavity, full of fat until organs are painted, under the diaphragm."""
    dome = diaphragm(patient)
    ribs = profile(CAGE, (-7, -7, -7))
    under_ribs = clip(dome, ribs)
    lower = clip(profile(ABDOMEN), below((0, 0, 20), (0, 0, 1)))
    lo, hi = np.minimum(under_ribs.lo, lower.lo), np.maximum(under_ribs.hi, lower.hi)
    body.regions["abdomen"] = Shape(lo, hi, lambda x, y, z: np.minimum(under_ribs.field(x, y, z), lower.field(x, y, z)))
    box = everywhere(lo, hi)
    over = ("left lung", "right lung", "visceral fat", "soft", "heart", "left heart blood", "right heart blood")
    body.paint("diaphragm", box, within="abdomen", over=over, clearance=-2.5)
    body.paint("visceral fat", box, within="abdomen")


def paint_liver(body: Body, patient: Patient) -> None:
    """Liver with its vessels, and the gallbladder."""
    draw = patient.draw("liver")
    size = draw.around(1.07, 0.05)
    tip = draw.around(-58, 10)
    right = ellipsoid((-70, -2, 12), np.array((76, 98, 98)) * size, (0, 12, 0))
    lower = ellipsoid((-90, 0, tip + 30), np.array((38, 60, 46)) * size)
    left = ellipsoid((-2 + draw.around(0, 8), -44, 40), np.array((84, 46, 40)) * size, (0, 14, -6))
    gate = (-30, 4, -12)
    visceral = [
        ellipsoid((-6, 22, -44), (42, 64, 56)),
        ellipsoid((-56, 52, -44), (30, 28, 50)),
    ]
    lobes = cut(blend([right, lower, left], 30), *visceral)
    body.paint("liver", lobes, within="abdomen", wobble=(2.5, 0.7), clearance=1.5)
    pieces: list[Solid] = []
    confluence = np.array((-18.0, 14.0, 72.0))
    for aim in ((-105, 10, 25), (-72, -50, 15), (12, -48, 45)):
        grow_tree(pieces, draw, confluence, draw.near(aim, 8), 5.5, 4)
    for aim in ((-105, 30, 5), (-100, -35, 0), (-70, 10, 70), (15, -55, 35)):
        grow_tree(pieces, draw, shift(gate, -6, -6, 16), draw.near(aim, 8), 5.5, 4)
    body.paint("hepatic vessel", union(*pieces), over="liver")
    _paint_gallbladder(body, patient)


def _paint_gallbladder(body: Body, patient: Patient) -> None:
    draw = patient.draw("gallbladder")
    full = draw.between(0.75, 1.2)
    path = [(-32, -14, -6), (-42, -34, -22), (-48, -52, -40), (-50, -60, -50)]
    path = [tuple(p) for p in np.array(path) + draw.near((0, 0, 0), 4)]
    radii = np.array((3.5, 10, 16, 13)) * full
    body.paint("gallbladder wall", tube(path, radii + 1.6, 6), within="abdomen", wobble=(0.5, 0.3))
    body.paint("gallbladder", tube(path, radii, 6), over="gallbladder wall")


def paint_spleen(body: Body, patient: Patient) -> None:
    """Spleen, hollowed where the stomach and the left kidney lean on it."""
    draw = patient.draw("spleen")
    centre = draw.near((88, 40, 22), 3)
    radii = draw.radii((41, 56, 60), 0.06)
    solid = ellipsoid(centre, radii, (24, 0, 12))
    hollow = ellipsoid(shift(centre, -46, -28, 0), (32, 40, 62), (24, 0, 12))
    body.paint("spleen", cut(solid, hollow), within="abdomen", wobble=(2, 0.6), clearance=1.5)


def paint_kidneys(body: Body, patient: Patient) -> None:
    """Kidneys in their fat, with medulla, pelvis, ureters' beginning and vessels; adrenal glands."""
    draw = patient.draw("kidneys")
    for name, side in SIDES:
        centre = draw.near((side * 61, 40, -33 if side > 0 else -46), 3)
        radii = draw.radii((28, 30, 55), 0.045)
        turn = (-10, -14 * side, -32 * side)
        fat = 5 + 7 * patient.visceral
        # The sinus opens towards the midline and a little to the front.
        inward = shift(centre, -side * radii[0] * 0.95, -9, 2)
        capsule = ellipsoid(centre, radii + fat, turn)
        over = ("liver", "spleen", "muscle", "muscle fat")
        body.paint("visceral fat", capsule, over=over, within="trunk", clearance=18)
        bean = cut(ellipsoid(centre, radii, turn), ellipsoid(inward, (14, 12, 21)))
        body.paint(f"{name} kidney", bean, wobble=(1.0, 0.5))
        inside = cut(ellipsoid(centre, radii * 0.72, turn), ellipsoid(inward, (17, 14, 25)))
        body.paint(f"{name} kidney medulla", inside, over=f"{name} kidney", wobble=(1, 3.2))
        pelvis = tube([shift(centre, -side * 8, -3, 2), inward, shift(inward, -side * 10, -2, -18)], (7, 7, 3.0))
        body.paint("renal pelvis", pelvis, over=("visceral fat", f"{name} kidney medulla", f"{name} kidney"))
        ureter: list[Point] = [
            shift(inward, -side * 8, -2, -16),
            (side * 36, 8, -110),
            (side * 44, 12, -200),
            (side * 38, 10, -280),
        ]
        body.paint("renal pelvis", tube(ureter, 2.2, 14), over=_FAT)
        root = (side * 4 + 6, 10, -24)
        body.paint("artery", tube([root, (side * 22, 20, -28), shift(inward, 0, 0, 4)], (3.2, 3, 2.5)), over=_SOFT)
        cava = (-22 if side < 0 else 10, 2, -22)
        body.paint("vein", tube([cava, (side * 26, 6, -26), inward], (5.5, 5.5, 4.5)), over=_FAT)
        _paint_adrenal(body, patient, name, side, centre, radii)


def _paint_adrenal(body: Body, patient: Patient, name: str, side: int, centre: np.ndarray, radii: np.ndarray) -> None:
    draw = patient.draw(f"{name} adrenal")
    top = np.array((side * 36, 28 if side > 0 else 26, centre[2] + radii[2] + 2))
    top = draw.near(top, 1.5)
    thick = draw.between(3.8, 4.8)
    limbs = [
        tube(
            [shift(top, -side * 3, -8, 10), top, shift(top, side * 3, 10, -10)], (thick, thick * 1.25, thick * 0.7), 5
        ),
        tube([top, shift(top, side * 8, 5, -5), shift(top, side * 13, 12, -14)], (thick * 1.1, thick, thick * 0.7), 5),
        tube(
            [shift(top, -side * 3, -8, 12), shift(top, 0, -2, 2), shift(top, 0, 8, -12)],
            (thick * 0.8, thick * 1.2, thick * 0.8),
            5,
        ),
    ]
    around = ellipsoid(top, (13, 16, 18))
    body.paint("visceral fat", around, over=("liver", "spleen", "diaphragm", "soft"), within="abdomen")
    gland = union(*limbs)
    body.paint(f"{name} adrenal gland", gland, over=("visceral fat", "muscle", "muscle fat", "diaphragm", "soft"))


def paint_stomach(body: Body, patient: Patient) -> tuple[float, float, float]:
    """Stomach with fluid and gas; returns where the pylorus is."""
    draw = patient.draw("stomach")
    full = draw.around(0.95, 0.14)
    path = [(66, 22, 66), (72, 0, 40), (66, -28, 6), (42, -48, -22), (10, -50, -30), (-18, -36, -22)]
    path = [tuple(draw.near(p, 4 if 0 < i < 5 else 1)) for i, p in enumerate(path)]
    radii = np.array((26, 34, 30, 24, 18, 9)) * full
    curve, at = spline(path, 9)
    wide = np.interp(at, np.arange(len(path)), radii)
    wall = draw.between(3.5, 5.5)
    body.paint("stomach", tube_through(curve, wide), within="abdomen", wobble=(2.5, 1), clearance=1.5)
    gullet = [(30, 6, 48), (46, 8, 50), (58, 6, 48)]
    body.paint("oesophagus", tube(gullet, (8.5, 9, 9)), over=(*_SOFT, "liver"))
    inner = tube_through(curve, np.maximum(wide - wall, 2))
    body.paint("stomach content", inner, over="stomach", wobble=(2.5, 2), within="abdomen", clearance=1.5 + wall)
    # Lying on the back, gas rises to the front.
    level = draw.between(-52, -30)
    gas = below((0, level, 0), (0, 1, 0))
    gas = Shape(inner.lo, np.minimum(inner.hi, (1e4, level, 1e4)), gas.field)
    body.paint("stomach gas", gas, over="stomach content")
    return path[-1]


def paint_pancreas(body: Body, patient: Patient, pylorus: tuple[float, float, float]) -> None:
    """Pancreas, and the duodenum around its head."""
    draw = patient.draw("pancreas")
    head = draw.near((-30, -6, -42), 3)
    path: list[Point] = [shift(head, -2, 2, -12), head, (-8, -20, -24), (20, -14, -14), (50, 8, -2), (78, 26, 10)]
    path = [draw.near(p, 2) for p in path]
    radii = np.array((15, 20, 12.5, 14, 13.5, 11)) * draw.around(1, 0.08)
    x, y, z = pylorus
    ring = [
        (x, y, z),
        (-34, -22, -18),
        (-48, 6, -26),
        (-50, 10, -58),
        (-36, 8, -84),
        (0, -6, -88),
        (24, -4, -66),
        (30, -16, -50),
    ]
    ring = [tuple(draw.near(p, 1.5)) if i else p for i, p in enumerate(ring)]
    wide = np.array((9, 13, 13, 12, 12, 11.5, 11, 10)) * draw.around(1, 0.08)
    over = ("visceral fat", "soft", "liver", "muscle", "muscle fat")
    body.paint("duodenum", tube(ring, wide), over=over, wobble=(1, 1))
    body.paint("duodenum content", tube(ring, wide - 4), over="duodenum", wobble=(1, 2))
    body.paint(
        "pancreas", tube(path, radii, 7), over=(*over, "stomach"), within="abdomen", wobble=(1.2, 1.2), clearance=4
    )


def paint_abdominal_vessels(body: Body, patient: Patient) -> None:
    """Inferior vena cava, portal and splenic vein, coeliac trunk, mesenteric and iliac vessels."""
    draw = patient.draw("abdominal vessels")
    wide = draw.around(1.0, 0.1)
    over = (
        "visceral fat",
        "soft",
        "liver",
        "muscle",
        "muscle fat",
        "diaphragm",
        "hepatic vessel",
        "pancreas",
        "duodenum",
        "fat",
        "left lung",
        "right lung",
        "heart",
    )
    cava = [(-17, 10, -140), (-21, 9, -100), (-22, 10, -50), (-23, 10, 0), (-22, 14, 45), (-19, 8, 78), (-22, -8, 100)]
    body.paint("inferior vena cava", tube(cava, np.array((9.5, 10.5, 11, 11.5, 12.5, 13.5, 13)) * wide), over=over)
    for _, side in SIDES:
        artery = [
            (5, 8, -120),
            (side * 16 + 3, 10, -145),
            (side * 42, 20, -190),
            (side * 66, -18, -250),
            (side * 78, -50, -300),
        ]
        body.paint("iliac vessels", tube([*artery, (side * 80, -52, -390)], (6, 5.5, 5, 4.5, 4.3, 4.3)), over=over)
        vein = [
            (-17, 10, -136),
            (side * 14 - 6, 14, -158),
            (side * 38, 30, -195),
            (side * 60, -8, -252),
            (side * 68, -42, -300),
        ]
        body.paint("iliac vessels", tube([*vein, (side * 70, -44, -390)], (8, 7, 6.5, 6, 6, 6)), over=over)
    lower = [(-4, -12, -110), (-4, -16, -70), (-6, -12, -38)]
    porta = [(-6, -12, -38), (-10, -10, -22), (-20, -4, -6), (-34, -2, 4)]
    splenic = [(-6, -12, -30), (18, -4, -16), (48, 16, 0), (80, 34, 14)]
    size = draw.around(1.0, 0.08)
    veins = union(tube(porta, np.array((7.5, 8, 8, 7.5)) * size), tube(splenic, np.array((6.5, 6, 5.5, 5)) * size))
    body.paint("vein", tube(lower, (4, 5, 6)), over=over)
    body.paint("portal and splenic vein", veins, over=over)
    trunk = tube([(9, 12, 2), (7, 0, 4), (3, -8, 6)], (4.8, 4.4, 4.2), 5)
    hepatic = tube([(3, -8, 6), (-10, -10, 2), (-22, -10, 2)], (3.4, 3, 2.8), 6)
    splenic_artery = tube([(3, -8, 6), (14, -2, 2), (40, 12, 8), (76, 32, 20)], (3.2, 3, 2.8, 2.4), 6)
    body.paint("coeliac trunk", trunk, over=over)
    body.paint("artery", union(hepatic, splenic_artery), over=over)
    mesenteric = tube([(8, 10, -16), (5, -4, -26), (3, -12, -50), (2, -20, -110)], (4, 3.6, 3.4, 2.6))
    body.paint("artery", mesenteric, over=over)


def paint_mesentery(body: Body, patient: Patient) -> None:
    """Small vessels that fan out in the fat between the bowel loops."""
    draw = patient.draw("mesentery")
    twigs = []
    for _ in range(26):
        aim = (draw.between(-85, 85), draw.between(-65, -25), draw.between(-210, -70))
        twigs.append(cone((0, -14, draw.between(-120, -60)), aim, 1.9, 1.0))
    body.paint("vein", union(*twigs), over=_FAT, within="abdomen")

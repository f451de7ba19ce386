"""Lungs with their vessels, airways, heart, great vessels of the chest, and oesophagus."""

from __future__ import annotations

import numpy as np

from fseft.phantom.frame import CAGE, SIDES, Draw, Patient, spine_y
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
    grow,
    profile,
    shift,
    tube,
    union,
)


def diaphragm(patient: Patient) -> Shape:
    """The space under the diaphragm: two domes joined to the abdominal cavity."""
    draw = patient.draw("diaphragm")
    breath = draw.around(0, 9)
    right = ellipsoid((-66, 6, -34), (78, 98, 118 - breath))
    left = ellipsoid((66, 10, -38), (76, 94, 108 - breath))
    middle = ellipsoid((0, -10, -40), (70, 80, 100 - breath))
    return blend([right, left, middle], 20)


def paint_lungs(body: Body, patient: Patient) -> None:
    """Lungs fill the rib cage above the diaphragm; what is between them is painted later."""
    draw = patient.draw("lungs")
    cage = profile(CAGE, (-7, -7, -7))
    dome = diaphragm(patient)
    base = -22 + draw.around(0, 8)
    air = cut(cage, dome)
    # The recess behind the diaphragm reaches lower at the back than in front.
    floor = Shape(cage.lo, cage.hi, lambda x, y, z: np.float32(base) + np.float32(0.45) * (np.float32(80) - y) - z)
    body.regions["lung space"] = clip(air, floor)
    body.paint("visceral fat", everywhere(cage.lo, cage.hi), within="lung space")
    for name, side in SIDES:
        edge = np.array((1e4, 1e4, 1e4))
        start, end = (np.array((3, -1e4, -1e4)), edge) if side > 0 else (-edge, np.array((-3, 1e4, 1e4)))
        own_side = everywhere(np.maximum(cage.lo, start), np.minimum(cage.hi, end))
        half = clip(own_side, below((side * 3, 0, 0), (-side, 0, 0)))
        body.paint(f"{name} lung", half, within="lung space")


def paint_mediastinum(body: Body, patient: Patient) -> None:
    """Fat and soft tissue between the lungs."""
    draw = patient.draw("mediastinum")
    fat = draw.around(1, 0.08) + 0.12 * patient.visceral
    middle = [
        (8, 30, -60, 70), (60, 42, -72, 72), (100, 40, -66, 62), (140, 36, -60, 62), (175, 33, -62, 62),
        (205, 35, -60, 64), (235, 37, -52, 64), (262, 34, -40, 62), (288, 30, -38, 52),
    ]  # fmt: skip
    column = profile([(z, w * fat, f, b) for z, w, f, b in middle])
    over = ("left lung", "right lung")
    body.paint("visceral fat", column, over=over, wobble=(2, 1))
    front = ellipsoid((4, -74, 150), (15 * fat, 22, 85))
    body.paint("visceral fat", front, over=over, within="chest", wobble=(2, 1))
    body.paint("soft", union(*(ellipsoid((0, spine_y(z) + 4, z), (26, 24, 16)) for z in range(0, 290, 16))), over=over)


def paint_heart(body: Body, patient: Patient) -> None:
    """Heart with chambers; the great arteries start from it."""
    draw = patient.draw("heart")
    size = draw.around(1.05, 0.06)
    # Built around its own origin, so that size and place vary together.
    origin = shift((17, -34, 112), draw.around(0, 4), draw.around(0, 3), draw.around(0, 5))

    def at(x: float, y: float, z: float) -> np.ndarray:
        return origin + size * np.array((x, y, z))

    def ball(x: float, y: float, z: float, radii: tuple[float, float, float], turn: float = 0) -> Shape:
        return ellipsoid(at(x, y, z), np.array(radii) * size, (0, -turn, 0))

    left = ball(24, 2, -8, (33, 36, 50), -38)
    right = ball(0, -18, -10, (42, 28, 44), -30)
    atria = [ball(-34, 0, 6, (24, 28, 34)), ball(2, 30, 22, (40, 22, 28))]
    outside = blend([left, right, *atria], 14)
    body.paint("visceral fat", grow(outside, 3 + 3 * patient.visceral), within="chest", wobble=(1.5, 1))
    body.paint("heart", outside, within="chest", wobble=(0.8, 0.5), clearance=1.0)
    body.paint(
        "right heart blood", union(ball(0, -21, -10, (32, 19, 34), -30), ball(-34, 0, 6, (20, 24, 30))), over="heart"
    )
    body.paint("heart", ball(24, 2, -8, (29, 32, 45), -38), over="right heart blood")
    chambers = union(ball(24, 3, -6, (18, 21, 34), -38), ball(2, 31, 22, (35, 17, 24)))
    body.paint("left heart blood", chambers, over=("heart", "right heart blood"))
    over = ("left lung", "right lung", "visceral fat", "soft", "heart")
    for side in (1, -1):
        for dz in (-6, 16):
            veins = tube(
                [at(side * 26, 34, 22), at(side * 44, 38, 22 + dz), at(side * 62, 40, 24 + dz * 1.6)], (9, 7, 4.5)
            )
            body.paint("left heart blood", veins, over=over)
    cava: list[Point] = [at(-36, 4, 20), (-30, -20, 165), (-31, -24, 195), (-27, -30, 222)]
    body.paint("superior vena cava", tube(cava, (11, 10, 9.5, 8.5)), over=(*over, "muscle"))
    left_vein = [(-27, -31, 220), (0, -38, 226), (28, -34, 244), (40, -20, 262)]
    right_vein = [(-27, -30, 220), (-32, -26, 245), (-40, -14, 262)]
    body.paint("vein", union(tube(left_vein, (7, 7, 6.5, 6)), tube(right_vein, (7, 6.5, 6))), over=(*over, "muscle"))
    trunk: list[Point] = [at(12, -22, 32), (22, -34, 168), (20, -18, 182), (2, -6, 180)]
    arteries = union(
        tube(trunk, (14, 14, 13, 12)),
        tube([(18, -16, 182), (34, 4, 184), (48, 14, 176)], (12, 11, 8)),
        tube([(10, -10, 180), (-22, -6, 175), (-48, 8, 168)], (12, 10.5, 8)),
    )
    body.paint("pulmonary artery", arteries, over=over)


def paint_airways(body: Body, patient: Patient) -> None:
    """Trachea and the main bronchi."""
    draw = patient.draw("airways")
    wide = draw.around(8.8 if patient.female else 9.8, 0.5)
    carina = (1, 16, 192 + draw.around(0, 4))
    path = [(0, -12, 312), (0, -8, 280), (-1, 2, 240), carina]
    right = [carina, (-20, 18, 176), (-38, 20, 162), (-54, 22, 142)]
    left = [carina, (20, 20, 176), (40, 24, 164), (54, 28, 142)]
    branches = union(tube(right, (8.5, 7.5, 5.5, 3.5)), tube(left, (8, 6.5, 5, 3.2)))
    walls = union(tube(right, (10.3, 9.2, 7, 4.8)), tube(left, (9.8, 8.3, 6.5, 4.5)))
    body.paint("bronchus wall", walls)
    body.paint("trachea wall", tube(path, wide + 1.8))
    body.paint("bronchus", branches)
    body.paint("trachea", tube(path, wide))


def paint_lung_vessels(body: Body, patient: Patient) -> None:
    """Branching vessels inside the lungs."""
    draw = patient.draw("lung vessels")
    for name, side in SIDES:
        roots = [(side * 46.0, 14.0, 172.0), (side * 50.0, 22.0, 156.0), (side * 50.0, 16.0, 144.0)]
        aims = [
            (side * 70, -20, 250),
            (side * 75, 55, 215),
            (side * 92, 40, 60),
            (side * 85, -60, 110),
            (side * 110, 0, 140),
        ]
        aims += [
            (side * 60, 40, 265),
            (side * 100, 25, 190),
            (side * 95, 60, 110),
            (side * 70, 70, 30),
            (side * 75, -55, 165),
        ]
        pieces: list[Solid] = []
        for aim in aims:
            root = np.array(roots[int(draw.rng.integers(len(roots)))])
            grow_tree(pieces, draw, root, draw.near(aim, 10), radius=4.8, levels=5)
        body.paint(f"{name} lung vessel", union(*pieces), over=f"{name} lung")


def grow_tree(pieces: list[Solid], draw: Draw, start: np.ndarray, aim: np.ndarray, radius: float, levels: int) -> None:
    """Append round cones of a branching tree from ``start`` towards ``aim`` to ``pieces``."""
    way = aim - start
    end = start + way * (0.45 if levels > 1 else 1.0) + draw.rng.normal(0, 3, 3)
    pieces.append(cone(start, end, radius, radius * 0.78))
    if levels <= 1:
        return
    length = float(np.linalg.norm(way))
    for _ in range(2):
        # Branches spread sideways of the parent's direction and get shorter.
        spread = draw.rng.normal(0, 0.36 * length, 3)
        spread -= way * float(spread @ way) / max(length**2, 1e-6)
        grow_tree(pieces, draw, end, aim + spread, radius * 0.7, levels - 1)


def paint_aorta(body: Body, patient: Patient) -> None:
    """Aorta from the heart to its division, with the branches of the arch and of the abdomen."""
    draw = patient.draw("aorta")
    wide = draw.around(1.0, 0.07)
    arch = draw.around(0, 4)
    chest = [(2, -26, 148), (-16, -34, 172), (-17, -32, 198), (-4, -16, 219 + arch), (12, 8, 220 + arch)]
    chest += [(22, 30, 202), (24, 38, 170), (22, 40, 110), (18, 36, 55), (9, 22, 12)]
    abdomen = [(8, 14, -20), (7, 9, -70), (5, 8, -122)]
    radii = np.array((15, 16, 15.5, 14, 13.5, 13, 12.5, 12, 11.5, 11, 10, 9.5, 8.5)) * wide
    path = [*chest, *abdomen]
    path = [p if i in (0, len(path) - 1) else tuple(draw.near(p, 1.2)) for i, p in enumerate(path)]
    body.paint("aorta", tube(path, radii, 9))
    up = 218 + arch
    left_common = tube([(2, -10, up), (14, -12, 245), (24, -4, 285), (26, 2, 310)], (4.5, 4, 3.8, 3.6))
    innominate = tube([(-6, -18, up), (-14, -18, 240), (-22, -6, 262)], (6.5, 6, 5.5))
    subclavian = [tube([(12, 4, up), (26, 8, 250), (50, 2, 272), (95, -8, 262)], (5, 5, 4.5, 4.5))]
    subclavian.append(tube([(-22, -6, 262), (-50, 2, 272), (-95, -8, 262)], (5, 4.5, 4.5)))
    over = ("visceral fat", "soft", "muscle", "muscle fat", "fat", "left lung", "right lung")
    body.paint("artery", union(innominate, *subclavian), over=over)
    body.paint("left carotid artery", left_common, over=over)
    body.paint(
        "right carotid artery", tube([(-22, -6, 262), (-26, -2, 285), (-26, 2, 310)], (4.2, 3.9, 3.6)), over=over
    )


def paint_oesophagus(body: Body, patient: Patient) -> None:
    """Oesophagus from behind the larynx to the stomach."""
    draw = patient.draw("oesophagus")
    path = [(1, 9, 318), (4, 15, 280), (5, 27, 230), (3, 32, 180), (2, 28, 130), (8, 16, 85), (22, 6, 58), (34, 6, 46)]
    path = [tuple(draw.near(p, 1.2)) if 0 < i < len(path) - 1 else p for i, p in enumerate(path)]
    over = (
        "visceral fat",
        "soft",
        "muscle",
        "muscle fat",
        "left lung",
        "right lung",
        "diaphragm",
        "liver",
        "heart",
        "fat",
    )
    body.paint("oesophagus", tube(path, (6.5, 7, 7.5, 8, 8, 8.5, 9, 9)), over=over)
    for where in draw.rng.uniform(100, 300, 4):
        y = float(np.interp(where, [p[2] for p in reversed(path)], [p[1] for p in reversed(path)]))
        x = float(np.interp(where, [p[2] for p in reversed(path)], [p[0] for p in reversed(path)]))
        gas = ellipsoid((x, y, where), (draw.between(1.5, 4), draw.between(1.2, 2.5), draw.between(6, 15)))
        body.paint("oesophagus gas", gas, over="oesophagus")

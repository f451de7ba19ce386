"""Spine, rib cage, shoulder girdle, pelvis and thigh bones, and the muscles along the spine."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from fseft.phantom.frame import CAGE, SIDES, VERTEBRAE, Draw, Patient, Vertebra, canal_y, spine_y
from fseft.phantom.painting import Body
from fseft.phantom.shapes import (
    Shape,
    Solid,
    below,
    blend,
    clip,
    cone,
    cut,
    ellipsoid,
    grow,
    shell,
    spline,
    tube,
    tube_through,
    union,
)


def paint_spine_muscles(body: Body, patient: Patient) -> None:
    """Erector spinae and psoas of both sides."""
    draw = patient.draw("spine muscles")
    bulk = draw.around(1, 0.12)
    for name, side in SIDES:
        levels = (-215, -150, -70, 20, 120, 210, 270)
        radii = np.array((12, 25, 27, 23, 18, 14, 10)) * bulk
        offset = (18, 32, 36, 31, 25, 21, 18)
        points = [(side * o, canal_y(z) + 15, z) for o, z in zip(offset, levels, strict=True)]
        body.paint("muscle fat", tube(points, radii + 1.8, 14), over=("muscle", "muscle fat"))
        body.paint(f"{name} erector spinae", tube(points, radii, 14), over=("muscle", "muscle fat"), wobble=(1.5, 1))
        path = [(side * 24, 42, 0), (side * 33, 36, -60), (side * 44, 30, -120), (side * 62, 4, -190)]
        path += [(side * 84, -32, -265), (side * 96, -8, -325)]
        psoas = tube(path, np.array((4, 10, 15, 17, 14, 9)) * bulk, 10)
        body.paint(f"{name} psoas", psoas, wobble=(1, 0.6))
        iliacus = ellipsoid((side * 93, 18, -195), (13, 40, 54), (0, 24 * side, 0))
        body.paint("muscle", iliacus, over=("visceral fat", "fat", "muscle fat"), wobble=(1, 0.6))


def paint_spine(body: Body, patient: Patient) -> None:
    """Vertebrae, discs, canal and cord."""
    draw = patient.draw("spine")
    bulk = draw.around(1, 0.04)
    ordered = sorted(VERTEBRAE, key=lambda v: v.z)
    discs = []
    for low, high in pairwise(ordered):
        middle = (low.z + low.half_height + high.z - high.half_height) / 2
        height = (high.z - high.half_height - low.z - low.half_height) / 2 + 1.5
        y = (low.y + high.y) / 2
        discs.append(ellipsoid((0, y, middle), (low.half_width * 0.98, low.half_depth * 0.98, height), boxy=True))
    sacral_disc = ellipsoid((0, spine_y(-176) - 1, -176.5), (23, 16, 8), (-20, 0, 0), boxy=True)
    body.paint("intervertebral discs", union(*discs, sacral_disc))
    for vertebra in ordered:
        for part in _processes(vertebra, bulk):
            body.paint("vertebrae", part, wobble=(0.3, 0.3))
        centre = (0, vertebra.y, vertebra.z)
        size = np.array((vertebra.half_width, vertebra.half_depth, vertebra.half_height)) * (bulk, bulk, 1)
        body.paint("vertebrae", ellipsoid(centre, size, boxy=True), wobble=(0.4, 0.3))
        body.paint("vertebrae marrow", ellipsoid(centre, size - 2.0, boxy=True), over="vertebrae")
    _paint_atlas(body)
    _paint_sacrum(body, bulk)
    levels = np.arange(-240, 430, 24.0)
    canal = [(0, canal_y(z), z) for z in levels]
    width = np.interp(levels, [-240, -180, 0, 250, 300, 425], [4, 9, 9.5, 8.5, 10, 11])
    body.paint("spinal canal", tube_through(np.array(canal), width))
    cord = [(0, canal_y(z), z) for z in np.arange(-28, 425, 18.0)]
    thick = np.interp(np.arange(-28, 425, 18.0), [-28, -5, 20, 230, 300, 400], [1.5, 4.2, 4.8, 4.4, 6.0, 5.8])
    body.paint("spinal cord", tube_through(np.array(cord), thick * draw.around(1, 0.04)))


def _processes(vertebra: Vertebra, bulk: float) -> list[Solid]:
    """Arch, pedicles, transverse and spinous processes of one vertebra."""
    z, canal = vertebra.z, canal_y(vertebra.z)
    cervical, lumbar = vertebra.name.startswith("C"), vertebra.name.startswith("L")
    thickness = (3.0 if cervical else 4.2 if not lumbar else 5.0) * bulk
    reach = 11.5 if cervical else 13.0
    parts: list[Solid] = []
    spinous = 30.0 if lumbar else 32.0 if not cervical else (34.0 if vertebra.name == "C7" else 20.0)
    drop = 6.0 if lumbar else 18.0 if not cervical else 4.0
    tip = (0.0, canal + spinous, z - drop - 4)
    for side in (1, -1):
        front = (side * reach, vertebra.y + vertebra.half_depth * 0.5, z + 3)
        corner = (side * (reach + 1.5), canal + 1, z)
        back = (0.0, canal + 14, z - 4)
        across = 42 if lumbar else (22 if cervical else 33)
        behind = 4 if lumbar else (-4 if cervical else 10)
        end = (side * across, canal + behind, z + (0 if lumbar else 3))
        parts.append(union(cone(front, corner, thickness, thickness), cone(corner, back, thickness, thickness)))
        parts.append(cone(corner, end, thickness, thickness * 0.7))
        facets = ellipsoid(
            (side * (reach + 5), canal + 5, z - vertebra.half_height), (5.5, 6, vertebra.half_height * 0.8)
        )
        parts.append(facets)
    parts.append(cone((0, canal + 13, z - 4), tip, thickness * 0.8, thickness * 0.8))
    return parts


def _paint_atlas(body: Body) -> None:
    """The first cervical vertebra, a ring around the tooth of the second."""
    z = 394.0
    front, back = spine_y(z) - 10, canal_y(z) + 16
    angles = np.linspace(0, 2 * np.pi, 15)
    middle, depth = (front + back) / 2, (back - front) / 2
    ring = [(19 * np.sin(a), middle - depth * np.cos(a), z) for a in angles]
    masses = [ellipsoid((s * 20, spine_y(z) + 3, z), (9, 9, 9)) for _, s in SIDES]
    wings = [cone((s * 22, spine_y(z) + 5, z), (s * 37, spine_y(z) + 6, z - 2), 5, 3.5) for _, s in SIDES]
    tooth = tube([(0, spine_y(384), 378), (0, spine_y(394) - 2, 390), (0, spine_y(400) - 2, 400)], (7, 5.5, 4.5))
    body.paint("vertebrae", union(tube(ring, 4.2, 8), *masses, *wings, tooth), wobble=(0.3, 0.3))
    marrow = union(*(grow(m, -2) for m in masses), cone((0, spine_y(384), 378), (0, spine_y(394) - 2, 394), 4.5, 2.5))
    body.paint("vertebrae marrow", marrow, over="vertebrae")


def _paint_sacrum(body: Body, bulk: float) -> None:
    blocks = []
    for z, width, depth in ((-192, 50, 21), (-216, 46, 18), (-240, 38, 14), (-262, 26, 10)):
        blocks.append(ellipsoid((0, spine_y(z) + 6, z), np.array((width, depth, 20)) * bulk, (-25, 0, 0)))
    solid = blend(blocks, 12)
    coccyx = tube([(0, 98, -270), (0, 96, -288), (0, 88, -302)], (7, 5, 3))
    body.paint("sacrum", union(solid, coccyx), wobble=(0.8, 0.8))
    body.paint("sacrum marrow", grow(solid, -3.5), over="sacrum", wobble=(0.8, 0.8))
    for side in (1, -1):
        for z in (-205, -228, -248):
            hole = cone((side * 20, spine_y(z) - 14, z), (side * 20, spine_y(z) + 30, z), 4, 4)
            body.paint("muscle fat", hole, over=("sacrum", "sacrum marrow"))


def _cage_point(angle: float, z: float) -> tuple[float, float, float]:
    """A point of the rib cage; ``angle`` 0 at the back, pi at the front, on the left."""
    table = np.array(CAGE)
    side, front, back = (np.interp(z, table[:, 0], table[:, i]) for i in (1, 2, 3))
    s, c = np.sin(angle), np.cos(angle)
    power = 2 / 2.5
    x = side * abs(s) ** power
    y = (front + back) / 2 + (back - front) / 2 * np.sign(c) * abs(c) ** power
    return float(x), float(y), z


def paint_ribs(body: Body, patient: Patient) -> None:
    """Twelve pairs of ribs, their cartilage, and the sternum."""
    draw = patient.draw("ribs")
    thick = draw.around(5.3, 0.3)
    slope = draw.around(1, 0.08)
    notch, tip = 236.0, 62.0
    by_name = {v.name: v for v in VERTEBRAE}
    for number in range(1, 13):
        vertebra = by_name[f"T{number}"]
        start = vertebra.z + vertebra.half_height * 0.4
        drop = float(np.interp(number, [1, 3, 6, 8, 10, 12], [38, 68, 92, 98, 84, 60])) * slope
        end = float(np.interp(number, [1, 5, 7, 10, 11, 12], [2.55, 2.62, 2.45, 2.05, 1.55, 1.1]))
        sternal = notch - 12 - (number - 1) * (notch - tip - 20) / 6.5
        angles = np.linspace(0.28, end, 14)
        points = [_cage_point(a, start - drop * ((a - 0.28) / 2.4) ** 1.1) for a in angles]
        for name, side in SIDES:
            path: list[tuple[float, float, float]] = [
                (side * 15, vertebra.y + 14, start),
                (side * 28, canal_y(start) + 8, start),
            ]
            path += [(side * x, y, z) for x, y, z in points]
            curve, _ = spline(path, 11)
            rib = tube_through(curve, np.full(len(curve), thick))
            body.paint(f"{name} ribs", rib, wobble=(0.2, 0.4), core=((f"{name} ribs marrow", 2.2),))
            if number <= 10:
                _paint_cartilage(body, path[-1], number, side, sternal, thick)
    _paint_sternum(body, patient, notch, tip)


def _paint_cartilage(
    body: Body, end: tuple[float, float, float], number: int, side: int, sternal: float, thick: float
) -> None:
    front = _cage_point(np.pi, max(sternal, 50.0))[1]
    if number <= 7:
        goal = (side * 14, front + 1, sternal)
        middle = ((end[0] + goal[0]) / 2, (end[1] + goal[1]) / 2 - 4, min(end[2], sternal) + 2.0)
        path = [end, middle, goal]
    else:
        # The lower ribs' cartilages lean on the one above and make the costal arch.
        path = [end, (end[0] * 0.72, end[1] - 14, end[2] + 14), (end[0] * 0.45, end[1] - 18, end[2] + 36)]
    body.paint("costal cartilage", tube(path, thick * 0.95, 12), over=("muscle", "muscle fat", "fat", "visceral fat"))


def _paint_sternum(body: Body, patient: Patient, notch: float, tip: float) -> None:
    front = [_cage_point(np.pi, z)[1] for z in (notch - 5, 190, 140, 95, tip)]
    parts = [
        ellipsoid((0, front[0] - 1, notch - 22), (31, 8, 25), (-18, 0, 0), boxy=True),
        ellipsoid((0, front[1] - 2, 172), (18, 7, 34), (-12, 0, 0), boxy=True),
        ellipsoid((0, front[2] - 2, 118), (20, 7, 34), (-4, 0, 0), boxy=True),
        ellipsoid((0, front[4] - 1, tip + 14), (9, 4, 18), boxy=True),
    ]
    body.paint("sternum", union(*parts), wobble=(0.6, 0.5))
    body.paint("sternum marrow", union(*(grow(p, -2) for p in parts)), over="sternum", wobble=(0.6, 0.5))


def paint_shoulders(body: Body, patient: Patient) -> None:
    """Clavicles and scapulae."""
    draw = patient.draw("shoulders")
    lift = draw.around(18 if patient.arms_up else 0, 4)
    for name, side in SIDES:
        inner, outer = (side * 24, -58, 238), (side * 142, 12, 262 + lift)
        path = [inner, (side * 62, -58, 246 + lift * 0.4), (side * 104, -18, 258 + lift * 0.8), outer]
        body.paint(f"{name} clavicle", tube(path, (9, 6.5, 6, 7)))
        body.paint(f"{name} clavicle marrow", tube(path, (6.5, 3.5, 3.2, 4)))
        blade = _blade(side, lift)
        spine = tube([(side * 70, 98, 222), (side * 103, 84, 240), (side * 140, 40, 262 + lift * 0.8)], (4, 6, 8))
        neck = tube([(side * 118, 62, 234), (side * 132, 34, 240)], (10, 15))
        body.paint(f"{name} scapula", union(blade, spine, neck), wobble=(0.5, 0.4))
        body.paint(f"{name} scapula marrow", tube([(side * 118, 62, 234), (side * 131, 36, 240)], (7, 12)))


def _blade(side: int, lift: float) -> Shape:
    """The flat triangle of a scapula, leaning on the ribs."""
    plate = ellipsoid((side * 104, 79, 188 + lift * 0.3), (3.4, 44, 66), (0, 5 * side, 57 * side))
    # The lower tip is narrow: the medial and the lateral border meet there.
    lateral = below((side * 132, 60, 210), (side * 1.0, 0, -0.62))
    return clip(plate, lateral)


def paint_pelvis(body: Body, patient: Patient) -> None:
    """Hip bones and thigh bones."""
    draw = patient.draw("pelvis")
    wide = draw.around(1.05 if patient.female else 1.0, 0.025)
    for name, side in SIDES:
        wing = _iliac_wing(side, wide)
        hip = (side * 92 * wide, 2, -292)
        cup = cut(ellipsoid((side * 80 * wide, 6, -286), (31, 31, 33)), ellipsoid(hip, (27, 27, 27)))
        pubis = [(side * 66 * wide, -18, -292), (side * 38, -48, -306), (side * 6, -56, -318)]
        lower = [(side * 8, -54, -326), (side * 34, -24, -350), (side * 52 * wide, 20, -358)]
        ischium = [(side * 74 * wide, 30, -300), (side * 66 * wide, 40, -335), (side * 54 * wide, 26, -358)]
        rami = union(tube(pubis, (12, 9, 11)), tube(lower, (9, 7, 12)), tube(ischium, (17, 17, 14)))
        inner = union(tube(pubis, (9, 6, 8)), tube(lower, (6, 4, 9)), tube(ischium, (14, 14, 11)))
        body.paint(f"{name} hip bone", union(wing, cup, rami), wobble=(0.6, 0.6))
        body.paint(f"{name} hip bone marrow", union(grow(wing, -2.2), grow(cup, -2.5), inner), over=f"{name} hip bone")
        _paint_femur(body, name, side, hip, draw)
    body.paint("intervertebral discs", ellipsoid((0, -55, -319), (3.5, 9, 17)), over=("muscle", "visceral fat", "fat"))


def _iliac_wing(side: int, wide: float) -> Shape:
    """The wing of a hip bone: a curved plate from the sacrum round to the front."""
    bowl = ellipsoid((side * 8, -22, -178), (116 * wide, 128, 170))
    plate = shell(bowl, 11)
    crest = ellipsoid((side * 88, 22, -206), (75, 84, 82), (0, 0, -14 * side))
    floor = below((0, 0, -276), (0, 0, -1))
    lateral = below((side * 42, 60, 0), (-side, 0.15, 0))
    return clip(plate, crest, floor, lateral)


def _paint_femur(body: Body, name: str, side: int, hip: tuple[float, float, float], draw: Draw) -> None:
    x, y, z = hip
    neck = [(x, y, z), (x + side * 28, y + 4, z - 22), (x + side * 40, y + 8, z - 42)]
    shaft = [(x + side * 38, y + 8, z - 30), (x + side * 34, y + 4, z - 80), (x + side * 26, y - 2, z - 160)]
    size = draw.around(1, 0.04)
    head = ellipsoid(hip, (24 * size, 24 * size, 24 * size))
    trochanter = ellipsoid((x + side * 42, y + 12, z - 22), (15, 19, 24))
    body.paint("muscle fat", ellipsoid(hip, (26.5, 26.5, 26.5)), over=("muscle", "fat", "visceral fat"))
    body.paint(f"{name} femur", union(head, trochanter, tube(neck, (18, 16, 19)), tube(shaft, (19, 15, 14), 20)))
    marrow: list[Solid] = [
        grow(head, -2),
        grow(trochanter, -2.5),
        tube(neck, (15, 12.5, 15)),
        tube(shaft, (14, 8, 6.5), 20),
    ]
    body.paint(f"{name} femur marrow", union(*marrow), over=f"{name} femur")
    if draw.chance(0.05):
        # An artificial hip: ball, neck and stem.
        stem = tube([hip, neck[1], (x + side * 38, y + 8, z - 40), (x + side * 33, y + 3, z - 110)], (7, 7, 9, 5))
        body.paint("metal", union(ellipsoid(hip, (15, 15, 15)), stem))

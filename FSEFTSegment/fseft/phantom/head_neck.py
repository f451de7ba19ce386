"""Head and neck: skull, brain, face, airway, glands, vessels and muscles."""

from __future__ import annotations

import numpy as np

from fseft.phantom.frame import SIDES, Draw, Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import Shape, Solid, below, blend, clip, cone, cut, ellipsoid, grow, shell, shift, tube, union
from fseft.phantom.surface import SKIN_MM

_FLESH = ("muscle", "muscle fat", "fat", "soft")
_CRANIUM = ((0.0, -6.0, 482.0), (71.0, 91.0, 80.0))


def paint_head_surface(body: Body, patient: Patient) -> None:
    """Skin, fat and flesh of the head."""
    draw = patient.draw("head surface")
    thin = 0.12 * patient.fat_mm[1]
    centre, radii = _CRANIUM
    scalp = ellipsoid(centre, np.array(radii) + 4.5)
    face = ellipsoid((0, -46, 418), (63 + thin, 62, 74), (-8, 0, 0))
    cheeks = [ellipsoid((s * 44, -30, 392), (29 + thin, 44, 36)) for _, s in SIDES]
    chin = ellipsoid((0, -78, 358), (30, 26 + thin, 24))
    nape = ellipsoid((0, 40, 420), (52, 50, 58))
    under = ellipsoid((0, -36, 352), (46 + thin, 46, 28))
    head = blend([scalp, face, *cheeks, chin, nape, under], 22)
    nose = blend([cone((0, -106, 450), (0, -122, 424), 6, 12), ellipsoid((0, -108, 420), (17, 12, 9))], 8)
    ears = [ellipsoid((s * 74, 8, 430), (6, 17, 30), (12, 0, -20 * s)) for _, s in SIDES]
    body.paint("skin", union(grow(head, SKIN_MM), grow(nose, 1), *ears), over="air", wobble=(0.8, 0.2))
    body.paint("fat", head, over=("air", "skin"), wobble=(0.8, 0.2))
    body.paint("soft", nose, over="skin")
    inner = [ellipsoid(centre, np.array(radii) + 2.0), ellipsoid((0, -42, 418), (52, 56, 66), (-8, 0, 0))]
    inner += [ellipsoid((s * 42, -26, 394), (21, 34, 30)) for _, s in SIDES]
    inner += [
        ellipsoid((0, 34, 418), (47, 46, 54)),
        ellipsoid((0, -34, 356), (40, 40, 26)),
        ellipsoid((0, -70, 356), (26, 24, 17)),
    ]
    body.paint("muscle", blend(inner, 18), over=("fat", "skin"), wobble=(1.5, 1.0))
    size = draw.around(1, 0.05)
    for _, side in SIDES:
        pad = ellipsoid((side * 41, -58, 402), np.array((13, 16, 22)) * size)
        body.paint("fat", pad, over="muscle", wobble=(2, 1))
        deep = ellipsoid((side * 30, -14, 388), (9, 10, 22))
        body.paint("fat", deep, over="muscle", wobble=(2, 1.5))


def paint_neck_muscles(body: Body, patient: Patient) -> None:
    """Muscles of the neck and of chewing, with fat between them."""
    draw = patient.draw("neck muscles")
    bulk = draw.around(0.9 if patient.female else 1.0, 0.1)
    for name, side in SIDES:
        fat = tube([(side * 40, 30, 300), (side * 44, 22, 340), (side * 44, 16, 380)], (16, 14, 10), 14)
        body.paint("fat", fat, over="muscle", wobble=(3, 2))
        nape = tube(
            [(side * 20, 62, 270), (side * 18, 54, 330), (side * 20, 50, 400)], np.array((19, 18, 20)) * bulk, 20
        )
        body.paint("muscle fat", nape, over=("fat",), wobble=(2, 1))
        body.paint(
            "muscle",
            tube([(side * 20, 60, 270), (side * 18, 52, 330), (side * 20, 48, 405)], np.array((17, 16, 17)) * bulk, 20),
            over=("fat", "muscle fat"),
            wobble=(2, 1),
        )
        path = [(side * 14, -52, 246), (side * 36, -32, 300), (side * 50, -6, 350), (side * 58, 20, 405)]
        body.paint("fat", tube(path, np.array((8, 12, 13, 11)) * bulk, 14), over=_FLESH)
        strap = tube(path, np.array((5.5, 9, 10.5, 8)) * bulk, 12)
        body.paint(f"{name} sternocleidomastoid", strap, over=(*_FLESH, "skin"), wobble=(0.8, 0.5))
        masseter = tube(
            [(side * 56, -34, 424), (side * 54, -26, 388), (side * 51, -22, 364)], np.array((9, 10, 7)) * bulk
        )
        body.paint("muscle", masseter, over=("fat", "muscle fat"))
        temporal = ellipsoid((side * 66, -32, 458), (8, 30, 30))
        body.paint("muscle", temporal, over=("fat",))


def paint_skull(body: Body, patient: Patient) -> None:
    """Brain case with brain, face bones with sinuses, and eyes."""
    draw = patient.draw("skull")
    centre, radii = _CRANIUM
    thick = draw.around(5.8, 0.6)
    base = below((0, 14, 412), (0, -0.32, -1))
    vault = ellipsoid(centre, radii)
    posterior = ellipsoid((0, 42, 440), (56, 44, 40))
    outer = blend([clip(vault, base), posterior], 10)
    body.paint("skull", clip(outer, grow(base, 6)), wobble=(0.5, 0.3))
    middle_table = ellipsoid(centre, np.array(radii) - 2.2)
    body.paint(
        "skull marrow",
        clip(cut(middle_table, ellipsoid(centre, np.array(radii) - thick + 2)), below((0, 0, 455), (0, 0, -1))),
        over="skull",
    )
    hollow = ellipsoid(centre, np.array(radii) - thick)
    inside = blend([clip(hollow, grow(base, -4)), ellipsoid((0, 40, 440), (50, 38, 34))], 8)
    _paint_face_bones(body, draw)
    for name, side in SIDES:
        petrous = tube([(side * 62, 16, 428), (side * 38, 4, 434), (side * 14, -8, 438)], (14, 10, 6))
        body.paint("skull", petrous, wobble=(0.5, 0.8))
        mastoid = ellipsoid((side * 58, 22, 412), (11, 15, 20))
        body.paint("skull", mastoid, wobble=(0.5, 1))
        for _ in range(9):
            cell = ellipsoid(draw.near((side * 59, 20, 416), 5), (2.6, 2.6, 3.2))
            body.paint("sinus", cell, over="skull")
        canal = cone((side * 82, 4, 428), (side * 52, 4, 430), 3.2, 3.0)
        body.paint("sinus", canal, over=("skull", "muscle", "fat", "skin"))
        _paint_eye(body, draw, name, side)
    _paint_brain(body, patient, inside)


def _paint_face_bones(body: Body, draw: Draw) -> None:
    for _, side in SIDES:
        cheek = tube(
            [(side * 58, 0, 428), (side * 60, -34, 428), (side * 48, -66, 426), (side * 36, -74, 428)], (4.5, 4, 8, 5)
        )
        rim = tube(
            [(side * 50, -68, 432), (side * 52, -72, 448), (side * 36, -86, 458), (side * 14, -92, 452)], (5, 4.5, 5, 5)
        )
        upper = ellipsoid((side * 26, -64, 415), (20, 23, 19))
        orbit = shell(ellipsoid((side * 32, -66, 442), (20, 30, 19), (0, 0, -14 * side)), 2.4)
        plate = tube([(side * 30, -22, 432), (side * 27, -28, 410), (side * 25, -30, 398)], (6, 4, 3.5))
        front = below((0, -76, 0), (0, -1, 0))
        body.paint("skull", union(cheek, rim, upper, clip(orbit, front), plate), wobble=(0.4, 0.4))
    body.paint("skull", ellipsoid((0, -34, 432), (26, 26, 16)), wobble=(0.5, 0.5))
    palate = ellipsoid((0, -66, 399), (24, 32, 5), boxy=True)
    arch = _arch(30, 22, 394, -70, 6.5)
    body.paint("skull", union(palate, arch), wobble=(0.4, 0.4))
    body.paint("skull marrow", _arch(30, 22, 395, -70, 4.5), over="skull")
    body.paint("skull", tube([(0, -94, 456), (0, -102, 444)], (7, 4)))
    size = draw.between(0.85, 1.1)
    for _, side in SIDES:
        antrum = ellipsoid((side * 28, -64, 416), np.array((17, 20, 16)) * size, (0, 0, -10 * side))
        body.paint("mucosa", grow(antrum, draw.between(0.3, 2.0)), over="skull", wobble=(0.5, 0.5))
        body.paint("sinus", antrum, over=("skull", "mucosa", "muscle", "fat"), wobble=(1.2, 0.5))
        body.paint("sinus", ellipsoid((side * 9, -64, 444), (5.5, 18, 10)), over=("skull", "muscle"), wobble=(0.5, 1))
        frontal = ellipsoid((side * 13, -90, 470), np.array((11, 5, 12)) * size)
        body.paint("sinus", frontal, over="skull", wobble=(0.8, 0.8))
        nasal = ellipsoid((side * 7, -66, 418), (5.5, 34, 17), boxy=True)
        body.paint("mucosa", grow(nasal, 1.5), over=("skull", "muscle", "sinus"))
        body.paint("sinus", nasal, over=("skull", "muscle", "mucosa", "fat", "soft"), wobble=(0.6, 0.5))
        for dz in (-9, 2, 10):
            turbinate = ellipsoid((side * 9, -66, 417 + dz), (3, 22, 3.2))
            body.paint("mucosa", turbinate, over="sinus", wobble=(0.6, 0.5))
    body.paint("sinus", ellipsoid((0, -34, 434), (17 * size, 14, 11)), over="skull", wobble=(1, 0.6))


def _arch(half_width: float, depth: float, z: float, y: float, radius: float) -> Solid:
    """A horseshoe open to the back, as the tooth-bearing parts of the jaws."""
    angles = np.linspace(0, np.pi, 9)
    points = [(half_width * np.cos(a), y - depth * np.sin(a) ** 0.8, z) for a in angles]
    points = [(half_width * 1.02, y + 24, z), *points, (-half_width * 1.02, y + 24, z)]
    return tube(points, radius, 6)


def _paint_eye(body: Body, draw: Draw, name: str, side: int) -> None:
    centre = np.array((side * 32.0, -82.0, 442.0))
    cavity = ellipsoid((side * 31, -68, 442), (17, 28, 16.5), (0, 0, -14 * side))
    body.paint("fat", cavity, over=("muscle", "skull", "soft", "sinus", "muscle fat"))
    nerve = tube([shift(centre, 0, 10, 0), (side * 24, -54, 441), (side * 12, -36, 443)], 2.2, 6)
    body.paint("muscle", nerve, over="fat")
    for dx, dz in ((9, 0), (-9, 0), (0, 9), (0, -9)):
        start = shift(centre, dx, 4, dz)
        body.paint(
            "muscle",
            tube([start, (side * 26 + dx * 0.8, -62, 442 + dz * 0.8), (side * 18, -44, 442)], (2, 2.4, 1.6), 8),
            over="fat",
        )
    size = draw.around(12.2, 0.3)
    lid = ellipsoid(shift(centre, 0, -6, 0), (15, 9, 13))
    body.paint("soft", lid, over=("air", "skin", "fat", "muscle"))
    body.paint(f"{name} eye", ellipsoid(centre, (size, size, size)))
    body.paint(f"{name} eye lens", ellipsoid(shift(centre, 0, -8, 0), (4.8, 2.2, 4.8)), over=f"{name} eye")


def _paint_brain(body: Body, patient: Patient, inside: Shape) -> None:
    """Brain in its fluid: cortex folded over white matter, ventricles, cerebellum, brain stem."""
    draw = patient.draw("brain")
    atrophy = draw.between(0.6, 2.4)
    body.paint("cerebrospinal fluid", inside)
    body.regions["brain case"] = inside
    cerebrum = grow(inside, -atrophy)
    body.paint("grey matter", cerebrum, within="brain case", wobble=(0.4, 0.9))
    white = grow(inside, -atrophy - 6)
    body.paint("white matter", white, over="grey matter", wobble=(1.5, 4.5))
    fissure = Shape(inside.lo, np.minimum(inside.hi, (3, 1e4, 1e4)), lambda x, y, z: np.abs(x) - np.float32(1.1))
    body.paint(
        "cerebrospinal fluid", clip(fissure, below((0, 0, 498), (0, 0, -1))), over=("grey matter", "white matter")
    )
    for _, side in SIDES:
        body.paint("grey matter", ellipsoid((side * 18, -4, 480), (12, 22, 11)), over="white matter", wobble=(1, 1))
        horn = [(side * 8, -38, 488), (side * 10, -10, 496), (side * 18, 30, 490), (side * 26, 44, 480)]
        body.paint(
            "cerebrospinal fluid",
            tube(horn, np.array((4, 4.5, 6, 3.5)) * draw.between(0.8, 1.3)),
            over=("white matter", "grey matter"),
        )
    cleft = clip(shell(ellipsoid((0, 46, 436), (60, 46, 36)), 2.2), below((0, 0, 440), (0, 0, -1)))
    body.paint("cerebrospinal fluid", cleft, over=("grey matter", "white matter"))
    stem = [(0, 31, 402), (0, 22, 424), (0, 14, 440), (0, 12, 458)]
    size = draw.around(1, 0.05)
    around = tube(stem, (9, 13, 17, 18), 6)
    body.paint("skull", cut(ellipsoid((0, 32, 409), (28, 30, 9)), ellipsoid((0, 34, 409), (15, 17, 30))), over=_FLESH)
    body.paint("cerebrospinal fluid", around, over=("grey matter", "white matter", "skull", "skull marrow", *_FLESH))
    body.paint("brain stem", tube(stem, np.array((6.5, 9.5, 14, 12)) * size, 6))


def paint_jaw(body: Body, patient: Patient) -> None:
    """Mandible, teeth, tongue and floor of the mouth."""
    draw = patient.draw("jaw")
    wide = draw.around(1, 0.04)
    body.paint("soft", ellipsoid((0, -66, 384), (31 * wide, 34, 13)), over=_FLESH, wobble=(1, 1))
    tongue = blend([ellipsoid((0, -56, 380), (24, 32, 16)), ellipsoid((0, -40, 364), (18, 20, 22))], 12)
    body.paint("tongue", tongue, over=_FLESH, wobble=(1, 0.8))
    halves: list[Solid] = []
    inner: list[Solid] = []
    for _, side in SIDES:
        path = [(side * 52, -4, 424), (side * 51, -6, 402), (side * 48 * wide, -12, 374)]
        path += [(side * 42 * wide, -36, 361), (side * 28 * wide, -70, 357), (side * 10, -89, 356), (0, -91, 356)]
        radii = np.array((5, 5, 5.5, 6, 6, 6.5, 6.5))
        ramus = ellipsoid((side * 50, -16, 394), (4.2, 16, 27), (10, 0, -6 * side))
        coronoid = cone((side * 49, -28, 408), (side * 49, -34, 424), 5, 3)
        upper = [(x * 0.98, y + 1, z + 10) for x, y, z in path[3:]]
        halves += [tube(path, radii, 7), tube(upper, 5.6, 7), ramus, coronoid]
        inner += [tube(path[1:], radii[1:] - 2.6, 7), tube(upper, 3.2, 7)]
    alveolar = _arch(29 * wide, 20, 369, -69, 4.5)
    body.paint("mandible", union(*halves, alveolar), wobble=(0.4, 0.4))
    body.paint("mandible marrow", union(*inner), over="mandible")
    _paint_teeth(body, draw, wide)


def _paint_teeth(body: Body, draw: Draw, wide: float) -> None:
    missing = draw.between(0, 0.25)
    for z, half, depth, y in ((384.5, 28, 21, -71), (375.5, 28 * wide, 19, -70)):
        angles = np.concatenate([np.linspace(0.0, np.pi, 12)])
        places = [(half * np.cos(a), y - depth * np.sin(a) ** 0.8) for a in angles]
        places += [(s * half, y + d) for s in (1, -1) for d in (9, 18)]
        for x, at in places:
            if draw.chance(missing):
                continue
            crown = ellipsoid((x, at, z), (3.6, 3.4, 7.0), boxy=True)
            body.paint("tooth filling" if draw.chance(0.06) else "teeth", crown)


def paint_throat(body: Body, patient: Patient) -> None:
    """Pharynx, larynx with its cartilages, upper oesophagus, thyroid and salivary glands."""
    draw = patient.draw("throat")
    over = (*_FLESH, "tongue", "skull", "mucosa")
    path = [(0, -26, 424), (0, -14, 408), (0, -13, 388), (0, -11, 366), (0, -16, 348)]
    body.paint("pharynx wall", tube(path, (13, 13, 13, 14, 12)), over=over, wobble=(0.6, 0.6))
    body.paint(
        "pharynx", tube(path, np.array((9, 8.5, 8, 9, 6)) * draw.around(1, 0.1)), over=("pharynx wall", "mucosa")
    )
    lower = tube([(0, 4, 348), (0, 6, 332), (1, 9, 316)], (8, 8, 7))
    body.paint("pharynx wall", lower, over=over)
    frame = blend([ellipsoid((0, -24, 332), (20, 18, 18)), ellipsoid((0, -20, 314), (14, 14, 8))], 8)
    body.paint("larynx", frame, over=(*over, "pharynx wall"), wobble=(0.5, 0.4))
    shield = shell(ellipsoid((0, -18, 331), (18.5, 24, 19)), 2.6)
    open_back = below((0, -16, 0), (0, 1, -0.1))
    body.paint("larynx cartilage", clip(shield, open_back), over=("larynx", *_FLESH))
    ring = shell(ellipsoid((0, -17, 315), (12, 12, 14)), 3)
    body.paint(
        "larynx cartilage", clip(ring, below((0, 0, 318), (0, 0, 1)), below((0, 0, 309), (0, 0, -1))), over="larynx"
    )
    airway = [(0, -15, 350), (0, -19, 340), (0, -22, 331), (0, -19, 322), (0, -14, 309)]
    body.paint(
        "larynx airway", tube(airway, (7, 5.5, 3.2, 7, 8.8), 5), over=("larynx", "pharynx wall", "larynx cartilage")
    )
    hyoid = tube([(20, -8, 352), (13, -28, 350), (0, -36, 350), (-13, -28, 350), (-20, -8, 352)], 2.8, 6)
    body.paint("larynx cartilage", hyoid, over=_FLESH)
    thyroid = [tube([(s * 19, -16, 322), (s * 19, -18, 304), (s * 14, -22, 290)], (6, 9.5, 6)) for _, s in SIDES]
    gland = union(*thyroid, tube([(15, -24, 300), (0, -28, 299), (-15, -24, 300)], (5, 4, 5)))
    body.paint("thyroid gland", gland, over=_FLESH, wobble=(0.8, 0.6))
    for name, side in SIDES:
        parotid = blend(
            [
                ellipsoid((side * 59, -10, 396), draw.radii((11, 20, 27), 0.07), (0, 0, -12 * side)),
                ellipsoid((side * 50, 4, 388), draw.radii((12, 10, 18), 0.07)),
            ],
            10,
        )
        over_gland = (*_FLESH, "skin")
        body.paint(f"{name} parotid gland", parotid, over=over_gland, wobble=(1.5, 0.8))
        sub = ellipsoid(draw.near((side * 35, -36, 354), 1.5), draw.radii((9, 16, 14), 0.07), (0, 0, -20 * side))
        body.paint("fat", grow(sub, 2), over=_FLESH)
        body.paint(f"{name} submandibular gland", sub, over=_FLESH, wobble=(0.8, 0.5))


def paint_neck_vessels(body: Body, patient: Patient) -> None:
    """Carotid arteries and jugular veins."""
    draw = patient.draw("neck vessels")
    over = (*_FLESH, "left parotid gland", "right parotid gland", "visceral fat")
    for name, side in SIDES:
        common = [(side * 26, 2, 308), (side * 27, -4, 335), (side * 28, -3, 356)]
        inner = [(side * 28, -3, 354), (side * 31, 2, 380), (side * 29, 2, 412)]
        outer = [(side * 28, -4, 354), (side * 34, -12, 376), (side * 44, -10, 400)]
        size = draw.around(1, 0.1)
        body.paint("fat", union(tube(common, 8), tube(inner, 7)), over=("muscle", "soft"))
        artery = union(tube(common, np.array((3.6, 3.6, 4.6)) * size), tube(inner, np.array((3.4, 2.8, 2.5)) * size))
        artery = union(artery, tube(outer, np.array((2.8, 2.2, 1.8)) * size))
        wide = draw.between(0.75, 1.3)
        vein = [
            (side * 38, -10, 262),
            (side * 35, 0, 300),
            (side * 37, 2, 340),
            (side * 37, 8, 380),
            (side * 33, 10, 412),
        ]
        body.paint(f"{name} jugular vein", tube(vein, np.array((7, 6.5, 6, 5, 4)) * wide, 10), over=over)
        body.paint(f"{name} carotid artery", artery, over=over)

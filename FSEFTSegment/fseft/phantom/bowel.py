"""Small bowel, colon and rectum."""

from __future__ import annotations

import numpy as np

from fseft.phantom.frame import Draw, Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import Solid, spline, tube_through, union

_OVER = ("visceral fat", "vein", "artery", "soft")
_LOOPS_OVER = ("visceral fat", "vein", "soft")


def paint_small_bowel(body: Body, patient: Patient) -> None:
    """Loops that fill what the other organs leave free, folded back and forth without crossing."""
    draw = patient.draw("small bowel")
    radius = draw.between(10.5, 13.0)
    curve = _folded_path(draw, radius)
    along = np.arange(len(curve))
    # Slow waves: contracted and filled stretches.
    wide = radius * (0.86 + 0.14 * np.sin(along * 0.37 + draw.between(0, 6)) * np.sin(along * 0.11))
    body.paint(
        "small bowel", tube_through(curve, wide), over=_LOOPS_OVER, within="abdomen", wobble=(1.2, 1.2), clearance=5
    )
    lumen = tube_through(curve, np.maximum(wide - 2.8, 1.5))
    body.paint("small bowel content", lumen, over="small bowel", wobble=(1.2, 2.2), within="abdomen", clearance=7.5)
    for start in draw.rng.integers(0, max(len(curve) - 8, 1), 7):
        piece = slice(int(start), int(start) + int(draw.rng.integers(3, 7)))
        gas = tube_through(curve[piece] + (0, -2.5, 0), np.maximum(wide[piece] - 5, 1.5))
        body.paint("small bowel gas", gas, over="small bowel content")


def _folded_path(draw: Draw, radius: float) -> np.ndarray:
    """(N, 3) points of a serpentine through layers from front to back, jittered."""
    gap = 2.15 * radius
    points: list[np.ndarray] = []
    flip = 1
    for y in np.arange(-60, 26, gap):
        middle = np.array((draw.around(0, 6), y, -150 if y < 0 else -164))
        angle = draw.between(-1.2, 1.2)
        along, across = np.array((np.cos(angle), 0, np.sin(angle))), np.array((-np.sin(angle), 0, np.cos(angle)))
        # Walking each layer from its far side keeps the jump to the next one short.
        rows = np.arange(-80, 81, gap) * (1 if len(points) % 2 else -1)
        for row in rows:
            reach = np.sqrt(max(92.0**2 - row**2, 40.0**2))
            wave = draw.around(0, 5)
            for step in np.linspace(-reach, reach, 6) * flip:
                bend = wave * np.sin(step * 0.05)
                points.append(middle + along * step + across * (row + bend) + draw.near((0, 0, 0), 2.5))
            flip = -flip
    curve, _ = spline(points, 9)
    return curve


def colon_path(patient: Patient) -> list[tuple[float, float, float]]:
    """Middle line of the colon from the caecum to the anus."""
    draw = patient.draw("colon path")
    sag = draw.between(-120, -75)
    path = [
        (-78, -22, -202),
        (-94, 4, -165),
        (-99, 18, -120),
        (-98, 16, -88),
        (-84, -18, -76),
        (-48, -58, sag + 14),
        (0, -64, sag),
        (48, -60, sag + 22),
        (84, -38, -52),
        (100, 0, -30),
        (102, 22, -44),
        (103, 26, -90),
        (100, 22, -140),
        (92, 6, -182),
        (66, -6, -216),
        (34, -26, -236),
        (-6, -8, -226),
        (-20, 24, -238),
        (0, 50, -262),
        (0, 56, -295),
        (0, 42, -325),
        (0, 48, -352),
    ]
    return [tuple(draw.near(p, 3.0)) if i < len(path) - 4 else p for i, p in enumerate(path)]


def paint_colon(body: Body, patient: Patient) -> None:
    """Colon with haustra, filled in turn with stool and gas."""
    draw = patient.draw("colon")
    path = colon_path(patient)
    curve, at = spline(path, 7)
    knots = np.arange(len(path))
    size = (25, 24, 22, 21, 19, 18, 17, 17, 17, 16, 15, 14, 13, 13, 13, 13, 13, 14, 18, 19, 12, 8)
    wide = np.interp(at, knots, size) * draw.around(1, 0.1)
    haustra = 1 + 0.14 * np.sin(np.arange(len(curve)) * 1.45 + draw.between(0, 6))
    haustra[at > 17] = 1
    wide = wide * haustra
    body.paint(
        "colon",
        tube_through(curve, wide),
        over=(*_OVER, "small bowel", "small bowel content", "small bowel gas", "liver", "fat", "muscle"),
        within="trunk",
        wobble=(1.5, 0.8),
        clearance=12,
    )
    inner = np.maximum(wide - 3.0, 1.5)
    body.paint("stool", tube_through(curve, inner), over="colon", wobble=(1.5, 1.2), within="trunk", clearance=14)
    gassy: list[Solid] = []
    where = 0
    while where < len(curve) - 6:
        stretch = int(draw.rng.integers(4, 12))
        middle = at[min(where + stretch // 2, len(at) - 1)]
        # Gas gathers in the transverse and sigmoid colon, which lie in front.
        if draw.chance(0.75 if 4 <= middle <= 9 or 14 <= middle <= 16 else 0.25):
            part = slice(where, where + stretch)
            gassy.append(tube_through(curve[part] + (0, -1.5, 0), np.maximum(inner[part] - draw.between(0.5, 4), 1.5)))
        where += stretch
    if gassy:
        body.paint("colon gas", union(*gassy), over="stool", wobble=(1.5, 1.0))

"""Bladder, prostate or uterus, and the fat around them."""

from __future__ import annotations

import numpy as np

from fseft.phantom.frame import Patient
from fseft.phantom.painting import Body
from fseft.phantom.shapes import blend, ellipsoid, grow, tube


def paint_pelvic_organs(body: Body, patient: Patient) -> None:
    """Bladder behind the pubic bones, with the prostate below it or the uterus behind it."""
    draw = patient.draw("pelvic organs")
    full = draw.between(0.75, 1.25)
    centre = np.array((draw.around(0, 3), -18 + draw.around(0, 3), -272 + 10 * (full - 1)))
    over = (
        "visceral fat",
        "fat",
        "muscle",
        "muscle fat",
        "small bowel",
        "small bowel content",
        "small bowel gas",
        "colon",
        "stool",
        "colon gas",
        "soft",
        "vein",
    )
    bladder = ellipsoid(centre, np.array((40, 32, 27)) * full, (14, 0, 0))
    if patient.female:
        uterus = blend(
            [
                ellipsoid((draw.around(0, 5), 18, -258), (25, 20, 24), (-40, 0, 0)),
                ellipsoid((0, 26, -288), (15, 14, 22)),
            ],
            16,
        )
        body.paint("visceral fat", grow(uterus, 3), over=over[4:])
        body.paint("prostate or uterus", uterus, over=over, wobble=(1.2, 0.6))
        ovary = [ellipsoid((s * 42, 20, -258), (13, 10, 15)) for s in (1, -1)]
        for one in ovary:
            body.paint("soft", one, over="visceral fat", wobble=(1, 1))
    else:
        size = draw.between(0.85, 1.35)
        prostate = ellipsoid((0, -8, -316), np.array((24, 17, 18)) * size)
        body.paint("visceral fat", grow(prostate, 2.5), over=over)
        body.paint("prostate or uterus", prostate, over=over, wobble=(0.6, 0.4))
        seminal = tube([(-26, 18, -294), (0, 14, -302), (26, 18, -294)], (5, 4, 5))
        body.paint("soft", seminal, over="visceral fat")
    wall = draw.between(2.5, 4.0)
    body.paint("visceral fat", grow(bladder, wall + 2), over=over[4:])
    body.paint("bladder wall", grow(bladder, wall), over=over, wobble=(1, 0.4))
    body.paint("bladder", bladder, over="bladder wall", wobble=(1, 0.4))

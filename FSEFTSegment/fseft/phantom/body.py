"""A whole body in painting order."""

from __future__ import annotations

import numpy as np

from fseft.phantom import abdomen, bowel, chest, head_neck, pelvic_organs, skeleton, surface
from fseft.phantom.frame import Patient
from fseft.phantom.lesions import paint_lesions
from fseft.phantom.painting import Body
from fseft.phantom.shapes import Shape, below, clip


def build_body(patient: Patient) -> Body:
    """All layers of a patient; independent of any grid, so that every scan of the patient agrees."""
    body = Body()
    surface.paint_surface(body, patient)
    head_neck.paint_head_surface(body, patient)
    chest.paint_lungs(body, patient)
    chest.paint_mediastinum(body, patient)
    chest.paint_heart(body, patient)
    abdomen.paint_cavity(body, patient)
    skeleton.paint_spine_muscles(body, patient)
    head_neck.paint_neck_muscles(body, patient)
    _paint_abdomen(body, patient)
    skeleton.paint_ribs(body, patient)
    skeleton.paint_shoulders(body, patient)
    skeleton.paint_pelvis(body, patient)
    skeleton.paint_spine(body, patient)
    head_neck.paint_skull(body, patient)
    head_neck.paint_jaw(body, patient)
    head_neck.paint_throat(body, patient)
    head_neck.paint_neck_vessels(body, patient)
    chest.paint_aorta(body, patient)
    chest.paint_oesophagus(body, patient)
    chest.paint_airways(body, patient)
    chest.paint_lung_vessels(body, patient)
    paint_lesions(body, patient)
    _paint_table(body, patient)
    return body


def _paint_table(body: Body, patient: Patient) -> None:
    """The scanner's table, hollowed to hold the patient, in most scans."""
    draw = patient.draw("table")
    if draw.chance(0.2):
        return
    top = 132 + patient.fat_mm[2] + draw.between(0, 8)
    bend, thick = draw.between(350, 900), draw.between(15, 40)
    half = draw.between(190, 240)
    rise = Shape(
        np.array((-half, top - half**2 / (2 * bend) - thick, -820.0)),
        np.array((half, top + thick, 820.0)),
        lambda x, y, z: np.abs(y - (top + thick / 2) + x * x / (2 * bend)) - thick / 2,
    )
    inside = clip(rise, below((half, 0, 0), (1, 0, 0)), below((-half, 0, 0), (-1, 0, 0)))
    body.paint("table shell", inside, over="air", core=(("table foam", draw.between(1.0, 2.5)),))


def _paint_abdomen(body: Body, patient: Patient) -> None:
    abdomen.paint_mesentery(body, patient)
    bowel.paint_small_bowel(body, patient)
    abdomen.paint_liver(body, patient)
    abdomen.paint_spleen(body, patient)
    abdomen.paint_kidneys(body, patient)
    pylorus = abdomen.paint_stomach(body, patient)
    abdomen.paint_pancreas(body, patient, pylorus)
    bowel.paint_colon(body, patient)
    pelvic_organs.paint_pelvic_organs(body, patient)
    abdomen.paint_abdominal_vessels(body, patient)

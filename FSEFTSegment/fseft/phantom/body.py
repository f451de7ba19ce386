"""A whole body in painting order."""

from __future__ import annotations

from fseft.phantom import abdomen, bowel, chest, head_neck, pelvic_organs, skeleton, surface
from fseft.phantom.frame import Patient
from fseft.phantom.lesions import paint_lesions
from fseft.phantom.painting import Body


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
    return body


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

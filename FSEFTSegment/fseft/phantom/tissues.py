"""What a phantom is made of: tissues with their Hounsfield units, and the labels they count as."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fseft.structures import PUBLISHED_CLASSES, Structure, number_structures

#: Structures that the published classes lack; numbered after them.
OTHER_STRUCTURES: tuple[str, ...] = (
    "vertebrae", "intervertebral discs", "spinal cord", "left ribs", "right ribs", "sternum", "left clavicle",
    "right clavicle", "left scapula", "right scapula", "left humerus", "right humerus", "sacrum", "left hip bone",
    "right hip bone", "left femur", "right femur", "skull", "mandible", "teeth", "heart", "pulmonary artery",
    "superior vena cava", "trachea", "small bowel", "colon", "left psoas", "right psoas", "left erector spinae",
    "right erector spinae", "brain stem", "larynx", "pharynx", "thyroid gland", "left parotid gland",
    "right parotid gland", "left submandibular gland", "right submandibular gland", "left eye", "right eye",
    "left carotid artery", "right carotid artery", "left jugular vein", "right jugular vein", "tongue",
    "left sternocleidomastoid", "right sternocleidomastoid", "costal cartilage", "iliac vessels",
    "subcutaneous fat", "muscle",
)  # fmt: skip

#: Every structure a phantom can have; the same numbers in every sample.
STRUCTURES: tuple[Structure, ...] = number_structures((*PUBLISHED_CLASSES, *OTHER_STRUCTURES))
VALUES: dict[str, int] = {s.name: s.value for s in STRUCTURES}

#: Published classes that a phantom gives only in parts.
PARTS: dict[str, tuple[str, ...]] = {
    "bone": (
        "vertebrae", "left ribs", "right ribs", "sternum", "left clavicle", "right clavicle", "left scapula",
        "right scapula", "left humerus", "right humerus", "sacrum", "left hip bone", "right hip bone", "left femur",
        "right femur", "skull", "mandible",
    ),
    "brain": ("brain", "brain stem"),
}  # fmt: skip


def published_labels(labels: np.ndarray) -> np.ndarray:
    """Labels reduced to the 29 published classes: bones merged, other structures become background.

    Args:
        labels: (z, y, x) labels of a phantom.
    """
    lut = np.zeros(len(STRUCTURES) + 1, dtype=np.uint16)
    for name in PUBLISHED_CLASSES:
        for part in PARTS.get(name, (name,)):
            lut[VALUES[part]] = VALUES[name]
    return lut[labels]


@dataclass(frozen=True)
class Tissue:
    """A material in a place.

    Attributes:
        name: unique.
        label: the structure it counts as, or "" for background.
        hounsfield: without contrast medium.
        arterial: HU added in the arterial phase.
        venous: HU added in the portal venous phase.
        spread: standard deviation of its HU between patients.
        texture: standard deviation of slow HU changes inside it.
    """

    name: str
    label: str
    hounsfield: float
    arterial: float = 0.0
    venous: float = 0.0
    spread: float = 5.0
    texture: float = 3.0


def _sided(name: str, label: str, *numbers: float) -> list[Tissue]:
    return [Tissue(f"{side} {name}", f"{side} {label}", *numbers) for side in ("left", "right")]


def _bone(name: str, cortex: float = 650, spongy: float = 220) -> list[Tissue]:
    return [
        Tissue(name, name, cortex, 0, 0, 90, 60),
        Tissue(f"{name} marrow", name, spongy, 5, 10, 45, 40),
    ]


def _both_bones(name: str, cortex: float = 650, spongy: float = 220) -> list[Tissue]:
    return [t for side in ("left", "right") for t in _bone(f"{side} {name}", cortex, spongy)]


_TISSUES: list[Tissue] = [
    Tissue("air", "", -1000, 0, 0, 0, 0),
    Tissue("skin", "", 20, 0, 10, 15, 5),
    Tissue("fat", "subcutaneous fat", -105, 0, 3, 7, 5),
    Tissue("visceral fat", "", -100, 0, 4, 7, 9),
    Tissue("muscle", "muscle", 52, 3, 10, 6, 6),
    Tissue("soft", "", 35, 5, 15, 8, 6),
    Tissue("muscle fat", "", -75, 0, 3, 15, 12),
    Tissue("diaphragm", "", 45, 5, 12, 6, 4),
    Tissue("table shell", "", 20, 0, 0, 120, 10),
    Tissue("table foam", "", -930, 0, 0, 20, 4),
    Tissue("metal", "", 2900, 0, 0, 150, 50),
    *_sided("lung", "lung", -850, 5, 8, 35, 25),
    *_sided("lung vessel", "lung", 38, 170, 110, 20, 5),
    Tissue("bronchus wall", "", -20, 5, 10, 40, 5),
    Tissue("bronchus", "", -990, 0, 0, 5, 2),
    Tissue("trachea wall", "trachea", 20, 5, 10, 15, 5),
    Tissue("trachea", "trachea", -995, 0, 0, 3, 2),
    Tissue("heart", "heart", 42, 55, 70, 7, 5),
    Tissue("left heart blood", "heart", 42, 270, 115, 12, 8),
    Tissue("right heart blood", "heart", 42, 200, 105, 15, 10),
    Tissue("pulmonary artery", "pulmonary artery", 42, 210, 110, 15, 6),
    Tissue("aorta", "aorta", 42, 280, 115, 8, 5),
    Tissue("coeliac trunk", "coeliac trunk", 42, 270, 115, 8, 5),
    Tissue("artery", "", 42, 260, 110, 8, 5),
    Tissue("iliac vessels", "iliac vessels", 42, 230, 95, 10, 5),
    Tissue("superior vena cava", "superior vena cava", 42, 160, 110, 20, 12),
    Tissue("inferior vena cava", "inferior vena cava", 42, 40, 95, 10, 12),
    Tissue("portal and splenic vein", "portal and splenic vein", 42, 50, 120, 8, 5),
    Tissue("vein", "", 42, 40, 100, 8, 5),
    Tissue("liver", "liver", 57, 12, 50, 9, 4),
    Tissue("hepatic vessel", "hepatic vessel", 42, 30, 115, 8, 3),
    Tissue("liver tumour", "liver tumour", 36, 30, 20, 14, 10),
    Tissue("hepatic vessel tumour", "hepatic vessel tumour", 38, 25, 25, 10, 6),
    Tissue("gallbladder wall", "gallbladder", 35, 10, 25, 6, 3),
    Tissue("gallbladder", "gallbladder", 10, 0, 0, 5, 2),
    Tissue("spleen", "spleen", 48, 70, 70, 6, 5),
    *_sided("kidney", "kidney", 34, 130, 140, 8, 6),
    *_sided("kidney medulla", "kidney", 30, 45, 125, 8, 5),
    Tissue("renal pelvis", "", 5, 0, 30, 8, 3),
    Tissue("kidney cyst", "kidney cyst", 7, 0, 2, 5, 1),
    Tissue("kidney tumour", "kidney tumour", 34, 70, 60, 15, 18),
    *_sided("adrenal gland", "adrenal gland", 25, 40, 45, 10, 4),
    Tissue("stomach", "stomach", 38, 35, 45, 8, 5),
    Tissue("stomach content", "stomach", 15, 0, 0, 18, 8),
    Tissue("stomach gas", "stomach", -980, 0, 0, 10, 3),
    Tissue("duodenum", "duodenum", 36, 35, 45, 8, 6),
    Tissue("duodenum content", "duodenum", 15, 0, 0, 12, 8),
    Tissue("pancreas", "pancreas", 40, 65, 55, 7, 8),
    Tissue("pancreas tumour", "pancreas tumour", 35, 15, 25, 10, 5),
    Tissue("small bowel", "small bowel", 36, 45, 55, 8, 5),
    Tissue("small bowel content", "small bowel", 18, 0, 4, 12, 12),
    Tissue("small bowel gas", "small bowel", -960, 0, 0, 20, 5),
    Tissue("colon", "colon", 36, 30, 45, 8, 5),
    Tissue("stool", "colon", 10, 0, 0, 35, 60),
    Tissue("colon gas", "colon", -970, 0, 0, 15, 5),
    Tissue("colon tumour", "colon tumour", 42, 35, 40, 8, 6),
    Tissue("oesophagus", "oesophagus", 38, 12, 25, 7, 4),
    Tissue("oesophagus gas", "oesophagus", -700, 0, 0, 120, 10),
    Tissue("bladder wall", "bladder", 38, 15, 30, 6, 3),
    Tissue("bladder", "bladder", 6, 0, 4, 4, 1),
    Tissue("prostate or uterus", "prostate or uterus", 42, 20, 40, 7, 7),
    Tissue("lung tumour", "lung tumour", 38, 25, 30, 12, 8),
    Tissue("vertebrae", "vertebrae", 480, 0, 5, 70, 40),
    Tissue("vertebrae marrow", "vertebrae", 190, 5, 10, 45, 30),
    Tissue("intervertebral discs", "intervertebral discs", 82, 0, 4, 10, 6),
    Tissue("spinal canal", "", 0, 0, 3, 12, 4),
    Tissue("spinal cord", "spinal cord", 38, 2, 6, 4, 2),
    *_both_bones("ribs", 480, 190),
    *_bone("sternum", 380, 140),
    Tissue("costal cartilage", "costal cartilage", 105, 0, 5, 20, 15),
    *_both_bones("clavicle"),
    *_both_bones("scapula", 480, 240),
    *_both_bones("humerus", 800, 150),
    *_bone("sacrum", 430, 170),
    *_both_bones("hip bone", 560, 230),
    *_both_bones("femur", 850, 190),
    *_sided("psoas", "psoas", 54, 3, 11, 5, 4),
    *_sided("erector spinae", "erector spinae", 48, 3, 10, 7, 10),
    *_bone("skull", 950, 400),
    *_bone("mandible", 900, 350),
    Tissue("teeth", "teeth", 2000, 0, 0, 250, 100),
    Tissue("tooth filling", "teeth", 2950, 0, 0, 100, 0),
    Tissue("cerebrospinal fluid", "brain", 8, 0, 1, 4, 2),
    Tissue("grey matter", "brain", 39, 4, 6, 2, 1.5),
    Tissue("white matter", "brain", 29, 2, 4, 2, 1.5),
    Tissue("brain stem", "brain stem", 32, 2, 5, 2, 1.5),
    *_sided("eye", "eye", 10, 0, 2, 4, 1),
    *_sided("eye lens", "eye", 85, 0, 0, 10, 1),
    Tissue("larynx", "larynx", 45, 15, 35, 10, 10),
    Tissue("larynx cartilage", "larynx", 200, 0, 5, 80, 60),
    Tissue("larynx airway", "larynx", -985, 0, 0, 8, 3),
    Tissue("pharynx wall", "pharynx", 45, 20, 40, 8, 5),
    Tissue("pharynx", "pharynx", -990, 0, 0, 5, 3),
    Tissue("sinus", "", -985, 0, 0, 8, 3),
    Tissue("mucosa", "", 35, 20, 40, 10, 8),
    Tissue("thyroid gland", "thyroid gland", 95, 70, 65, 18, 8),
    *_sided("parotid gland", "parotid gland", -15, 15, 30, 22, 12),
    *_sided("submandibular gland", "submandibular gland", 38, 30, 50, 9, 6),
    *_sided("carotid artery", "carotid artery", 42, 270, 115, 10, 5),
    *_sided("jugular vein", "jugular vein", 42, 90, 115, 12, 8),
    Tissue("tongue", "tongue", 50, 10, 30, 7, 12),
    *_sided("sternocleidomastoid", "sternocleidomastoid", 55, 3, 10, 5, 4),
]
TISSUES: tuple[Tissue, ...] = tuple(_TISSUES)
TISSUE_IDS: dict[str, int] = {t.name: i for i, t in enumerate(TISSUES)}

#: Label value of each tissue, to turn painted tissues into labels at once.
LABEL_OF_TISSUE: np.ndarray = np.array([VALUES[t.label] if t.label else 0 for t in TISSUES], dtype=np.uint16)

"""The published structures with the colours and standard codes that Slicer's users know."""

from __future__ import annotations

from dataclasses import dataclass

from fseft.structures import PALETTE, PUBLISHED_CLASSES, Structure, canonical_name

#: Slicer's list of codes that the presets are from.
LIST = "Segmentation category and type - 3D Slicer General Anatomy list"
_ANATOMY = "SCT^123037004^Anatomical Structure"
_TISSUE = "SCT^85756007^Tissue"
_ABNORMAL = "SCT^49755003^Morphologically Altered Structure"
_RIGHT = "SCT^24028007^Right"
_LEFT = "SCT^7771000^Left"
_MASS = "SCT^4147007^Mass"
_CYST = "SCT^367643001^Cyst"


@dataclass(frozen=True)
class _Preset:
    """Red, green, blue in 0..255; category, type and modifier as SNOMED CT triplets; the region of a lesion."""

    color: tuple[int, int, int]
    type: str
    modifier: str = ""
    category: str = _ANATOMY
    region: str = ""


_PRESETS: dict[str, _Preset] = {
    "spleen": _Preset((157, 108, 162), "SCT^78961009^Spleen"),
    "right kidney": _Preset((185, 102, 83), "SCT^64033007^Kidney", _RIGHT),
    "left kidney": _Preset((201, 121, 77), "SCT^64033007^Kidney", _LEFT),
    "gallbladder": _Preset((139, 150, 98), "SCT^28231008^Gallbladder"),
    "oesophagus": _Preset((211, 171, 143), "SCT^32849002^Esophagus"),
    "liver": _Preset((221, 130, 101), "SCT^10200004^Liver"),
    "stomach": _Preset((216, 132, 105), "SCT^69695003^Stomach"),
    "aorta": _Preset((224, 97, 76), "SCT^15825003^Aorta"),
    "inferior vena cava": _Preset((0, 151, 206), "SCT^64131007^Inferior vena cava"),
    "portal and splenic vein": _Preset((0, 112, 165), "SCT^32764006^Portal vein"),
    "pancreas": _Preset((249, 180, 111), "SCT^15776009^Pancreas"),
    "right adrenal gland": _Preset((249, 186, 150), "SCT^23451007^Adrenal gland", _RIGHT),
    "left adrenal gland": _Preset((244, 170, 147), "SCT^23451007^Adrenal gland", _LEFT),
    "duodenum": _Preset((205, 205, 100), "SCT^38848004^Duodenum"),
    "bladder": _Preset((222, 154, 132), "SCT^89837001^Urinary bladder"),
    # No code means the one or the other.
    "prostate or uterus": _Preset((230, 158, 140), "SCT^113343008^Organ", "", _TISSUE),
    "liver tumour": _Preset((145, 60, 66), _MASS, "", _ABNORMAL, "SCT^10200004^Liver"),
    "kidney tumour": _Preset((150, 70, 30), _MASS, "", _ABNORMAL, "SCT^64033007^Kidney"),
    "kidney cyst": _Preset((205, 170, 60), _CYST, "", _ABNORMAL, "SCT^64033007^Kidney"),
    "coeliac trunk": _Preset((216, 70, 54), "SCT^57850000^Celiac artery"),
    "right lung": _Preset((197, 165, 145), "SCT^39607008^Lung", _RIGHT),
    "left lung": _Preset((224, 186, 162), "SCT^39607008^Lung", _LEFT),
    "bone": _Preset((241, 214, 145), "SCT^272673000^Bone"),
    "brain": _Preset((250, 250, 225), "SCT^12738006^Brain"),
    "lung tumour": _Preset((144, 100, 160), _MASS, "", _ABNORMAL, "SCT^39607008^Lung"),
    "pancreas tumour": _Preset((180, 90, 120), _MASS, "", _ABNORMAL, "SCT^15776009^Pancreas"),
    "hepatic vessel": _Preset((0, 130, 190), "SCT^59820001^Blood vessel", "", _TISSUE, "SCT^10200004^Liver"),
    "hepatic vessel tumour": _Preset((120, 30, 90), _MASS, "", _ABNORMAL, "SCT^10200004^Liver"),
    "colon tumour": _Preset((170, 80, 60), _MASS, "", _ABNORMAL, "SCT^71854001^Colon"),
}

#: Spellings that the published classes count as one structure, but that have codes of their own.
_OWN: dict[str, _Preset] = {
    "prostate": _Preset((230, 158, 140), "SCT^41216001^Prostate"),
    "uterus": _Preset((230, 158, 140), "SCT^35039007^Uterus"),
}


def serialised(terminology: str, category: str, kind: str, modifier: str = "", region: str = "") -> str:
    """A terminology entry as Slicer serialises it.

    Args:
        terminology: name of the list it is from.
        category: "scheme^value^meaning", as all that follow.
        kind: the type.
        modifier: "" for none.
        region: of a lesion or vessel, from the master list of regions; "" for none.
    """
    empty = "^^"
    regions = "Anatomic codes - DICOM master list"
    return "~".join([terminology, category, kind, modifier or empty, regions, region or empty, empty])


def preset_names() -> tuple[str, ...]:
    """The 29 published structures in the paper's order."""
    return PUBLISHED_CLASSES


def make_structure(name: str, value: int) -> Structure:
    """A structure of any name; a published one gets its colour and codes, whatever its spelling."""
    preset = _OWN.get(name.strip().lower()) or _PRESETS.get(canonical_name(name))
    if preset is None:
        return Structure(name, value, PALETTE[(value - 1) % len(PALETTE)])
    red, green, blue = (channel / 255 for channel in preset.color)
    return Structure(
        name, value, (red, green, blue), serialised(LIST, preset.category, preset.type, preset.modifier, preset.region)
    )


def terminology_label(entry: str) -> str:
    """What a serialised entry says in a few words ("Kidney, Right"), "" for none."""
    parts = entry.split("~")
    words = [part.split("^")[-1] for part in parts[2:4]] if len(parts) > 3 else []
    region = parts[5].split("^")[-1] if len(parts) > 5 else ""
    text = ", ".join(word for word in words if word)
    return f"{text} ({region})" if text and region else text

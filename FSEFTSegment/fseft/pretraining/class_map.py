"""From the names that data sets use to the classes of a backbone.

Data sets cut anatomy differently: one labels each vertebra, another all bone. Every foreign label becomes one class,
and bones count as "bone" too, where the data set labels the skeleton and not just a bone or two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from fseft.structures import PUBLISHED_CLASSES, canonical_name, other_side

#: Foreign names, lower case with blanks, by their beginning, and the one class that all of them make up.
_GROUPS: tuple[tuple[str, str], ...] = (
    ("vertebra", "vertebrae"), ("rib ", "ribs"), ("left ribs", "ribs"), ("right ribs", "ribs"),
    ("hip", "hip bone"), ("femur", "femur"), ("scapula", "scapula"), ("clavicula", "clavicle"),
    ("clavicle", "clavicle"), ("humerus", "humerus"), ("gluteus", "gluteal muscle"),
    ("autochthon", "autochthonous back muscle"), ("iliopsoas", "iliopsoas muscle"), ("iliac artery", "iliac artery"),
    ("iliac vena", "iliac vein"), ("iliac vein", "iliac vein"), ("subclavian artery", "subclavian artery"),
    ("common carotid artery", "common carotid artery"), ("brachiocephalic vein", "brachiocephalic vein"),
    ("kidney cyst", "kidney cyst"), ("heart", "heart"), ("atrial", "heart"),
)  # fmt: skip

#: Classes that are made of others.
WHOLES: dict[str, frozenset[str]] = {
    "bone": frozenset(
        (
            *("vertebrae", "ribs", "sternum", "sacrum", "hip bone", "femur"),
            *("scapula", "clavicle", "humerus", "skull", "mandible"),
        )
    ),
    "brain": frozenset(("brain stem",)),
}
#: What a data set has to label before its other voxels may count as not belonging to the whole.
_EVIDENCE: dict[str, frozenset[str]] = {"bone": frozenset(("vertebrae", "ribs")), "brain": frozenset(("brain",))}


def class_of(name: str) -> str:
    """The class that a foreign label belongs to: "vertebrae_L3" gives "vertebrae"."""
    words = re.sub(r"[\s_\-]+", " ", name).strip().lower()
    if words.startswith("lung ") and "lobe" in words:
        return "left lung" if "left" in words.split() else "right lung"
    plain = re.sub(r"^(left|right) ", "", words) if not words.endswith("ribs") else words
    for beginning, group in _GROUPS:
        if plain.startswith(beginning):
            return group
    return canonical_name(name)


def classes_of(name: str) -> tuple[str, ...]:
    """The classes that a foreign label's voxels are positive for: its own and the wholes that it is part of."""
    own = class_of(name)
    return (own, *(whole for whole, parts in WHOLES.items() if own in parts))


def known_classes(labelled: Iterable[str], left_out: Iterable[str] = ()) -> frozenset[str]:
    """The classes that a data set decides for every voxel.

    Args:
        labelled: its label names in use.
        left_out: label names that it has but that may not be used; a whole that they belong to is unknown.
    """
    own = {class_of(name) for name in labelled}
    missing = {class_of(name) for name in left_out}
    incomplete = {whole for whole, parts in WHOLES.items() if parts & missing}
    wholes = {whole for whole, evidence in _EVIDENCE.items() if own >= evidence}
    return frozenset((own | wholes) - incomplete)


def ordered_classes(classes: Iterable[str]) -> tuple[str, ...]:
    """Published classes in their order, then the others by name."""
    wanted = set(classes)
    return (*(c for c in PUBLISHED_CLASSES if c in wanted), *sorted(wanted - set(PUBLISHED_CLASSES)))


def mirrored(classes: Sequence[str]) -> list[int]:
    """For each class the position of its twin on the other side; its own position where it has none."""
    twins = [other_side(name) for name in classes]
    return [classes.index(twin) if twin in classes else position for position, twin in enumerate(twins)]

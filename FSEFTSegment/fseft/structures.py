"""Structures: named anatomical targets, and the many ways people spell them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: The 29 classes of the published pretraining, in its order (paper, section 4.1).
PUBLISHED_CLASSES: tuple[str, ...] = (
    "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum", "bladder", "prostate or uterus", "liver tumour", "kidney tumour", "kidney cyst", "coeliac trunk",
    "right lung", "left lung", "bone", "brain", "lung tumour", "pancreas tumour", "hepatic vessel",
    "hepatic vessel tumour", "colon tumour",
)  # fmt: skip

_WORDS = {
    "esophagus": "oesophagus", "tumor": "tumour", "celiac": "coeliac", "postcava": "inferior vena cava",
    "ivc": "inferior vena cava", "oesophageal": "oesophagus", "r": "right", "l": "left", "rt": "right", "lt": "left",
    "kidneys": "kidney", "lungs": "lung", "brainstem": "brain stem", "spinalcord": "spinal cord",
}  # fmt: skip

_PHRASES = {
    "urinary bladder": "bladder", "adrenal": "adrenal gland", "parotid": "parotid gland",
    "prostate": "prostate or uterus", "prostate uterus": "prostate or uterus", "uterus": "prostate or uterus",
    "coeliac truck": "coeliac trunk",
    "portal vein and splenic vein": "portal and splenic vein", "portal vein": "portal and splenic vein",
    "veins": "portal and splenic vein", "gall bladder": "gallbladder", "vena cava": "inferior vena cava",
    "cord": "spinal cord",
}  # fmt: skip


def canonical_name(name: str) -> str:
    """One spelling for the many: "Kidney_Right", "RightKidney", "right kidney" all give "right kidney".

    Used to find a structure among a backbone's pretraining classes; the user's own spelling is kept everywhere else.
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [w for w in re.split(r"[\s_\-/.,()+]+", spaced.lower()) if w]
    words = [part for w in words for part in _WORDS.get(w, w).split()]
    sides = [w for w in words if w in ("right", "left")]
    rest = " ".join(w for w in words if w not in ("right", "left"))
    rest = _PHRASES.get(rest, rest)
    return " ".join([*sides[:1], rest]).strip()


def other_side(name: str) -> str:
    """A name in the common spelling with left and right exchanged; the same where it has no side."""
    words = {"left": "right", "right": "left"}
    return " ".join(words.get(word, word) for word in name.split())


def without_side(name: str) -> str:
    """A name in the common spelling without left or right: the same for both of a pair."""
    return " ".join(word for word in name.split() if word not in ("left", "right"))


@dataclass(frozen=True)
class Structure:
    """A named anatomical target.

    Attributes:
        name: as the user wrote it; unique within a model, compared by its exact text.
        value: its value in labelmaps, 1..65535.
        color: red, green, blue in 0..1.
        terminology: a terminology entry as the viewer serialises it, or "".
    """

    name: str
    value: int
    color: tuple[float, float, float] = (0.9, 0.6, 0.4)
    terminology: str = ""

    @property
    def canonical(self) -> str:
        """The name in the common spelling, see :func:`canonical_name`."""
        return canonical_name(self.name)


#: Distinct colours for structures that come without one (a qualitative palette, repeated when it runs out).
PALETTE: tuple[tuple[float, float, float], ...] = (
    (0.87, 0.33, 0.31), (0.30, 0.62, 0.85), (0.45, 0.75, 0.36), (0.95, 0.71, 0.26), (0.63, 0.45, 0.80),
    (0.27, 0.73, 0.68), (0.91, 0.49, 0.69), (0.60, 0.49, 0.36), (0.55, 0.60, 0.90), (0.78, 0.80, 0.30),
)  # fmt: skip


def number_structures(names: Iterable[str]) -> tuple[Structure, ...]:
    """Structures with values 1, 2, ... and palette colours, in the order given."""
    return tuple(
        Structure(name, value, PALETTE[(value - 1) % len(PALETTE)]) for value, name in enumerate(names, start=1)
    )

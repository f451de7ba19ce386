"""Volumes of normal adult organs from the literature: offered where an institution has no annotation yet.

Nothing here is used unless somebody asks for it by name. A preset is a range over both sexes and all adult sizes, so it
is wide; annotated cases of one's own make a better prior.

Every figure was checked against the abstract or a table of the work cited. Where a work gives mean and standard
deviation instead of a range, the range is the smaller mean minus 1.96 deviations to the larger mean plus 1.96; where it
gives quartiles, the deviation is taken as their distance over 1.349.

Left out, because no citable range over adults could be verified: brain, lungs (they follow inspiration), heart,
thyroid (published means differ by a factor of two with iodine supply and method), stomach and duodenum (filling),
oesophagus, vessels, bladder (filling), prostate (age) and uterus, bone, head and neck structures but the salivary
glands, and of course tumours and cysts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fseft.errors import InputError
from fseft.structures import canonical_name

if TYPE_CHECKING:
    from fseft.models.adapted_model import SizePrior


@dataclass(frozen=True)
class Preset:
    """A normal adult volume.

    Attributes:
        structure: in the common spelling.
        mean_ml, low_ml, high_ml: millilitres.
        citation: author, journal, year.
        basis: how and on whom it was measured, and where the range comes from.
    """

    structure: str
    mean_ml: float
    low_ml: float
    high_ml: float
    citation: str
    basis: str

    def as_prior(self) -> SizePrior:
        """As a model's size prior, whose source names the citation."""
        # Imported late: the viewer lists presets in its own process, where torch must not be loaded.
        from fseft.models.adapted_model import SizePrior

        return SizePrior(self.mean_ml, self.low_ml, self.high_ml, f"preset: {self.citation}")


_KIDNEYS = "Dabers et al., Journal of Clinical Medicine, 2024"
_KIDNEY_BASIS = "MRI, 930 women and 885 men; range from the quartiles"
_PAROTIDS = "Brzoska et al., Laryngo-Rhino-Otologie, 2022"
_PAROTID_BASIS = "MRI, 1725 adults; women 20.99 ± 6.47 ml, men 27.56 ± 8.23 ml"
_SUBMANDIBULARS = "Niendorf et al., Laryngo-Rhino-Otologie, 2020"
_ADRENALS = "Wang et al., Chinese Medical Sciences Journal, 2012"

PRESETS: dict[str, Preset] = {
    preset.structure: preset
    for preset in (
        Preset(
            "liver", 1570.2, 895.5, 2274.5, "Geraghty et al., Abdominal Imaging, 2004",
            "CT, 36 women 1411 ± 263 ml, 41 men 1710 ± 288 ml (deviations as quoted in PMC4267913)",
        ),
        Preset(
            "spleen", 214.6, 107.2, 314.5, "Prassopoulos et al., European Radiology, 1997",
            "CT, 140 adults; the whole range found",
        ),
        Preset("right kidney", 155.6, 87.1, 236.5, _KIDNEYS, f"{_KIDNEY_BASIS} (women 138, men 174 ml)"),
        Preset("left kidney", 161.6, 85.9, 242.5, _KIDNEYS, f"{_KIDNEY_BASIS} (women 144, men 180 ml, parenchyma)"),
        Preset(
            "pancreas", 72.4, 21.8, 123.0, "Saisho et al., Clinical Anatomy, 2007",
            "CT, adults of 20 to 60 years, 72.4 ± 25.8 ml; it declines later in life",
        ),
        Preset(
            "gallbladder", 24.2, 11.1, 50.9, "Idris, Nigerian Journal of Basic and Clinical Sciences, 2016",
            "ultrasound after fasting, 400 adults; the whole range found; a meal empties it",
        ),
        Preset("right adrenal gland", 4.26, 2.59, 6.56, _ADRENALS, "CT, 81 adults; the whole range found"),
        Preset("left adrenal gland", 4.23, 2.85, 5.83, _ADRENALS, "CT, 81 adults; the whole range found"),
        Preset("right parotid gland", 24.3, 8.3, 43.7, _PAROTIDS, _PAROTID_BASIS),
        Preset("left parotid gland", 24.3, 8.3, 43.7, _PAROTIDS, _PAROTID_BASIS),
        Preset("right submandibular gland", 9.87, 4.3, 15.4, _SUBMANDIBULARS, "MRI, 9.87 ± 2.83 ml"),
        Preset("left submandibular gland", 9.79, 4.4, 15.2, _SUBMANDIBULARS, "MRI, 9.79 ± 2.75 ml"),
    )
}  # fmt: skip


def preset_for(structure_name: str) -> Preset | None:
    """The preset of a structure in any common spelling ("Kidney_Right", "ParotidL"), None when there is none."""
    name = canonical_name(structure_name)
    return PRESETS.get(name) or PRESETS.get(f"{name} gland")


def require_preset(structure_name: str) -> Preset:
    """The preset of a structure.

    Raises:
        InputError: "preset-missing".
    """
    found = preset_for(structure_name)
    if found is None:
        raise InputError(
            "preset-missing",
            f"There is no preset volume for {structure_name!r}.",
            f"Give a range in ml; presets exist for: {', '.join(PRESETS)}.",
        )
    return found

"""The standard codes that Slicer knows, as entries that can be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer
import vtk

from FSEFTSegmentLib.presets import LIST, make_structure, preset_names, serialised, terminology_label

#: What the list of the published structures is called where Slicer's own lists cannot be read.
PUBLISHED = "Published structures"


@dataclass(frozen=True)
class Term:
    """An entry that can be chosen.

    Attributes:
        label: a few words ("Kidney, Right").
        category: "Anatomical Structure", "Tissue"...
        entry: as Slicer serialises it.
        color: the recommended one, 0..1; None where none is recommended.
    """

    label: str
    category: str
    entry: str
    color: tuple[float, float, float] | None


def terminologies_logic() -> Any | None:
    """The logic of Slicer's module Terminologies; None where it is not loaded."""
    module = getattr(getattr(slicer, "modules", None), "terminologies", None)
    return module.logic() if module is not None else None


def list_names(logic: Any | None) -> list[str]:
    """Names of the lists of codes, Slicer's list of general anatomy first."""
    if logic is None:
        return [PUBLISHED]
    found = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(found)
    names = [found.GetValue(position) for position in range(found.GetNumberOfValues())]
    return sorted(names, key=lambda name: (name != LIST, name)) or [PUBLISHED]


def list_terms(logic: Any | None, name: str) -> tuple[Term, ...]:
    """All entries of a list, in its order; the published structures where there is no such list."""
    if logic is None or name == PUBLISHED:
        return _published_terms()
    if name not in _KNOWN:
        _KNOWN[name] = _loaded_terms(logic, name)
    return _KNOWN[name]


def _published_terms() -> tuple[Term, ...]:
    terms = []
    for value, name in enumerate(preset_names(), start=1):
        structure = make_structure(name, value)
        category = structure.terminology.split("~")[1].split("^")[-1]
        terms.append(Term(terminology_label(structure.terminology), category, structure.terminology, structure.color))
    return tuple(terms)


#: Lists that were read, by name; the logic itself must not be held beyond the application's end.
_KNOWN: dict[str, tuple[Term, ...]] = {}


def _loaded_terms(logic: Any, name: str) -> tuple[Term, ...]:
    terms = []
    for c in range(logic.GetNumberOfCategoriesInTerminology(name)):
        category = slicer.vtkSlicerTerminologyCategory()
        logic.GetNthCategoryInTerminology(name, c, category)
        for t in range(logic.GetNumberOfTypesInTerminologyCategory(name, category)):
            kind = slicer.vtkSlicerTerminologyType()
            logic.GetNthTypeInTerminologyCategory(name, category, t, kind)
            modifiers = []
            # Asked of a type that has none, the logic writes an error into Slicer's log.
            count = kind.GetHasModifiers() and logic.GetNumberOfTypeModifiersInTerminologyType(name, category, kind)
            for m in range(count or 0):
                modifier = slicer.vtkSlicerTerminologyType()
                logic.GetNthTypeModifierInTerminologyType(name, category, kind, m, modifier)
                modifiers.append(modifier)
            # A type with modifiers has no colour of its own; its first modifier's does.
            terms.append(_term(name, category, kind, None, modifiers[0] if modifiers else kind))
            terms += [_term(name, category, kind, modifier, modifier) for modifier in modifiers]
    return tuple(terms)


def _term(name: str, category: Any, kind: Any, modifier: Any | None, colored: Any) -> Term:
    entry = serialised(name, _triplet(category), _triplet(kind), _triplet(modifier) if modifier is not None else "")
    red, green, blue = (channel / 255 for channel in colored.GetRecommendedDisplayRGBValue())
    return Term(terminology_label(entry), category.GetCodeMeaning() or "", entry, (red, green, blue))


def _triplet(coded: Any) -> str:
    return "^".join([coded.GetCodingSchemeDesignator() or "", coded.GetCodeValue() or "", coded.GetCodeMeaning() or ""])

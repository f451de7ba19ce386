"""The support set and structures that ``fseft adapt`` and ``fseft validate`` take from the command line."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

from fseft.adaptation.support_files import SupportSet, collect_support, from_pairs
from fseft.errors import InputError
from fseft.structures import PALETTE, Structure, canonical_name


def collect_support_set(options: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Cases and structures, as a job's parameters.

    Raises:
        InputError: when the support set cannot be found or read, or a structure is not one.
    """
    chosen = [_structure(text, number) for number, text in enumerate(options.structure or [])]
    cases, found = _found(options, chosen)
    structures = [_as_found(structure, found) for structure in chosen] or list(found)
    others = "background" if chosen else "refuse"
    entries = []
    for case in cases:
        names = None
        if case.structures is not None:
            annotated = {canonical_name(name) for name in case.structures}
            names = [s.name for s in structures if s.canonical in annotated]
            if not names:
                print(f"Warning: {case.name} annotates none of the chosen structures and is left out.", file=sys.stderr)
                continue
        entries.append(
            {
                "scan": str(case.scan),
                "annotation": str(case.annotation),
                "name": case.name,
                "sparse": options.sparse or case.sparse,
                "structures": names,
                "others": others,
            }
        )
    if cases and not entries:
        raise InputError(
            "support-empty",
            "No case of the support set annotates any of the chosen structures.",
            "Choose other structures, or correct what the list says is annotated.",
        )
    return entries, [dataclasses.asdict(structure) for structure in structures]


def _found(options: argparse.Namespace, chosen: list[Structure]) -> SupportSet:
    # NAME=VALUE for every structure says what the values stand for; a name alone is looked up beside the data.
    known = chosen if chosen and all("=" in text for text in options.structure) else None
    if options.case:
        return from_pairs([(Path(scan), Path(annotation)) for scan, annotation in options.case], known)
    source = options.folder or options.csv
    if source is None:
        if not chosen:
            raise InputError(
                "support-missing",
                "Neither annotated scans nor structures are given.",
                "Name a support set with --case, --folder or --csv.",
            )
        return [], ()
    return collect_support(source, known)


def _structure(text: str, number: int) -> Structure:
    name, separator, value = text.rpartition("=")
    if not separator:
        return Structure(text, number + 1, PALETTE[number % len(PALETTE)])
    if not name or not value.isdecimal():
        raise InputError("structure-invalid", f"{text!r} is not a structure.", "Write NAME=VALUE, for example liver=1.")
    return Structure(name, int(value), PALETTE[number % len(PALETTE)])


def _as_found(structure: Structure, found: tuple[Structure, ...]) -> Structure:
    """The support set's own entry where only a name was given; the user's words where both were."""
    for other in found:
        if other.canonical == structure.canonical:
            return dataclasses.replace(other, name=structure.name)
    if found:
        # A value made up here would teach whatever has that value under this name.
        raise InputError(
            "structure-unknown",
            f"The support set does not say which label {structure.name!r} is.",
            f"Write {structure.name}=VALUE, or choose from: {', '.join(other.name for other in found)}.",
        )
    return structure

"""Sources of training cases, and how the command line names them. A new kind is one file and one entry here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from fseft.errors import InputError
from fseft.pretraining.sources.label_shapes import LabelShapes
from fseft.pretraining.sources.labelled_folder import LabelledFolder, listed_cases
from fseft.pretraining.sources.phantoms import Phantoms
from fseft.pretraining.sources.source import Preparation, Selection, Source

_OPTIONS = ("structures", "except", "cases", "weight", "count", "seed", "randomised", "template")
_HINT = "Write for example folder:scans,weight=2,except=mandible+larynx or phantoms:torso,count=40."


def parse_source(text: str) -> Source:
    """A source as the command line names it: ``KIND:PLACE[,OPTION=VALUE...]``.

    ``folder:PATH`` knows ``structures`` and ``except`` (names joined by +), ``cases`` (names joined by +, or
    ``splits.json#key``), ``template`` (a case) and ``weight``; ``phantoms:REGION`` knows ``except``, ``count``,
    ``seed``, ``randomised`` and ``weight``; ``shapes:PATH``, synthetic scans from the shapes of a folder's labels,
    knows all of them but ``template``.

    Raises:
        InputError: "pretraining-source-invalid", "pretraining-splits-invalid".
    """
    kind, separator, rest = text.partition(":")
    # Folders may have commas in their names: only a comma before a known option separates.
    place, *parts = re.split(rf",(?=(?:{'|'.join(_OPTIONS)})=)", rest)
    if not separator or kind not in _KINDS or not place:
        raise InputError("pretraining-source-invalid", f"{text!r} is no source of scans.", _HINT)
    options = dict(part.split("=", 1) for part in parts)
    try:
        source = _KINDS[kind](place, options)
        if source.weight <= 0:
            raise ValueError("weight")
    except ValueError as problem:
        raise InputError(
            "pretraining-source-invalid", f"{text!r} has an option that is no number, or not one that it can be.", _HINT
        ) from problem
    if options:
        raise InputError("pretraining-source-invalid", f"A {kind} source has no option {next(iter(options))!r}.", _HINT)
    return source


def _selection(options: dict[str, str]) -> Selection:
    return Selection(_names(options.pop("structures", "")), _names(options.pop("except", "")))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split("+") if name.strip())


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError("no share")
    return value


def _folder(place: str, options: dict[str, str]) -> LabelledFolder:
    return dataclasses.replace(_labelled(place, options), template=options.pop("template", ""))


def _labelled(place: str, options: dict[str, str]) -> LabelledFolder:
    chosen = options.pop("cases", "")
    file, separator, key = chosen.rpartition("#")
    cases = listed_cases(Path(file), key) if separator else _names(chosen) or None
    return LabelledFolder(Path(place), _selection(options), cases, float(options.pop("weight", "1")))


def _shapes(place: str, options: dict[str, str]) -> Source:
    return LabelShapes(
        count=int(options.pop("count", "40")),
        seed=int(options.pop("seed", "0")),
        randomised=_share(options.pop("randomised", "0.4")),
        folder=_labelled(place, options),
    )


def _phantoms(place: str, options: dict[str, str]) -> Source:
    return Phantoms(
        place,
        count=int(options.pop("count", "40")),
        seed=int(options.pop("seed", "0")),
        randomised=_share(options.pop("randomised", "0.4")),
        selection=_selection(options),
        weight=float(options.pop("weight", "1")),
    )


_KINDS: dict[str, Callable[[str, dict[str, str]], Source]] = {
    "folder": _folder,
    "phantoms": _phantoms,
    "shapes": _shapes,
}

__all__ = ["LabelledFolder", "Phantoms", "Preparation", "Selection", "Source", "parse_source"]

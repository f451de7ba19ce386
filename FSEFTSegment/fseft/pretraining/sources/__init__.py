"""Sources of training cases, and how the command line names them. A new kind is one file and one entry here."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fseft.errors import InputError
from fseft.pretraining.sources.label_shapes import LabelShapes
from fseft.pretraining.sources.labelled_folder import LabelledFolder, listed_cases
from fseft.pretraining.sources.phantoms import Phantoms
from fseft.pretraining.sources.source import Preparation, Selection, Source
from fseft.setting_rules import Number

_OPTIONS = ("structures", "except", "cases", "weight", "count", "seed", "randomised", "template")
_WEIGHT, _SHARE = Number(0, above=True), Number(0, 1)
_COUNT, _SEED = Number(1, whole=True), Number(0, whole=True)
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
    # A folder may be called anything; a region has no comma.
    for value in [*options.values(), *([place] if kind == "phantoms" else [])]:
        if unknown := re.search(r",(\w+)=", value):
            raise InputError("pretraining-source-invalid", f"A source has no option {unknown[1]!r}.", _HINT)
    source = _KINDS[kind](place, options)
    if options:
        raise InputError("pretraining-source-invalid", f"A {kind} source has no option {next(iter(options))!r}.", _HINT)
    return source


def _selection(options: dict[str, str]) -> Selection:
    return Selection(_names(options.pop("structures", "")), _names(options.pop("except", "")))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split("+") if name.strip())


def _number(options: dict[str, str], name: str, usual: float, rule: Number) -> Any:
    """An option's number, taken out of the options."""
    text = options.pop(name, None)
    if text is None:
        return usual
    try:
        value: float = int(text) if rule.whole else float(text)
    except ValueError:
        value = math.nan
    if not rule.holds(value):
        message = f"A source cannot have {name}={text}."
        raise InputError("pretraining-source-invalid", message, f"It is {rule.words()}.")
    return value


def _folder(place: str, options: dict[str, str]) -> LabelledFolder:
    return dataclasses.replace(_labelled(place, options), template=options.pop("template", ""))


def _labelled(place: str, options: dict[str, str]) -> LabelledFolder:
    chosen = options.pop("cases", "")
    file, separator, key = chosen.rpartition("#")
    cases = listed_cases(Path(file), key) if separator else _names(chosen) or None
    return LabelledFolder(Path(place), _selection(options), cases, _number(options, "weight", 1.0, _WEIGHT))


def _shapes(place: str, options: dict[str, str]) -> Source:
    return LabelShapes(
        count=_number(options, "count", 40, _COUNT),
        seed=_number(options, "seed", 0, _SEED),
        randomised=_number(options, "randomised", 0.4, _SHARE),
        folder=_labelled(place, options),
    )


def _phantoms(place: str, options: dict[str, str]) -> Source:
    return Phantoms(
        place,
        count=_number(options, "count", 40, _COUNT),
        seed=_number(options, "seed", 0, _SEED),
        randomised=_number(options, "randomised", 0.4, _SHARE),
        selection=_selection(options),
        weight=_number(options, "weight", 1.0, _WEIGHT),
    )


_KINDS: dict[str, Callable[[str, dict[str, str]], Source]] = {
    "folder": _folder,
    "phantoms": _phantoms,
    "shapes": _shapes,
}

__all__ = ["LabelledFolder", "Phantoms", "Preparation", "Selection", "Source", "parse_source"]

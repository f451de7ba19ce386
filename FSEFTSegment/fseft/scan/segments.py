"""Which structure a label value stands for: segmentation files' own lists, and label lists in JSON files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.errors import AnnotationError
from fseft.structures import PALETTE, Structure

_FIELD = re.compile(r"Segment(\d+)_(\w+)$")


@dataclass(frozen=True)
class Segment:
    """One entry of a ``.seg.nrrd`` file.

    Attributes:
        name, color, terminology: as for a structure.
        value: its value within its layer.
        layer: which of the file's labelmaps it is in.
    """

    name: str
    value: int
    layer: int
    color: tuple[float, float, float]
    terminology: str


def segments_in(metadata: Mapping[str, str], what: str) -> tuple[Segment, ...]:
    """The segments a file's header lists, in its order; none for an ordinary labelmap.

    Files from before layers existed have neither values nor layers: each segment is 1 in its own layer.

    Raises:
        AnnotationError: "annotation-segments" for names used twice or fields that cannot be read.
    """
    entries: dict[int, dict[str, str]] = {}
    for key, text in metadata.items():
        found = _FIELD.match(key)
        if found:
            entries.setdefault(int(found.group(1)), {})[found.group(2)] = text
    segments = []
    for number, fields in sorted(entries.items()):
        try:
            value = int(fields.get("LabelValue", "1"))
            layer = int(fields.get("Layer", str(number)))
            parts = [float(part) for part in fields.get("Color", "").split()]
        except ValueError as problem:
            raise _bad_segments(what, f"segment {number} has a field that is no number") from problem
        color = (parts[0], parts[1], parts[2]) if len(parts) == 3 else PALETTE[number % len(PALETTE)]
        name = fields.get("Name") or fields.get("ID") or f"Segment_{number + 1}"
        segments.append(Segment(name, value, layer, color, _terminology(fields.get("Tags", ""))))
    names = [s.name for s in segments]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise _bad_segments(what, f'the name "{twice[0]}" occurs twice')
    return tuple(segments)


def number_segments(segments: Sequence[Segment]) -> tuple[Structure, ...]:
    """A structure for each segment: with its own value where all differ, else numbered 1, 2, ..."""
    values = [s.value for s in segments]
    keep = len(set(values)) == len(values) and all(1 <= v <= 65535 for v in values)
    return tuple(
        Structure(s.name, s.value if keep else number, s.color, s.terminology)
        for number, s in enumerate(segments, start=1)
    )


def structures_from_json(path: Path) -> tuple[Structure, ...]:
    """The structures a JSON file lists under "labels".

    Understood are ``{"labels": {name: value}}``, the same as nnU-Net writes it (values as numbers, text, or lists of
    one), and the Medical Segmentation Decathlon's ``{"labels": {value: name}}``. Background (0) and nnU-Net's
    "ignore" entry are no structures and are left out.

    Raises:
        AnnotationError: "structures-file".
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise _bad_list(path, f"could not be opened ({problem.strerror or problem})") from problem
    except (UnicodeDecodeError, json.JSONDecodeError) as problem:
        raise _bad_list(path, "is no JSON file") from problem
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict) or not labels:
        raise _bad_list(path, 'has no list "labels"')
    pairs = []
    by_value = all(isinstance(v, str) and not _is_number(v) for v in labels.values()) and all(map(_is_number, labels))
    for key, entry in labels.items():
        name, value = (entry, _number(key, path)) if by_value else (key, _number(entry, path, key))
        if value != 0 and name.lower() != "ignore":
            pairs.append((name.strip(), value))
    return _distinct(pairs, path)


def _distinct(pairs: Sequence[tuple[str, int]], path: Path) -> tuple[Structure, ...]:
    if not pairs:
        raise _bad_list(path, "lists no structure but background")
    names, values = [n for n, _ in pairs], [v for _, v in pairs]
    for name, value in pairs:
        if not name or names.count(name) > 1:
            raise _bad_list(path, f'lists the name "{name}" twice' if name else "lists a structure without a name")
        if values.count(value) > 1:
            raise _bad_list(path, f"gives the value {value} to several structures")
        if not 1 <= value <= 65535:
            raise _bad_list(path, f"gives {name} the value {value}, which is not within 1..65535")
    ordered = sorted(pairs, key=lambda pair: pair[1])
    return tuple(Structure(n, v, PALETTE[i % len(PALETTE)]) for i, (n, v) in enumerate(ordered))


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*\d+\s*", text) is not None


def _number(entry: Any, path: Path, name: str = "") -> int:
    if isinstance(entry, list) and len(entry) == 1:
        entry = entry[0]
    if isinstance(entry, list):
        raise _bad_list(path, f"defines {name} by several values {entry}, and structures may not overlap")
    if isinstance(entry, str) and _is_number(entry):
        return int(entry)
    if isinstance(entry, int) and not isinstance(entry, bool):
        return entry
    raise _bad_list(path, f"has {entry!r} where a label value should be")


def _terminology(tags: str) -> str:
    for tag in tags.split("|"):
        key, _, value = tag.partition(":")
        if key.strip() == "TerminologyEntry":
            return value.strip()
    return ""


def _bad_segments(what: str, why: str) -> AnnotationError:
    return AnnotationError(
        "annotation-segments",
        f"The segments of {what} cannot be told apart: {why}.",
        "Rename the segments in Slicer's Segment Editor and save the segmentation again.",
    )


def _bad_list(path: Path, why: str) -> AnnotationError:
    return AnnotationError(
        "structures-file",
        f"{Path(path).name} {why}.",
        'Give a JSON file with {"labels": {"liver": 1, "spleen": 2}}, or a dataset.json of nnU-Net or MSD.',
    )

"""What is installed for the screen: adapted models and backbones, listed without loading torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.backbones.registry import PUBLISHED
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import FseftError, ModelError
from fseft.files import home
from fseft.models.description import check_name
from fseft.models.library import ModelEntry, library_folder, list_models
from fseft.models.versions import ModelVersion
from fseft.resources import resource_folders


@dataclass(frozen=True)
class BackboneChoice:
    """A backbone on the screen.

    Attributes:
        id, title: of its specification.
        installed, bundled: whether it is there, and whether it came with FSEFT.
        megabytes: on disk, or to download.
        licence, source: to be shown before a download.
    """

    id: str
    title: str
    installed: bool
    bundled: bool
    megabytes: int
    licence: str = ""
    source: str = ""
    can_download: bool = False


def list_backbones() -> list[BackboneChoice]:
    """Installed backbones, bundled ones first, then the published ones that can be had."""
    found: dict[str, BackboneChoice] = {}
    roots = [(folder / "Backbones", True) for folder in resource_folders()] + [(_user_backbones(), False)]
    for root, bundled in roots:
        for folder in sorted(root.iterdir()) if root.is_dir() else []:
            path = folder / "specification.json"
            if folder.name.startswith(".") or not path.is_file():
                continue
            try:
                specification = BackboneSpecification.read(path)
            except FseftError:
                continue
            size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
            found.setdefault(specification.id, _choice(specification, True, bundled, size))
    for published in PUBLISHED.values():
        specification = published.specification
        size = int(specification.download.get("bytes") or 0)
        found.setdefault(specification.id, _choice(specification, False, False, size))
    return list(found.values())


def _choice(specification: BackboneSpecification, installed: bool, bundled: bool, size: int) -> BackboneChoice:
    return BackboneChoice(
        specification.id,
        specification.title,
        installed,
        bundled,
        round(size / 1e6),
        specification.licence,
        specification.source,
        bool(specification.download.get("url")),
    )


def _user_backbones() -> Path:
    try:
        return home() / "backbones"
    except ImportError:
        # Before the dependencies are installed there is no such folder yet.
        return Path("/nonexistent")


def models() -> list[ModelEntry]:
    """Adapted models of the library; empty before the dependencies are installed."""
    try:
        return list_models()
    except ImportError:
        return []


def model_exists(name: str) -> bool:
    """True when the library has a model of that name."""
    return any(entry.name == name for entry in models())


def continue_problem(name: str) -> str:
    """Why a model cannot be gone on from, as a sentence; "" when it can."""
    entry = next((entry for entry in models() if entry.name == name), None)
    if entry is None:
        return f"There is no model “{name}” to continue: choose another method, or type the name of a model."
    if entry.description is None:
        return f"The model “{name}” cannot be read: choose another method."
    if entry.description.get("method") == "zero-shot":
        return f"“{name}” was made without learning, there is nothing to continue: choose another method."
    return ""


def name_problem(name: str) -> str:
    """Why a name cannot be a model's, as a sentence; "" when it can."""
    try:
        check_name(name)
    except ModelError as problem:
        return f"{problem.message} {problem.hint}"
    return ""


def rename_model(old: str, new: str) -> None:
    """Give a model's folder, by which the library knows it, another name.

    Raises:
        ModelError: "model-name-invalid", "model-exists", "model-missing".
    """
    target = library_folder() / check_name(new)
    source = library_folder() / check_name(old)
    if not source.is_dir():
        raise ModelError("model-missing", f"The library has no model “{old}”.", "Refresh the list.")
    if target.exists():
        raise ModelError("model-exists", f"There already is a model “{new}”.", "Choose another name.")
    source.rename(target)


def version_line(version: ModelVersion) -> str:
    """An earlier version of a model in one line: when it was made, how, from how much, and how good it was."""
    description = version.description
    if description is None:
        return f"{version.id}: {version.problem}"
    parts = [str(description.get("created", "")).replace("T", " ")[:16], str(description.get("method", ""))]
    if description.get("shots"):
        parts.append(f"{description['shots']} annotated scan(s)")
    validation = description.get("validation") or {}
    scores = (validation.get("table") or {}).get(validation.get("chosen")) or {}
    dice = [score["dice"] for score in scores.values() if score.get("dice") is not None]
    if dice:
        parts.append(f"Dice {sum(dice) / len(dice):.2f}")
    return ", ".join(part for part in parts if part)


def renewed_card(card: dict[str, Any] | None) -> dict[str, Any] | None:
    """The card of the model last made, after the library changed: renamed, another version's, none when it is gone."""
    if not card:
        return card
    known = [entry for entry in models() if entry.description is not None]
    same = [entry.name for entry in known if (entry.description or {}).get("created") == card.get("created")]
    if same:
        return {**card, "name": card.get("name") if card.get("name") in same else same[0]}
    return next((dict(entry.description or {}) for entry in known if entry.name == card.get("name")), None)


def describe_lines(description: dict[str, Any]) -> list[tuple[str, str]]:
    """A model's details as label and text."""
    structures = ", ".join(structure["name"] for structure in description.get("structures", []))
    lines = [
        ("Structures", structures),
        ("Method", str(description.get("method", ""))),
        ("Backbone", str(description.get("backbone", ""))),
        ("Annotated scans", str(description.get("shots", ""))),
        ("Made", str(description.get("created", "")).replace("T", " ")),
    ]
    return [(label, text) for label, text in lines if text]


def pretty(content: Any) -> str:
    """JSON for the details drawer."""
    return json.dumps(content, indent=1, ensure_ascii=False, default=str)

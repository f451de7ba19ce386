"""Earlier versions of a model, kept inside its folder, and the way back to them. No torch: the viewer calls this.

``versions/0001/``, ``versions/0002/`` and so on hold what the model's folder itself held, the largest number being the
most recently replaced. They lie inside the folder so that one exchange of folders moves the model and its history
together: whenever the process dies, the old state is there whole or the new one is. Renaming and removing the folder
take the history along; exporting leaves it out, and importing never brings one in.

A folder that is about to take the model's place links to the files that stay instead of copying them: model files are
written once and never changed in place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.errors import ModelError
from fseft.files import recover_folder, replace_folder
from fseft.models.description import MODEL_FILE, WEIGHTS_FILE, damaged, read_description
from fseft.models.lock import replacing

VERSIONS_FOLDER = "versions"
#: What a model's folder may hold: anything else is the user's, and replacing the folder would delete it.
_OWN = {MODEL_FILE, WEIGHTS_FILE, VERSIONS_FOLDER, ".DS_Store", "Thumbs.db", "desktop.ini"}
#: The oldest go when there are more.
MAX_VERSIONS = 10


@dataclass(frozen=True)
class ModelVersion:
    """An earlier version of a model.

    Attributes:
        id: its number as text, "0003"; larger was replaced later.
        folder: where it lies; it loads like any model's folder.
        description: content of its ``model.json``, None when that cannot be read.
        problem: why not.
    """

    id: str
    folder: Path
    description: dict[str, Any] | None
    problem: str = ""


def list_versions(folder: Path) -> list[ModelVersion]:
    """Earlier versions of the model in a folder, the most recently replaced first."""
    recover_folder(folder)
    found = []
    for number in sorted(_numbers(folder), reverse=True):
        path = folder / VERSIONS_FOLDER / f"{number:04d}"
        try:
            found.append(ModelVersion(path.name, path, read_description(path)))
        except ModelError as problem:
            found.append(ModelVersion(path.name, path, None, problem.message))
    return found


def keep_versions(folder: Path, partial: Path) -> None:
    """Carry a model and its earlier versions over into the folder that is about to take its place.

    To be called inside :func:`fseft.models.lock.replacing` and :func:`fseft.files.replace_folder`, so that what is kept
    here is what is replaced then. A model whose description is damaged is not worth keeping.

    Args:
        folder: the model's, which may not exist yet.
        partial: the temporary folder that will replace it.

    Raises:
        ModelError: "folder-not-a-model" when the folder holds something else, which replacing would delete.
    """
    check_replaceable(folder)
    _carry_over(folder, partial, leave_out=None)


def check_replaceable(folder: Path) -> None:
    """Refuse to replace a folder that is not a model's, or that holds something besides a model.

    Raises:
        ModelError: "folder-not-a-model", "folder-holds-more".
    """
    if not folder.exists():
        return
    inside = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if folder.is_dir() and (MODEL_FILE in inside or not inside):
        strange = sorted(inside - _OWN)
        if strange:
            raise ModelError(
                "folder-holds-more",
                f"{folder.name!r} holds {strange[0]!r} besides a model, and a model would replace all of it.",
                "Move that elsewhere, or choose a folder that does not exist yet.",
            )
        return
    raise ModelError(
        "folder-not-a-model",
        f"{folder.name!r} exists and is not a model: a model would replace all of it.",
        "Choose a folder that does not exist yet.",
    )


def roll_back(folder: Path, version: str | None = None) -> ModelVersion:
    """Put an earlier version in the model's place; the model there now becomes a version, so this can be undone too.

    Args:
        folder: the model's.
        version: an ``id`` of :func:`list_versions`, leading zeros optional; by default the most recently replaced.

    Returns:
        The version that is now the model, as it was listed before.

    Raises:
        ModelError: "model-missing", "version-missing", "model-damaged" when the version fails its checksums.
        ResourceError: when it cannot be written; nothing has changed then.
    """
    recover_folder(folder)
    if not (folder / MODEL_FILE).is_file():
        raise ModelError("model-missing", f"There is no adapted model at {folder.name!r}.", "See 'fseft models list'.")
    with replacing(folder):
        wanted = _find(folder, version)
        if wanted.description is None:
            raise damaged(wanted.folder, wanted.problem)
        check_weights(wanted.folder, wanted.description)
        with replace_folder(folder) as partial:
            _link_model(wanted.folder, partial)
            _carry_over(folder, partial, leave_out=int(wanted.id))
    return wanted


def check_weights(folder: Path, description: Mapping[str, Any]) -> None:
    """Check a model's weights against its description, without torch.

    Raises:
        ModelError: "model-damaged".
    """
    if _sha256(folder / WEIGHTS_FILE) != description["weights_sha256"]:
        raise damaged(folder, "its weights are missing or fail their checksum")


def _find(folder: Path, version: str | None) -> ModelVersion:
    versions = list_versions(folder)
    if version is None and versions:
        return versions[0]
    for entry in versions:
        if version is not None and version.isdecimal() and int(version) == int(entry.id):
            return entry
    if not versions:
        raise ModelError(
            "version-missing", f"{folder.name!r} has no earlier version.", "There is nothing to go back to."
        )
    known = ", ".join(entry.id for entry in versions)
    raise ModelError("version-missing", f"{folder.name!r} has no version {version!r}.", f"There are: {known}.")


def _carry_over(folder: Path, partial: Path, leave_out: int | None) -> None:
    """The kept versions and the present model, as the newest of them, linked into the partial folder."""
    numbers = sorted(_numbers(folder))
    kept = [(n, folder / VERSIONS_FOLDER / f"{n:04d}") for n in numbers if n != leave_out]
    if _worth_keeping(folder):
        kept.append((numbers[-1] + 1 if numbers else 1, folder))
    for number, source in kept[-MAX_VERSIONS:]:
        _link_model(source, partial / VERSIONS_FOLDER / f"{number:04d}")


def _numbers(folder: Path) -> list[int]:
    versions = folder / VERSIONS_FOLDER
    if not versions.is_dir():
        return []
    return [int(entry.name) for entry in versions.iterdir() if entry.is_dir() and entry.name.isdecimal()]


def _worth_keeping(folder: Path) -> bool:
    try:
        read_description(folder)
    except ModelError:
        return False
    return (folder / WEIGHTS_FILE).is_file()


def _link_model(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in (MODEL_FILE, WEIGHTS_FILE):
        if (source / name).is_file():
            try:
                os.link(source / name, target / name)
            except OSError:  # a file system without hard links
                shutil.copyfile(source / name, target / name)


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

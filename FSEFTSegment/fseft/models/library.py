"""The model library: adapted models under the user's own folder."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fseft.errors import InputError, ModelError, ResourceError
from fseft.files import home, recover_folder, recover_folders, replace_folder, replace_whole, scratch_folder
from fseft.models.description import (
    MAX_DESCRIPTION_BYTES,
    MODEL_FILE,
    WEIGHTS_FILE,
    check_name,
    read_description,
)
from fseft.models.lock import replacing
from fseft.models.versions import check_weights, keep_versions

MAX_ARCHIVE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class ModelEntry:
    """One model of the library: its folder, and its description or why it cannot be read."""

    name: str
    folder: Path
    description: dict[str, Any] | None
    problem: str = ""


def library_folder() -> Path:
    """Where the library lives: ``FSEFT_HOME``/models."""
    return home() / "models"


def list_models() -> list[ModelEntry]:
    """All models, damaged ones included, by name."""
    entries = []
    root = library_folder()
    recover_folders(root)
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        try:
            entries.append(ModelEntry(folder.name, folder, read_description(folder)))
        except ModelError as problem:
            entries.append(ModelEntry(folder.name, folder, None, problem.message))
    return entries


def find_model(name_or_path: str) -> Path:
    """Folder of a model given by name or path.

    Raises:
        ModelError: "model-missing".
    """
    path = Path(name_or_path)
    recover_folder(path)
    if name_or_path and (path / MODEL_FILE).is_file():
        return path
    named = library_folder() / (path.name or "-")
    recover_folder(named)
    if path.name == name_or_path and (named / MODEL_FILE).is_file():
        return named
    known = ", ".join(entry.name for entry in list_models())
    hint = f"Models in the library: {known}. Give one of these names, or a model's folder."
    raise ModelError(
        "model-missing",
        f"There is no adapted model {name_or_path!r}.",
        hint if known else "The library is empty: make a model with 'fseft adapt', or give a model's folder.",
    )


def export_model(name_or_path: str, archive: Path) -> None:
    """Zip a verified model, without its earlier versions.

    Args:
        name_or_path: of the model.
        archive: to be written; its name ends in ``.zip``, its folder is there, and only an earlier export is replaced.

    Raises:
        ModelError: when the model is missing or damaged.
        InputError: "output-ending", "output-not-a-result", "output-folder-missing".
    """
    folder = find_model(name_or_path)
    _check_archive(archive)
    check_weights(folder, read_description(folder))
    with replace_whole(archive) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in (MODEL_FILE, WEIGHTS_FILE):
            bundle.write(folder / name, name)


def import_model(archive: Path, name: str | None = None, replace: bool = False) -> Path:
    """Add an exported model to the library.

    Only the two known files are read from the archive, whatever else it claims to hold, so a model arrives without
    earlier versions; one that it replaces is kept as a version.

    Args:
        archive: a zip made by :func:`export_model`.
        name: name in the library; by default the model's own.
        replace: overwrite a model of that name.

    Raises:
        ModelError: "archive-invalid", "model-damaged", "model-exists".
    """
    with scratch_folder(library_folder()) as unpacked:
        _unpack(archive, unpacked)
        try:
            description = read_description(unpacked)
            check_weights(unpacked, description)
        except ModelError as problem:
            # The folder's name is of no use to anybody; the archive's is.
            message = problem.message.replace(repr(unpacked.name), f"in {archive.name}")
            raise ModelError(problem.code, message, problem.hint) from problem
        target = library_folder() / check_name(str(description["name"]) if name is None else name)
        if target.exists() and not replace:
            raise ModelError(
                "model-exists",
                f"The library already has a model {target.name!r}.",
                "Import it under another name, or allow replacing.",
            )
        with replacing(target), replace_folder(target) as partial:
            keep_versions(target, partial)
            for part in unpacked.iterdir():
                shutil.move(part, partial / part.name)
    return target


def remove_model(name: str) -> None:
    """Delete a model of the library with its earlier versions.

    Raises:
        ModelError: "model-missing".
        ResourceError: "cannot-remove".
    """
    folder = library_folder() / check_name(name)
    if not folder.is_dir():
        raise ModelError("model-missing", f"The library has no model {name!r}.", "See 'fseft models list'.")
    try:
        shutil.rmtree(folder)
    except OSError as problem:
        raise ResourceError(
            "cannot-remove",
            f"The model {name!r} could not be removed: {problem.strerror or problem}.",
            "Close what uses it, or check that you may write to the library's folder.",
        ) from problem


def _check_archive(archive: Path) -> None:
    if archive.suffix.lower() != ".zip":
        raise InputError(
            "output-ending",
            f"A model would be exported to {archive.name!r}, which is not the name of a zip file.",
            "Give it a name that ends in .zip.",
        )
    if not archive.absolute().parent.is_dir():
        raise InputError(
            "output-folder-missing",
            f"There is no folder {str(archive.parent)!r} to export to.",
            "Make it first, or correct the path.",
        )
    if archive.exists() and not _is_export(archive):
        raise InputError(
            "output-not-a-result",
            f"{archive} is no earlier export of a model.",
            "Choose another name, or move that file away yourself.",
        )


def _is_export(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as bundle:
            return sorted(bundle.namelist()) == sorted((MODEL_FILE, WEIGHTS_FILE))
    except (OSError, zipfile.BadZipFile):
        return False


def _unpack(archive: Path, folder: Path) -> None:
    if not archive.is_file():
        raise ModelError("archive-invalid", f"There is no file {archive.name!r}.", "Check where the exported model is.")
    invalid = "Export the model again and import that file."
    try:
        with zipfile.ZipFile(archive) as bundle:
            members = {info.filename: info for info in bundle.infolist()}
            for name in (MODEL_FILE, WEIGHTS_FILE):
                info = members.get(name)
                regular = info is not None and not stat.S_ISLNK(info.external_attr >> 16)
                limit = MAX_DESCRIPTION_BYTES if name == MODEL_FILE else MAX_ARCHIVE_BYTES
                if info is None or not regular or info.file_size > limit:
                    raise ModelError("archive-invalid", f"{archive.name} does not hold an adapted model.", invalid)
                with bundle.open(info) as source, (folder / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, ValueError) as problem:
        # RuntimeError: encrypted, or compressed in a way that is not known here.
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        raise ModelError(
            "archive-invalid", f"{archive.name} cannot be read: {why.rstrip('.') or 'it is damaged'}.", invalid
        ) from problem

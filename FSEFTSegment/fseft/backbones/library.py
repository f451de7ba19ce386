"""Which backbones this machine has, and how another one gets here: download, import, remove."""

from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from fseft.backbones.conversion import convert, read_foreign_tensors
from fseft.backbones.download import download_file
from fseft.backbones.networks import Backbone
from fseft.backbones.registry import PUBLISHED, PublishedBackbone
from fseft.backbones.specification import IDENTIFIER, IDENTIFIER_WORDS, BackboneSpecification
from fseft.backbones.weights import SPECIFICATION_FILE, WEIGHTS_FILE, load_backbone, save_backbone
from fseft.errors import BackboneError
from fseft.files import cannot_write, home, replace_folder
from fseft.reporting import SILENT, Reporter
from fseft.resources import resource_folders


@dataclass(frozen=True)
class BackboneStatus:
    """A backbone in the listing.

    Attributes:
        id, title: as in the specification.
        installed: it can be used now.
        bundled: it came with FSEFT and cannot be removed.
        folder: where it is, None when it is not installed.
        size_bytes: of its folder; of the download when it is not installed; 0 if unknown.
        specification: what it is.
        how_to_get: one sentence for one that is not installed, else "".
    """

    id: str
    title: str
    installed: bool
    bundled: bool
    folder: Path | None
    size_bytes: int
    specification: BackboneSpecification
    how_to_get: str = ""


def user_folder() -> Path:
    """Where installed backbones live, one folder each, named by identifier."""
    return home() / "backbones"


def backbone_folders() -> list[tuple[Path, bool]]:
    """Folders that hold a specification, bundled ones first; the flag says bundled."""
    roots = [(folder / "Backbones", True) for folder in resource_folders()] + [(user_folder(), False)]
    found: dict[str, tuple[Path, bool]] = {}
    for root, bundled in roots:
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if not folder.name.startswith(".") and (folder / SPECIFICATION_FILE).is_file():
                    found.setdefault(folder.name, (folder, bundled))
    return list(found.values())


def available_backbones() -> list[BackboneStatus]:
    """Installed backbones, then the published ones that can be had.

    A folder whose specification cannot be read is left out here; ``find_backbone`` and ``load`` name its problem.
    """
    listing = []
    for folder, bundled in backbone_folders():
        try:
            specification = BackboneSpecification.read(folder / SPECIFICATION_FILE)
        except BackboneError:
            continue
        if specification.id != folder.name:
            continue
        installed = (folder / WEIGHTS_FILE).is_file()
        listing.append(
            BackboneStatus(
                specification.id,
                specification.title,
                installed,
                bundled,
                folder,
                sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
                specification,
                "" if installed else "Its weights file is missing: install it again.",
            )
        )
    present = {status.id for status in listing}
    for identifier, published in PUBLISHED.items():
        if identifier not in present:
            specification = published.specification
            size = int(specification.download.get("bytes", 0))
            listing.append(
                BackboneStatus(
                    identifier, specification.title, False, False, None, size, specification, published.how_to_get
                )
            )
    return listing


def find_backbone(identifier: str) -> Path:
    """The folder of an installed backbone.

    Raises:
        BackboneError: "backbone-not-installed" for a published one that is not here, else "backbone-unknown".
    """
    for folder, _ in backbone_folders():
        if folder.name == identifier:
            return folder
    if identifier in PUBLISHED:
        published = PUBLISHED[identifier]
        raise BackboneError(
            "backbone-not-installed", f"The backbone {identifier!r} is not installed.", published.how_to_get
        )
    known = ", ".join(status.id for status in available_backbones()) or "none"
    raise BackboneError(
        "backbone-unknown", f"There is no backbone {identifier!r}.", f"Choose one of those known here: {known}."
    )


def load(identifier: str) -> Backbone:
    """An installed backbone, ready to compute features on the CPU.

    Raises:
        BackboneError: as :func:`find_backbone`, and "backbone-weights-damaged" when its checksum fails.
    """
    return load_backbone(find_backbone(identifier))


def remove_backbone(identifier: str) -> None:
    """Delete a backbone that was imported or downloaded.

    Raises:
        BackboneError: "backbone-bundled" for one that came with FSEFT; as :func:`find_backbone`.
        ResourceError: "cannot-write".
    """
    folder = find_backbone(identifier)
    if folder.parent != user_folder():
        raise BackboneError(
            "backbone-bundled",
            f"The backbone {identifier!r} came with FSEFT and is not removed.",
            "Uninstall FSEFT if you want to be rid of it.",
        )
    try:
        shutil.rmtree(folder)
    except OSError as problem:
        raise cannot_write(folder, problem) from problem


def import_backbone(path: Path, identifier: str) -> BackboneSpecification:
    """Install a backbone from a file or folder of the user's.

    Args:
        path: a published backbone's weight file (``.pth``, ``.pt``, ``.safetensors``), or a folder with
            ``specification.json`` and ``weights.safetensors`` such as pretraining writes.
        identifier: the published backbone that the file is; for a folder the identifier in its specification.

    Returns:
        The installed backbone's specification.

    Raises:
        BackboneError: "backbone-unknown", "backbone-id-taken", and those of :mod:`fseft.backbones.conversion` and
            :func:`fseft.backbones.weights.load_backbone`.
    """
    _require_importable(identifier)
    if path.is_dir():
        return _import_folder(path, identifier)
    if identifier not in PUBLISHED:
        raise BackboneError(
            "backbone-unknown",
            f"A weight file cannot be imported as {identifier!r}: its network is not known.",
            f"Choose one of {', '.join(PUBLISHED)}, or import a folder that pretraining wrote.",
        )
    network = convert(read_foreign_tensors(path), PUBLISHED[identifier])
    with replace_folder(user_folder() / identifier) as partial:
        # Full precision: an imported backbone computes exactly what its publisher's does.
        return save_backbone(network, partial, half=False)


def _require_importable(identifier: str) -> None:
    if not re.fullmatch(IDENTIFIER, identifier):
        raise BackboneError(
            "backbone-unknown",
            f"{identifier!r} is not a backbone identifier.",
            f"Use {IDENTIFIER_WORDS}.",
        )
    if any(bundled and folder.name == identifier for folder, bundled in backbone_folders()):
        raise BackboneError(
            "backbone-id-taken",
            f"The backbone {identifier!r} came with FSEFT and is not replaced.",
            "Import yours under another identifier.",
        )


def _import_folder(folder: Path, identifier: str) -> BackboneSpecification:
    network = load_backbone(folder)
    specification = dataclasses.replace(network.specification, id=identifier)
    if specification != network.specification:
        raise BackboneError(
            "backbone-specification-invalid",
            f"The folder holds the backbone {network.specification.id!r}, not {identifier!r}.",
            "Import it under its own identifier.",
        )
    with replace_folder(user_folder() / identifier) as partial:
        for name in (SPECIFICATION_FILE, WEIGHTS_FILE):
            shutil.copyfile(folder / name, partial / name)
    return specification


def download_backbone(identifier: str, reporter: Reporter = SILENT) -> BackboneSpecification:
    """Download a published backbone and install it; the downloaded file is removed afterwards.

    Raises:
        BackboneError: "backbone-unknown"; "backbone-no-download" where the file has to be fetched by hand; those
            of :func:`import_backbone`.
        ResourceError: those of :func:`fseft.backbones.download.download_file`.
    """
    published: PublishedBackbone | None = PUBLISHED.get(identifier)
    if published is None:
        find_backbone(identifier)  # says that it is unknown
        raise BackboneError(
            "backbone-no-download",
            f"The backbone {identifier!r} is installed and was not published for download.",
            "There is nothing to do.",
        )
    source = published.specification.download
    if not source:
        raise BackboneError(
            "backbone-no-download",
            f"No verified download of the backbone {identifier!r} is known.",
            published.how_to_get,
        )
    _require_importable(identifier)
    target = home() / "downloads" / published.file_name
    download_file(source["url"], target, source["sha256"], int(source.get("bytes", 0)), reporter)
    try:
        return import_backbone(target, identifier)
    finally:
        target.unlink(missing_ok=True)

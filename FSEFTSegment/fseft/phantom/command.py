"""Folders of synthetic scans, in the layout that support sets and pretraining read."""

from __future__ import annotations

import json
from pathlib import Path

from fseft.errors import InputError
from fseft.files import replace_whole
from fseft.phantom.generator import make_phantom, phantom_name
from fseft.reporting import SILENT, Reporter
from fseft.scan.writing import write_labelmap, write_scan

_NAME = "FSEFT phantoms"


def write_phantoms(
    folder: Path,
    count: int,
    seed: int,
    region: str,
    spacing_mm: tuple[float, float, float],
    reporter: Reporter = SILENT,
    overwrite: bool = False,
) -> list[tuple[Path, Path]]:
    """Write ``images/<name>.nii.gz``, ``labels/<name>.nii.gz`` and a ``dataset.json`` that lists both.

    Args:
        folder: made when absent.
        count: how many patients; their seeds are ``seed``, ``seed`` + 1, ...
        seed: of the first patient.
        region: see :func:`fseft.phantom.make_phantom`.
        spacing_mm: (x, y, z).
        reporter: hears of every finished patient.
        overwrite: replace scans, labels and ``dataset.json`` that are there; labels may hold somebody's corrections.

    Returns:
        The scan's and the labelmap's path of each patient.

    Raises:
        InputError: "phantom-bad-count", "phantom-folder-in-use", "output-exists", or as
            :func:`fseft.phantom.make_phantom`.
        ResourceError: "disk-full", "cannot-write".
        Cancelled: between two patients; ``dataset.json`` is then not written.
    """
    if count < 1:
        raise InputError("phantom-bad-count", f"{count} phantoms cannot be made.", "Ask for 1 or more.")
    _refuse_a_folder_in_use(folder)
    if not overwrite:
        _refuse_to_replace(folder, [phantom_name(region, seed + number) for number in range(count)])
    written: list[tuple[Path, Path]] = []
    values: dict[str, int] = {}
    for number in range(count):
        reporter.check_cancelled()
        phantom = make_phantom(seed + number, region, spacing_mm)
        name = f"{phantom.scan.name}.nii.gz"
        paths = folder / "images" / name, folder / "labels" / name
        write_scan(phantom.scan, paths[0])
        write_labelmap(phantom.labels, phantom.scan.geometry, paths[1], phantom.structures)
        values.update({s.name: s.value for s in phantom.structures})
        written.append(paths)
        reporter.progress("phantoms", number + 1, count, name)
    _write_description(folder, written, values)
    return written


def _refuse_a_folder_in_use(folder: Path) -> None:
    """Phantoms among somebody's scans would be taken for them, and their list for the list of all."""
    if folder.exists() and not folder.is_dir():
        raise InputError("phantom-folder-in-use", f"{folder.name!r} is a file.", "Name a folder.")
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    try:
        made = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["name"] == _NAME
    except (OSError, ValueError, KeyError, TypeError):
        # Without a list: what an interrupted call left behind is images and labels of phantoms alone.
        files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
        made = all(path.name.startswith("phantom") for path in files)
    if not made:
        raise InputError(
            "phantom-folder-in-use", f"{folder.name!r} holds other files than phantoms.", "Choose another folder."
        )


def _refuse_to_replace(folder: Path, names: list[str]) -> None:
    places = [folder / part / f"{name}.nii.gz" for name in names for part in ("images", "labels")]
    there = [path for path in (*places, folder / "dataset.json") if path.exists()]
    if there:
        raise InputError(
            "output-exists",
            f"{there[0].name} already exists in {folder.name!r}.",
            "Choose another folder, or add --overwrite to replace it.",
        )


def _write_description(folder: Path, written: list[tuple[Path, Path]], values: dict[str, int]) -> None:
    pairs = [{"image": f"images/{scan.name}", "label": f"labels/{labels.name}"} for scan, labels in written]
    description = {
        "name": _NAME,
        "description": "Synthetic CT scans of schematic bodies; no patient data.",
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **dict(sorted(values.items(), key=lambda item: item[1]))},
        "file_ending": ".nii.gz",
        "numTraining": len(pairs),
        "training": pairs,
    }
    with replace_whole(folder / "dataset.json") as partial:
        partial.write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")

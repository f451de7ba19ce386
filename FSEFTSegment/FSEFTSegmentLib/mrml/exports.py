"""Labelmaps and tables for other programs: stable values, names kept, nothing overwritten unasked."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from fseft.errors import InputError
from fseft.files import replace_whole
from fseft.structures import Structure

from FSEFTSegmentLib.mrml.annotations import Annotation, annotation_steps, write_annotation_steps
from FSEFTSegmentLib.mrml.grid import Grid, own_grid, world_transform
from FSEFTSegmentLib.mrml.nrrd import write_nrrd_steps
from FSEFTSegmentLib.mrml.volumes import slabs_of
from FSEFTSegmentLib.steps import Steps

FORMATS = {"seg.nrrd": ".seg.nrrd", "nrrd": ".nrrd", "nii.gz": ".nii.gz"}

_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')


@dataclass(frozen=True)
class ExportItem:
    """A segmentation to export with the volume it lies on, and the file's name without suffix."""

    segmentation: Any
    volume: Any
    stem: str


def safe_stem(name: str) -> str:
    """A file name without suffix that every system accepts, as close to the given name as can be."""
    stem = _FORBIDDEN.sub("_", name).strip(" .")[:120]
    return stem or "case"


def distinct_items(pairs: Sequence[tuple[Any, Any]]) -> list[ExportItem]:
    """Items named after their volumes; equal names get a number, whatever the file system thinks of case."""
    used: set[str] = set()
    items = []
    for segmentation, volume in pairs:
        stem = base = safe_stem(volume.GetName())
        number = 2
        while stem.casefold() in used:
            stem, number = f"{base}_{number}", number + 1
        used.add(stem.casefold())
        items.append(ExportItem(segmentation, volume, stem))
    return items


def export_targets(items: Sequence[ExportItem], folder: Path, kind: str) -> list[Path]:
    """The files an export will write, in order; ask before writing where one :meth:`~pathlib.Path.exists`."""
    targets = [folder / (item.stem + FORMATS[kind]) for item in items]
    return targets if kind == "seg.nrrd" else [*targets, folder / "labels.json"]


def export_steps(
    items: Sequence[ExportItem],
    structures: tuple[Structure, ...],
    folder: Path,
    kind: str,
    overwrite: bool = False,
) -> Steps[list[Path]]:
    """Write labelmaps on the volumes' grids with the structures' values; returns the files.

    ``.seg.nrrd`` holds names and colours itself; beside the other formats ``labels.json`` says which value is what.

    Raises:
        InputError: "export-exists" naming the first file that is there, when not to be overwritten.
        AnnotationError, ScanError, ResourceError: as for annotations.
    """
    targets = export_targets(items, folder, kind)
    if not overwrite:
        refuse_existing(targets)
    for position, (item, path) in enumerate(zip(items, targets, strict=False)):
        yield position / max(1, len(items))
        annotation: Annotation = yield from annotation_steps(item.segmentation, item.volume, structures)
        grid = own_grid(item.volume).moved(world_transform(item.volume))
        if kind == "seg.nrrd":
            yield from write_annotation_steps(annotation, grid, path)
        elif kind == "nrrd":
            labels = annotation.labels
            yield from write_nrrd_steps(path, slabs_of(labels), labels.dtype, grid, compress=True)
        else:
            _write_nifti(annotation.labels, grid, path)
    if kind != "seg.nrrd":
        content = {s.name: {"value": s.value, "color": list(s.color), "terminology": s.terminology} for s in structures}
        with replace_whole(targets[-1]) as partial:
            partial.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return targets


def refuse_existing(targets: Sequence[Path]) -> None:
    """Raise when any target is there already.

    Raises:
        InputError: "export-exists".
    """
    existing = [path for path in targets if path.exists()]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise InputError(
            "export-exists",
            f"{existing[0].name}{more} would be overwritten.",
            "Choose another folder, or confirm the replacement.",
        )


def _write_nifti(labels: np.ndarray, grid: Grid, path: Path) -> None:
    image = sitk.GetImageFromArray(labels)
    matrix = grid.ijk_to_lps
    spacing = grid.spacing
    image.SetSpacing([float(s) for s in spacing])
    image.SetOrigin([float(v) for v in matrix[:3, 3]])
    image.SetDirection((matrix[:3, :3] / spacing).reshape(-1).tolist())
    with replace_whole(path) as partial:
        sitk.WriteImage(image, str(partial), useCompression=True)


def write_table(rows: Sequence[Mapping[str, Any]], path: Path, overwrite: bool = False) -> None:
    """Write rows as CSV that spreadsheets open with the right characters.

    Args:
        rows: dictionaries with the same keys.
        path: ends in ``.csv``.
        overwrite: replace an existing file.

    Raises:
        InputError: "export-exists", "export-empty".
        ResourceError: "disk-full", "cannot-write".
    """
    if not rows:
        raise InputError("export-empty", "There is nothing to export yet.", "Segment a scan first.")
    if not overwrite:
        refuse_existing([path])
    with replace_whole(path) as partial, partial.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    """Numbers as they are; text that a spreadsheet would take for a formula is defused."""
    if value is None:
        return ""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t"):
        return "'" + value
    return value

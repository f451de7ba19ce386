"""Training cases as files: int16 voxels and labels on the network grid, memory-mapped by the workers.

A case is a folder named by a digest, without the patient's name: ``hounsfield.npy``, ``labels.npy``,
``foreground.npz``, ``case.json`` and, for phantoms and registered scans, ``coordinates.npy``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fseft.files import replace_folder
from fseft.pretraining.class_map import class_of
from fseft.pretraining.landmarks import LANDMARKS, CanonicalFrame, find_frame

VERSION = 1
COORDINATE_STRIDE = 4
_FOREGROUND_SAMPLES = 3000
_DESCRIPTION = "case.json"


@dataclass(frozen=True)
class PreparedCase:
    """A case on disk.

    Attributes:
        folder: holds its arrays.
        structures: label names in use; the first has value 1 in ``labels.npy``, the second 2, and so on.
        left_out: label names of the original that may not be used; background here.
        spacing_mm: of the network grid.
        frame: its place in the canonical frame, or None.
        dense: whether ``coordinates.npy`` is there.
    """

    folder: Path
    structures: tuple[str, ...]
    left_out: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    frame: CanonicalFrame | None
    dense: bool


@dataclass(frozen=True)
class CaseArrays:
    """A case's arrays, memory-mapped.

    Attributes:
        hounsfield: (x, y, z) int16.
        labels: (x, y, z) uint8 or uint16.
        foreground: flat indices of some voxels of each structure that has any.
        coordinates: (x / 4, y / 4, z / 4, 3) float16 canonical coordinates of every fourth voxel, nan where
            unknown, or None.
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    foreground: list[np.ndarray]
    coordinates: np.ndarray | None


def case_folder(work: Path, identity: list[Any]) -> Path:
    """Where a case goes under the work folder: named by a digest of all that decides it."""
    return work / "cases" / hashlib.blake2b(json.dumps(identity).encode(), digest_size=12).hexdigest()


def write_case(
    folder: Path,
    hounsfield: np.ndarray,
    labels: np.ndarray,
    structures: Sequence[str],
    left_out: Sequence[str],
    spacing_mm: tuple[float, float, float],
    coordinates: np.ndarray | None = None,
) -> PreparedCase:
    """Write a case folder, whole or not at all.

    Args:
        folder: of this case.
        hounsfield: (x, y, z) on the network grid; rounded and clipped to what CT stores.
        labels: (x, y, z), i + 1 for ``structures[i]``.
        structures: label names in use.
        left_out: label names that may not be used.
        spacing_mm: of the network grid.
        coordinates: (x / 4, y / 4, z / 4, 3) canonical coordinates of every fourth voxel, mm; nan where unknown.
    """
    generator = np.random.default_rng(0)
    flat = labels.ravel()
    foreground: dict[str, np.ndarray] = {}
    centres: dict[str, np.ndarray] = {}
    for value, name in enumerate(structures, start=1):
        voxels = np.flatnonzero(flat == value)
        if voxels.size:
            chosen = generator.choice(voxels, min(voxels.size, _FOREGROUND_SAMPLES), replace=False).astype(np.int64)
            foreground[str(value)] = chosen
            if class_of(name) in LANDMARKS:
                centres[class_of(name)] = np.array(np.unravel_index(chosen, labels.shape)).mean(axis=1) * spacing_mm
    frame = None if coordinates is not None else find_frame(centres)
    description = {
        "version": VERSION,
        "structures": list(structures),
        "left_out": list(left_out),
        "spacing_mm": list(spacing_mm),
        "frame": None if frame is None else {"origin_mm": list(frame.origin_mm), "scale": frame.scale},
        "dense": coordinates is not None,
    }
    with replace_folder(folder) as partial:
        np.save(partial / "hounsfield.npy", np.rint(hounsfield).clip(-1024, 3071).astype(np.int16))
        np.save(partial / "labels.npy", labels.astype(np.uint8 if len(structures) < 256 else np.uint16))
        np.savez(partial / "foreground.npz", **foreground)  # type: ignore[arg-type]
        if coordinates is not None:
            np.save(partial / "coordinates.npy", coordinates.astype(np.float16))
        (partial / _DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return read_case(folder)


def is_prepared(folder: Path) -> bool:
    """True when the folder holds a case; folders appear whole or not at all."""
    return (folder / _DESCRIPTION).is_file()


def read_case(folder: Path) -> PreparedCase:
    """Read a case's description, not its arrays."""
    content = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
    spacing = content["spacing_mm"]
    frame = content["frame"]
    return PreparedCase(
        folder=folder,
        structures=tuple(content["structures"]),
        left_out=tuple(content["left_out"]),
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        frame=None if frame is None else CanonicalFrame(tuple(frame["origin_mm"]), frame["scale"]),
        dense=bool(content["dense"]),
    )


def open_case(case: PreparedCase) -> CaseArrays:
    """Memory-map a case's arrays."""
    with np.load(case.folder / "foreground.npz") as stored:
        foreground = [stored[name] for name in sorted(stored.files, key=int)]
    return CaseArrays(
        hounsfield=np.load(case.folder / "hounsfield.npy", mmap_mode="r"),
        labels=np.load(case.folder / "labels.npy", mmap_mode="r"),
        foreground=foreground,
        coordinates=np.load(case.folder / "coordinates.npy", mmap_mode="r") if case.dense else None,
    )

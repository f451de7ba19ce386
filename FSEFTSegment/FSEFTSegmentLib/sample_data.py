"""Sample data made on the spot: synthetic patients, so that trying the module needs no network and no patient."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from fseft.errors import ResourceError

from FSEFTSegmentLib.jobs.folder import new_job_folder, remove_job_folder
from FSEFTSegmentLib.runtime import MODULE_FOLDER, python_interpreter, worker_environment

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """Synthetic scans to load.

    Attributes:
        name: in the Sample Data module.
        seeds: one scan each.
        annotated: load the organs as a segmentation too.
        region: "abdomen", "head-neck"...
        spacing_mm: of the voxels.
    """

    name: str
    seeds: tuple[int, ...]
    annotated: bool
    region: str = "abdomen"
    spacing_mm: float = 3.0


SAMPLES = (
    Sample("FSEFT annotated scans (synthetic)", (101, 102, 103), True),
    Sample("FSEFT new scans (synthetic)", (201, 202), False),
)

#: SHA-256 of the voxels of each scan by seed. Another processor may round a few voxels differently, which is told
#: in the log but harms nothing.
CHECKSUMS: dict[int, str] = {}


def phantom_command(seed: int, sample: Sample, folder: Path) -> list[str]:
    """The command that writes one synthetic patient into a folder."""
    spacing = str(sample.spacing_mm)
    return [
        python_interpreter(), "-m", "fseft.cli.main", "--quiet", "phantom", str(folder), "--count", "1",
        "--seed", str(seed), "--region", sample.region, "--spacing", spacing, spacing, spacing,
    ]  # fmt: skip


def load_sample(sample: Sample) -> list[Any]:
    """Make a sample's scans and load them; returns the volume nodes.

    Raises:
        ResourceError: "sample-failed" with the last lines of what was said.
    """
    nodes = []
    for seed in sample.seeds:
        folder = new_job_folder(Path(tempfile.gettempdir()))
        try:
            _run(phantom_command(seed, sample, folder))
            nodes.append(_load(folder, seed, sample))
        finally:
            remove_job_folder(folder)
    return nodes


def _run(command: list[str]) -> None:
    """Run a command while the application goes on."""
    options: dict[str, Any] = {"updateEnvironment": worker_environment(), "cwd": str(MODULE_FOLDER)}
    try:
        process = slicer.util.launchConsoleProcess(command, **options)
    except TypeError:
        # Slicer 5.10 cannot change the environment or the folder here; the module's folder is on its path anyway.
        process = slicer.util.launchConsoleProcess(command)
    lines: list[str] = []
    try:
        slicer.util.logProcessOutput(process, logCallback=lines.append)
    except TypeError:
        slicer.util.logProcessOutput(process)
    except subprocess.CalledProcessError as problem:
        raise ResourceError(
            "sample-failed",
            f"The synthetic scan could not be made: {' '.join(lines[-2:]) or problem}.",
            "Open the module FSEFT Segment and install what it says is missing.",
        ) from problem


def _load(folder: Path, seed: int, sample: Sample) -> Any:
    scan_file = next((folder / "images").glob("*.nii.gz"))
    labels_file = folder / "labels" / scan_file.name
    volume = slicer.util.loadVolume(str(scan_file), {"name": f"Synthetic CT {seed}"})
    _check(seed, slicer.util.arrayFromVolume(volume))
    volume.SetName(f"Synthetic CT {seed}")
    if sample.annotated:
        _add_annotation(volume, labels_file, folder)
    return volume


def _add_annotation(volume: Any, labels_file: Path, folder: Path) -> None:
    import json

    from FSEFTSegmentLib.mrml.results import new_segmentation
    from FSEFTSegmentLib.mrml.segments import set_labels
    from FSEFTSegmentLib.mrml.volumes import voxels_of
    from FSEFTSegmentLib.presets import make_structure

    names = json.loads((folder / "dataset.json").read_text("utf-8"))["labels"]
    wanted = ("liver", "spleen", "stomach", "right kidney", "left kidney")
    structures = tuple(make_structure(name, int(names[name])) for name in wanted if name in names)
    labelmap = slicer.util.loadLabelVolume(str(labels_file))
    labels = voxels_of(labelmap).copy()
    slicer.mrmlScene.RemoveNode(labelmap)
    labels[~np.isin(labels, [structure.value for structure in structures])] = 0
    node = new_segmentation(slicer.mrmlScene, volume, f"{volume.GetName()} organs")
    from FSEFTSegmentLib.mrml.grid import own_grid

    set_labels(node, labels, own_grid(volume), structures)


def _check(seed: int, voxels: np.ndarray) -> None:
    expected = CHECKSUMS.get(seed)
    if (
        expected is not None
        and hashlib.sha256(np.ascontiguousarray(voxels, dtype=np.int16).tobytes()).hexdigest() != expected
    ):
        LOGGER.warning("The synthetic scan %d differs in some voxels from the one of the documentation.", seed)

"""Sample data made on the spot: synthetic patients, so that trying the module needs no network and no patient."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from fseft.errors import ResourceError

from FSEFTSegmentLib.jobs.folder import new_job_folder, remove_job_folder
from FSEFTSegmentLib.jobs.processes import Process
from FSEFTSegmentLib.mrml.grid import own_grid
from FSEFTSegmentLib.mrml.results import new_segmentation
from FSEFTSegmentLib.mrml.segments import set_labels
from FSEFTSegmentLib.mrml.volumes import voxels_of
from FSEFTSegmentLib.presets import make_structure
from FSEFTSegmentLib.runtime import MODULE_FOLDER, new_process_factory, python_interpreter, worker_environment

LOGGER = logging.getLogger(__name__)

#: The organs that an annotated sample comes with.
ORGANS = ("liver", "spleen", "stomach", "right kidney", "left kidney")


@dataclass(frozen=True)
class Sample:
    """Synthetic scans to load.

    Attributes:
        name: in the Sample Data module.
        first_seed: of the first scan; those that follow count up.
        count: of scans.
        annotated: load the organs as a segmentation too.
        region: "abdomen", "head-neck"...
        spacing_mm: of the voxels.
    """

    name: str
    first_seed: int
    count: int
    annotated: bool
    region: str = "abdomen"
    spacing_mm: float = 3.0

    @property
    def seeds(self) -> tuple[int, ...]:
        """One per scan."""
        return tuple(range(self.first_seed, self.first_seed + self.count))


SAMPLES = (
    Sample("FSEFT annotated scans (synthetic)", 101, 3, True),
    Sample("FSEFT new scans (synthetic)", 201, 2, False),
)

#: SHA-256 of the voxels of each scan by seed, (k, j, i) as 16-bit integers. Another processor may round a few voxels
#: differently, which is told in the log but harms nothing.
CHECKSUMS: dict[int, str] = {
    101: "63e8aefd6f2eede75b50d4155aaafdb3a49e3aa8d8eb4f6d3a088ca785954f86",
    102: "789f53068a9fd333fca2e53089dca77b58e4b674469ec016eb1424b35bb2ea78",
    103: "b818d5dcfcf02e5b4cf074aa8ab4b3258a4b46ba04dcc698c730ad1d5ce0a1e1",
    201: "4d6b8729efe6f0c877a48fd1cb9f461e880d6c4df2019fbb23beafc6e6e69904",
    202: "21e3e234527407ef3cf2f41cf66e3afa172d681812ccd9d5222321cf05799bb9",
}


def phantom_command(sample: Sample, folder: Path) -> list[str]:
    """The command that writes a sample's synthetic patients into a folder."""
    spacing = str(sample.spacing_mm)
    return [
        python_interpreter(), "-m", "fseft.cli.main", "--quiet", "phantom", str(folder), "--count", str(sample.count),
        "--seed", str(sample.first_seed), "--region", sample.region, "--spacing", spacing, spacing, spacing,
    ]  # fmt: skip


def load_sample(sample: Sample, new_process: Callable[[], Process] | None = None) -> list[Any]:
    """Make a sample's scans, offline, and load them; returns the volume nodes.

    Args:
        sample: one of :data:`SAMPLES`.
        new_process: how to run a command; Slicer's own way by default.

    Raises:
        ResourceError: "sample-failed" with the last lines of what was said; "disk-full".
    """
    if new_process is None:
        import qt

        new_process = new_process_factory(slicer, qt)
    folder = new_job_folder(Path(tempfile.gettempdir()))
    try:
        _run(phantom_command(sample, folder), new_process())
        values = json.loads((folder / "dataset.json").read_text("utf-8"))["labels"]
        scans = sorted((folder / "images").glob("*.nii.gz"))
        return [_load(path, seed, sample, values) for path, seed in zip(scans, sample.seeds, strict=True)]
    finally:
        remove_job_folder(folder)


def checksum(voxels: np.ndarray) -> str:
    """SHA-256 of a scan's voxels, however they are stored."""
    return hashlib.sha256(np.ascontiguousarray(voxels, dtype="<i2").tobytes()).hexdigest()


def _run(command: list[str], process: Process) -> None:
    """Run a command while the application goes on."""
    lines: list[str] = []
    ended: list[int] = []
    process.start(command, worker_environment(), str(MODULE_FOLDER), lines.append, ended.append)
    while not ended:
        process.poll()
        slicer.app.processEvents()
        time.sleep(0.02)
    if ended[0] != 0:
        said = " ".join(line for line in lines[-2:] if line) or f"exit code {ended[0]}"
        raise ResourceError(
            "sample-failed",
            f"The synthetic scans could not be made: {said}",
            "Open the module FSEFT Segment and install what it says is missing.",
        )


def _load(path: Path, seed: int, sample: Sample, values: dict[str, int]) -> Any:
    volume = slicer.util.loadVolume(str(path), {"name": f"Synthetic CT {seed}"})
    volume.SetName(f"Synthetic CT {seed}")
    _forget_file(volume)
    expected = CHECKSUMS.get(seed)
    if expected is not None and checksum(voxels_of(volume)) != expected:
        LOGGER.warning("The synthetic scan %d differs in some voxels from the one of the documentation.", seed)
    if sample.annotated:
        _add_annotation(volume, path.parents[1] / "labels" / path.name, values)
    return volume


def _forget_file(node: Any) -> None:
    """The file was a temporary one: with it the scene would be saved without the voxels."""
    storage = node.GetStorageNode()
    if storage is not None:
        slicer.mrmlScene.RemoveNode(storage)
        node.SetAndObserveStorageNodeID(None)


def _add_annotation(volume: Any, labels_file: Path, values: dict[str, int]) -> None:
    structures = tuple(make_structure(name, int(values[name])) for name in ORGANS)
    labelmap = slicer.util.loadLabelVolume(str(labels_file), {"show": False})
    labels = voxels_of(labelmap).copy()
    _forget_file(labelmap)
    # A node's display stays in the scene when the node goes.
    slicer.mrmlScene.RemoveNode(labelmap.GetDisplayNode())
    slicer.mrmlScene.RemoveNode(labelmap)
    labels[~np.isin(labels, [structure.value for structure in structures])] = 0
    node = new_segmentation(slicer.mrmlScene, volume, f"{volume.GetName()} organs")
    set_labels(node, labels, own_grid(volume), structures)

"""Feature volumes on disk: keyed by the scan's content and the backbone, memory-mapped, bounded in size."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from fseft.backbones.networks import Backbone
from fseft.backbones.specification import BackboneSpecification, FeatureLevel
from fseft.compute import Compute
from fseft.errors import ResourceError
from fseft.features.extraction import AllocateArray, extract_features
from fseft.features.volume import FeatureVolume
from fseft.files import cache_home, replace_folder
from fseft.preprocessing.grid import NetworkAxis, NetworkGrid
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan

#: Raised whenever preprocessing or extraction changes what a feature volume holds.
FEATURES_VERSION = 1
DEFAULT_LIMIT_BYTES = 20_000_000_000
_META = "features.json"
_NO_CACHE = "Free some space, or set FSEFT_CACHE to another folder, or to 'off' to do without."


@dataclass(frozen=True)
class CacheEntry:
    """One cached feature volume: its key, bytes on disk, and when it was last used (seconds since the epoch)."""

    key: str
    nbytes: int
    last_used: float


@dataclass(frozen=True)
class FeatureCache:
    """Feature volumes under one folder.

    File names are digests: nothing in the cache names a patient or a file.

    Attributes:
        folder: where they live; ``FSEFT_CACHE`` chooses another place.
        limit_bytes: the least recently used volumes go when the total exceeds this.
        enabled: when False nothing is read or written (``FSEFT_CACHE=off``).
    """

    folder: Path = field(default_factory=lambda: cache_home() / "features")
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    enabled: bool = field(default_factory=lambda: os.environ.get("FSEFT_CACHE", "").lower() != "off")

    def features(
        self,
        scan: Scan,
        specification: BackboneSpecification,
        network: Callable[[], Backbone],
        compute: Compute,
        reporter: Reporter = SILENT,
    ) -> FeatureVolume:
        """The scan's feature volume, read from the cache or computed and kept.

        Args:
            scan: the scan.
            specification: the backbone's; its weights' digest is part of the key.
            network: called only when the backbone must run.
            compute: device and precision.
            reporter: hears phase "features".

        Raises:
            ResourceError: "disk-full", "cannot-write", "cache-unreadable".
        """
        if not self.enabled:
            return extract_features(network(), scan, compute, reporter)
        key = feature_key(scan, specification)
        found = self._read(key)
        if found is not None:
            reporter.progress("features", 1, 1, f"{scan.name} (cached)")
            return found
        try:
            with replace_folder(self.folder / key) as partial:
                _write(extract_features(network(), scan, compute, reporter, _allocator(partial)), partial)
        except ResourceError as problem:
            raise self._cannot_keep(scan.name, problem) from problem
        self.shrink(keep=key)
        found = self._read(key)
        if found is None:
            raise ResourceError(
                "cache-unreadable",
                "A feature volume that was just written cannot be read back.",
                "Check the disk of the cache folder, or switch the cache off.",
            )
        return found

    def entries(self) -> list[CacheEntry]:
        """What is cached, least recently used first."""
        found = []
        for meta in self.folder.glob(f"*/{_META}"):
            try:
                size = sum(part.stat().st_size for part in meta.parent.iterdir())
                found.append(CacheEntry(meta.parent.name, size, meta.stat().st_mtime))
            except OSError:
                continue  # another process is removing it
        return sorted(found, key=lambda entry: entry.last_used)

    def shrink(self, keep: str = "") -> int:
        """Remove least recently used volumes until the total fits; returns the bytes freed."""
        entries = self.entries()
        excess = sum(entry.nbytes for entry in entries) - self.limit_bytes
        freed = 0
        for entry in entries:
            if freed >= excess:
                break
            if entry.key != keep:
                shutil.rmtree(self.folder / entry.key, ignore_errors=True)
                freed += entry.nbytes
        return freed

    def clear(self) -> int:
        """Remove everything, unfinished leftovers included; returns the bytes freed."""
        freed = sum(entry.nbytes for entry in self.entries())
        if self.folder.is_dir():
            for child in self.folder.iterdir():
                shutil.rmtree(child, ignore_errors=True)
        return freed

    def _cannot_keep(self, name: str, problem: ResourceError) -> ResourceError:
        """What is told when features could not be written."""
        if problem.code not in ("disk-full", "cannot-write"):
            return problem
        if isinstance(problem.__cause__, FileNotFoundError) and self.folder.parent.is_dir():
            why, hint = "the feature cache was emptied meanwhile.", "Start it again."
        elif problem.code == "disk-full":
            why, hint = "the disk of the feature cache is full.", _NO_CACHE
        else:
            why, hint = f"{self.folder} cannot be written to.", _NO_CACHE
        return ResourceError(problem.code, f"The features of {name} could not be kept: {why}", hint)

    def _read(self, key: str) -> FeatureVolume | None:
        folder = self.folder / key
        try:
            meta = json.loads((folder / _META).read_text(encoding="utf-8"))
            grid = _grid_from(meta["grid"])
            levels = tuple(np.load(folder / f"level{i}.npy", mmap_mode="r") for i in range(len(meta["levels"])))
            bits = np.load(folder / "body.npy")
            os.utime(folder / _META)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # damaged is as good as absent: it is computed again
        body = np.unpackbits(bits, count=int(np.prod(grid.shape))).reshape(grid.shape).astype(bool)
        specification_levels = tuple(FeatureLevel(**entry) for entry in meta["levels"])
        return FeatureVolume(grid, specification_levels, levels, body)


def feature_key(scan: Scan, specification: BackboneSpecification) -> str:
    """Identity of a feature volume: scan content, backbone weights, and this module's version."""
    backbone = (specification.weights_sha256 or specification.id)[:16]
    return f"{scan.content_key}-{backbone}-{FEATURES_VERSION}"


def _write(volume: FeatureVolume, folder: Path) -> None:
    # A function of its own: Windows renames a folder only after the last reference to its memory maps is gone.
    for array in volume.arrays:
        array.flush()  # type: ignore[attr-defined]
    np.save(folder / "body.npy", np.packbits(volume.body))
    meta = {"grid": asdict(volume.grid), "levels": [asdict(level) for level in volume.levels]}
    (folder / _META).write_text(json.dumps(meta), encoding="utf-8")


def _allocator(folder: Path) -> AllocateArray:
    def allocate(index: int, shape: tuple[int, ...]) -> np.ndarray:
        path = folder / f"level{index}.npy"
        array = open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        _reserve(path)
        return array

    return allocate


def _reserve(path: Path) -> None:
    """Claim a mapped file's space now: writing to a map of a full disk ends the process without a word.

    Raises:
        OSError: ENOSPC.
    """
    size = path.stat().st_size
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as stream:
            os.posix_fallocate(stream.fileno(), 0, size)
    elif shutil.disk_usage(path.parent).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _grid_from(content: dict[str, Any]) -> NetworkGrid:
    geometry = Geometry(**{name: tuple(values) for name, values in content["geometry"].items()})
    axes = tuple(NetworkAxis(**axis) for axis in content["axes"])
    return NetworkGrid(geometry, axes, tuple(content["spacing_mm"]))  # type: ignore[arg-type]

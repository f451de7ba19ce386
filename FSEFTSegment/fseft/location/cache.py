"""Registrations on disk, beside the feature volumes: cleared together with them, bounded in size."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fseft.errors import ResourceError
from fseft.features.cache import FeatureCache
from fseft.files import replace_whole
from fseft.location.affine import Affine
from fseft.location.registration import REGISTRATION_VERSION, Registration
from fseft.scan.geometry import Geometry

DEFAULT_LIMIT_BYTES = 1_000_000_000


@dataclass(frozen=True)
class RegistrationCache:
    """Registrations under one folder; names are digests, so that nothing names a patient or a file.

    Attributes:
        folder: a folder of the feature cache's, which ``fseft cache clear`` removes.
        limit_bytes: the least recently used registrations go when the total exceeds this.
        enabled: when False nothing is read or written (``FSEFT_CACHE=off``).
    """

    folder: Path = field(default_factory=lambda: FeatureCache().folder / "registrations")
    limit_bytes: int = DEFAULT_LIMIT_BYTES
    enabled: bool = field(default_factory=lambda: FeatureCache().enabled)

    def read(self, query_key: str, support_key: str) -> Registration | None:
        """A kept registration, or None; an unreadable file counts as none."""
        path = self._path(query_key, support_key)
        if not self.enabled or not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as kept:
                size, grid = kept["size"], kept["grid"]
                geometry = Geometry(
                    tuple(int(n) for n in size),  # type: ignore[arg-type]
                    tuple(float(v) for v in grid[0:3]),  # type: ignore[arg-type]
                    tuple(float(v) for v in grid[3:6]),  # type: ignore[arg-type]
                    tuple(float(v) for v in grid[6:15]),  # type: ignore[arg-type]
                )
                correlation, refined, overlap = (float(v) for v in kept["figures"])
                affine = Affine(kept["matrix"], kept["offset"])
                found = Registration(
                    affine, kept["field"], geometry, correlation, refined, overlap, str(kept["failure"])
                )
            os.utime(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found

    def write(self, query_key: str, support_key: str, registration: Registration) -> None:
        """Keep a registration; a full or read-only disk is no reason to lose the result."""
        if not self.enabled:
            return
        grid = registration.grid
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with replace_whole(self._path(query_key, support_key)) as partial, partial.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    matrix=registration.affine.matrix,
                    offset=registration.affine.offset,
                    field=registration.field,
                    size=np.array(grid.size),
                    grid=np.array([*grid.spacing, *grid.origin, *grid.direction]),
                    figures=np.array(
                        [registration.correlation, registration.refined_correlation, registration.overlap]
                    ),
                    failure=np.array(registration.failure),
                )
            self._shrink()
        except (OSError, ResourceError):
            return

    def _path(self, query_key: str, support_key: str) -> Path:
        return self.folder / f"{query_key}-{support_key}-{REGISTRATION_VERSION}.npz"

    def _shrink(self) -> None:
        kept = sorted(((p.stat().st_mtime, p.stat().st_size, p) for p in self.folder.glob("*.npz")), key=lambda e: e[0])
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept[:-1]:
            if total <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

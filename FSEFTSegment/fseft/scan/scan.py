"""A scan: a CT volume with its geometry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from fseft.scan.geometry import Geometry


@dataclass(frozen=True)
class Scan:
    """A CT volume in Hounsfield units on its own grid.

    Attributes:
        hounsfield: (z, y, x) array, int16 or float32.
        geometry: the grid.
        name: what to call it in tables (a file's stem); never stored in a model.
    """

    hounsfield: np.ndarray
    geometry: Geometry
    name: str = field(default="scan", compare=False)

    def __post_init__(self) -> None:
        if self.hounsfield.shape != self.geometry.array_shape:
            raise ValueError(f"array {self.hounsfield.shape} is not on the grid {self.geometry.array_shape}")

    @cached_property
    def content_key(self) -> str:
        """Digest of voxels and geometry: the same scan has the same key whatever its file is called."""
        digest = hashlib.blake2b(digest_size=20)
        digest.update(repr((self.geometry, self.hounsfield.dtype.str)).encode())
        digest.update(np.ascontiguousarray(self.hounsfield).data.cast("B"))
        return digest.hexdigest()

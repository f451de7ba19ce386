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
        """Digest of voxels and geometry: the same scan has the same key whatever its file is called.

        Geometry counts to a thousandth of a millimetre and a hundred-thousandth in spacing and direction, so that
        a copy in a format with less precise headers usually keeps the key.
        """
        digest = hashlib.blake2b(digest_size=20)
        grid = self.geometry
        digest.update(repr((tuple(int(n) for n in grid.size), self.hounsfield.dtype.str)).encode())
        digest.update((np.round(np.asarray(grid.origin, dtype=np.float64), 3) + 0.0).tobytes())  # no negative zeros
        digest.update((np.round(np.asarray((*grid.spacing, *grid.direction), dtype=np.float64), 5) + 0.0).tobytes())
        digest.update(np.ascontiguousarray(self.hounsfield).data.cast("B"))
        return digest.hexdigest()

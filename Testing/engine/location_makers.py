"""Scans placed for registration, and registrations that move nothing, for the tests of location."""

from __future__ import annotations

import numpy as np
from fseft.location.affine import Affine
from fseft.location.coarse import coarse_scan
from fseft.location.registration import Registration
from fseft.location.support import AtlasCase, Placed
from fseft.phantom.generator import Phantom
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from scipy.spatial.transform import Rotation

COARSE_MM = 8.0  # of the phantoms, which are made of 6 mm voxels: quick, and enough for large structures


def oblique_grid(phantom: Phantom) -> Geometry:
    """Turned, anisotropic voxels around the moved phantom."""
    centre = phantom.scan.geometry.to_world((np.array([phantom.scan.geometry.size]) - 1) / 2)[0] + np.array(
        (20, -15, 250)
    )
    direction = Rotation.from_euler("xyz", (12, 5, -9), degrees=True).as_matrix()
    size, spacing = (66, 70, 40), (5.0, 5.0, 9.0)
    origin = centre - direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin), tuple(direction.ravel()))  # type: ignore[arg-type]


def placed(scan: Scan) -> Placed:
    return Placed(coarse_scan(scan, COARSE_MM), scan.geometry, scan.content_key)


def case_of(phantom: Phantom) -> AtlasCase:
    return AtlasCase(placed(phantom.scan), Annotation(phantom.labels, phantom.structures))


def value_of(phantom: Phantom, name: str) -> int:
    return next(s.value for s in phantom.structures if s.name == name)


def identity(scan: Scan) -> Registration:
    coarse = coarse_scan(scan, COARSE_MM)
    field = np.zeros((*coarse.geometry.array_shape, 3), dtype=np.float16)
    return Registration(Affine(np.eye(3), np.zeros(3)), field, coarse.geometry, 1.0, 1.0, 1.0)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2.0 * float((first & second).sum()) / max(1.0, float(first.sum() + second.sum()))

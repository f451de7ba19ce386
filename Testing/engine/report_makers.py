"""Small scans in every orientation and what their pictures show, for the tests of reports."""

from __future__ import annotations

import io

import numpy as np
from fseft.report.planes import PLANES
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from matplotlib.image import imread

PNG = b"\x89PNG\r\n\x1a\n"
AXIAL, CORONAL, SAGITTAL = PLANES
#: Direction columns of the index axes in LPS: the usual, Slicer's, sagittal acquisition, and an oblique one.
DIRECTIONS = {
    "LPS": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "PIR": (0, 0, -1, 1, 0, 0, 0, -1, 0),
    "oblique": (0.98, -0.199, 0, 0.199, 0.98, 0, 0, 0, 1),
}


def grid(name: str) -> Geometry:
    direction = np.asarray(DIRECTIONS[name], dtype=float).reshape(3, 3)
    direction /= np.linalg.norm(direction, axis=0)
    return Geometry((30, 24, 18), (1.0, 1.5, 2.5), (5.0, -7.0, 11.0), tuple(direction.ravel()))


def ball(geometry: Geometry, lps: tuple[float, float, float]) -> np.ndarray:
    """A (z, y, x) mask around a point given in mm from the grid's centre."""
    z, y, x = np.indices(geometry.array_shape)
    world = geometry.to_world(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1))
    centre = geometry.to_world((np.asarray([geometry.size]) - 1) / 2)[0]
    near = np.linalg.norm(world - centre - np.asarray(lps), axis=1) < 5
    return near.reshape(geometry.array_shape)


def where(image: np.ndarray) -> tuple[float, float]:
    """Centre of a mask in an image: (down, across), 0..1."""
    rows, columns = np.nonzero(image)
    return float(rows.mean() / (image.shape[0] - 1)), float(columns.mean() / (image.shape[1] - 1))


def scene(name: str = "LPS") -> tuple[Scan, np.ndarray]:
    geometry = grid(name)
    hounsfield = np.full(geometry.array_shape, 40, dtype=np.int16)
    return Scan(hounsfield, geometry), ball(geometry, (8, 0, 0)).astype(np.uint8)


def reddish(png: bytes) -> np.ndarray:
    pixels = imread(io.BytesIO(png))
    return (pixels[..., 0] > 0.6) & (pixels[..., 1] < 0.35) & (pixels[..., 2] < 0.35)

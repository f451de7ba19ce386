"""What registration sees of a scan: the body on a coarse isotropic grid along the world's axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from fseft.preprocessing.body import BodyRegion, find_body
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan

FINE_MM = 4.0
#: Fat, muscle, contrast and bone keep their differences; air and metal do not outweigh them.
WINDOW_HU = (-200.0, 500.0)
WORLD_AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class CoarseScan:
    """A scan's body, windowed, on an isotropic grid whose axes are the world's (LPS).

    Attributes:
        values: (z, y, x) float32, 0..1 between the ends of :data:`WINDOW_HU`; 0 outside the body and the scan.
        inside: (z, y, x) bool, voxels that the scan shows.
        body: (z, y, x) bool, the patient with a margin of air, without the table.
        geometry: the grid.
    """

    values: np.ndarray
    inside: np.ndarray
    body: np.ndarray
    geometry: Geometry

    @property
    def spacing_mm(self) -> float:
        """Edge of a voxel in mm."""
        return self.geometry.spacing[0]

    def to_index(self, world: np.ndarray) -> np.ndarray:
        """(3, N) continuous (z, y, x) indices of (N, 3) LPS positions in mm."""
        offset = (world - np.asarray(self.geometry.origin)) / self.spacing_mm
        index: np.ndarray = offset.T[::-1]
        return index


def coarse_scan(scan: Scan, spacing_mm: float = FINE_MM) -> CoarseScan:
    """Average a scan down to a coarse grid around its body.

    Oblique and anisotropic scans get the same world-aligned isotropic grid as all others.
    """
    body = find_body(scan)
    geometry = _grid_around(scan.geometry, body, spacing_mm)
    reference = geometry.image_of(np.zeros(geometry.array_shape, dtype=np.uint8))
    low, high = WINDOW_HU
    # Averaging first: sampling every few voxels of a fine scan would pick up its noise.
    factors = [max(1, int(spacing_mm / s)) for s in scan.geometry.spacing]
    factors = [min(f, n) for f, n in zip(factors, scan.geometry.size, strict=True)]
    shrunk = sitk.BinShrink(scan.geometry.image_of(scan.hounsfield), factors)
    image = sitk.Cast(sitk.Clamp(shrunk, sitk.sitkFloat32, low, high), sitk.sitkFloat32)
    moved = sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, low)
    mask = sitk.Resample(_mask_image(scan.geometry, body), reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    whole = scan.geometry.image_of(np.ones(scan.geometry.array_shape, dtype=np.uint8))
    shown = sitk.Resample(whole, reference, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    inside = sitk.GetArrayFromImage(shown) > 0
    patient = (sitk.GetArrayFromImage(mask) > 0) & inside
    values = (sitk.GetArrayFromImage(moved) - np.float32(low)) / np.float32(high - low)
    return CoarseScan(np.where(patient, values, np.float32(0)), inside, patient, geometry)


def coarser(scan: CoarseScan, factor: int) -> CoarseScan:
    """Averages of blocks of ``factor`` voxels per axis; only what the scan shows is averaged."""
    if factor == 1:
        return scan
    weights = _blocks(scan.inside.astype(np.float32), factor)
    values = _blocks(scan.values, factor) / np.maximum(weights, 1e-6)
    body = _blocks(scan.body.astype(np.float32), factor) >= 0.5
    inside = weights >= 0.5
    values[~inside] = 0
    spacing = scan.spacing_mm
    nz, ny, nx = values.shape
    shift = spacing * (factor - 1) / 2
    origin = tuple(o + shift for o in scan.geometry.origin)
    geometry = Geometry((nx, ny, nz), (spacing * factor,) * 3, origin, WORLD_AXES)  # type: ignore[arg-type]
    return CoarseScan(values.astype(np.float32), inside, body & inside, geometry)


def _blocks(array: np.ndarray, factor: int) -> np.ndarray:
    padded = np.pad(array, [(0, -n % factor) for n in array.shape])
    nz, ny, nx = (n // factor for n in padded.shape)
    means: np.ndarray = padded.reshape(nz, factor, ny, factor, nx, factor).mean(axis=(1, 3, 5))
    return means


def _grid_around(scan: Geometry, body: BodyRegion, spacing_mm: float) -> Geometry:
    """The world-aligned grid that just holds the body's box."""
    edges = [(start - 0.5, stop - 0.5) for start, stop in zip(body.start[::-1], body.stop[::-1], strict=True)]
    corners = np.array([[x, y, z] for x in edges[0] for y in edges[1] for z in edges[2]])
    world = scan.to_world(corners)
    low, high = world.min(axis=0), world.max(axis=0)
    size = np.maximum(1, np.ceil((high - low) / spacing_mm - 1e-6)).astype(int)
    origin = (low + high) / 2 - spacing_mm * (size - 1) / 2
    return Geometry(
        (int(size[0]), int(size[1]), int(size[2])),
        (spacing_mm,) * 3,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        WORLD_AXES,
    )


def _mask_image(scan: Geometry, body: BodyRegion) -> sitk.Image:
    image = sitk.GetImageFromArray(body.mask.astype(np.uint8))
    image.SetSpacing([s * n for s, n in zip(scan.spacing, body.step[::-1], strict=True)])
    image.SetOrigin(scan.origin)
    image.SetDirection(scan.direction)
    return image

"""Crops in other poses, sizes and appearances than their scans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fseft.preprocessing.intensity import AIR_HU
from fseft.pretraining.settings import AugmentationSettings

#: Anchors of the bent HU curve, and how far each may move relative to the standard deviation.
_CURVE_HU = (-1024.0, -600.0, -150.0, -30.0, 40.0, 120.0, 300.0, 1000.0, 3000.0)
_CURVE_SHIFT = np.array((0.0, 0.0, 0.8, 0.6, 0.8, 1.0, 1.5, 3.0, 3.0))
_CURVE_HU_DEVIATION = 40.0

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Placement:
    """Where the voxels of a crop lie in the case.

    Attributes:
        centre: case voxel index (continuous) of the crop's middle.
        matrix: (3, 3), crop offsets in voxels to case offsets in voxels, without the mirroring.
        mirrored: whether left and right change places.
    """

    centre: np.ndarray
    matrix: np.ndarray
    mirrored: bool

    @property
    def linear(self) -> np.ndarray:
        """(3, 3), crop offsets to case offsets in voxels, with the mirroring."""
        return self.matrix @ np.diag((-1.0 if self.mirrored else 1.0, 1.0, 1.0))

    def positions(self, voxels: Tensor, size: int) -> Tensor:
        """(n, 3) float32 case voxel indices of some of a crop's voxels, on their device.

        Args:
            voxels: (n, 3) indices in the crop.
            size: the crop's edge in voxels.
        """
        linear, centre = (
            torch.from_numpy(part.astype(np.float32)).to(voxels.device) for part in (self.linear, self.centre)
        )
        return (voxels.float() - (size - 1) / 2) @ linear.T + centre

    def bounds(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The first case voxel index around a crop, and the one after the last."""
        corners = torch.cartesian_prod(*[torch.tensor((0, size - 1))] * 3)
        placed = self.positions(corners, size).numpy()
        return np.floor(placed.min(axis=0)).astype(int) - 1, np.ceil(placed.max(axis=0)).astype(int) + 2


def draw_placement(centre: np.ndarray, settings: AugmentationSettings, generator: np.random.Generator) -> Placement:
    """A random rotation, zoom and mirroring about a centre."""
    common = generator.uniform(-1.0, 1.0) * np.log(settings.largest_zoom)
    zoom = np.exp(common + generator.normal(0.0, settings.axis_zoom, 3))
    matrix = np.eye(3)
    for axis, angle in enumerate(generator.normal(0.0, settings.rotation, 3)):
        matrix = matrix @ _rotation(axis, angle)
    return Placement(centre, matrix @ np.diag(1.0 / zoom), bool(generator.random() < settings.flip))


def _rotation(axis: int, angle: float) -> np.ndarray:
    turn = np.eye(3)
    first, second = [other for other in range(3) if other != axis]
    turn[first, first] = turn[second, second] = np.cos(angle)
    turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
    return turn


def resample_crop(
    hounsfield: np.ndarray,
    labels: np.ndarray,
    placement: Placement,
    size: int,
    device: torch.device = _CPU,
) -> tuple[Tensor, Tensor]:
    """A crop of a case: HU linear, labels nearest, air and background outside the case.

    Args:
        hounsfield: (x, y, z) int16; may be memory-mapped, only the part in use is read.
        labels: (x, y, z) integers below 32768.
        placement: of the crop.
        size: its edge in voxels.
        device: where it is made.

    Returns:
        (size, size, size) float32 HU and int64 labels, on the device.
    """
    low, high = placement.bounds(size)
    first, last = np.clip(low, 0, hounsfield.shape), np.clip(high, 0, hounsfield.shape)
    # As they are stored: half of what the bus to a GPU would carry of single precision.
    part = np.full(high - low, AIR_HU, dtype=np.int16)
    marked = np.zeros(high - low, dtype=np.int16)
    if (last > first).all():
        there = tuple(slice(a, b) for a, b in zip(first - low, last - low, strict=True))
        here = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        part[there], marked[there] = hounsfield[here], labels[here]
    grid = _sampling_grid(placement, size, low, part.shape, device)
    whole, values = (torch.from_numpy(array).to(device).float()[None, None] for array in (part, marked))
    volume = functional.grid_sample(whole, grid, padding_mode="border", align_corners=True)
    nearest = functional.grid_sample(values, grid, mode="nearest", align_corners=True)
    return volume[0, 0], nearest[0, 0].round().long()


def _sampling_grid(
    placement: Placement, size: int, low: np.ndarray, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """(1, size, size, size, 3) where a crop's voxels lie in a part of the case, as grid_sample counts: -1 to 1."""
    scale = 2.0 / (np.array(shape) - 1)
    theta = np.empty((3, 4))
    theta[:, :3] = scale[:, None] * placement.linear * ((size - 1) / 2)
    theta[:, 3] = scale * (placement.centre - low) - 1.0
    # grid_sample and affine_grid count axes from the last one.
    turned = np.concatenate([theta[::-1, 2::-1], theta[::-1, 3:]], axis=1).astype(np.float32)
    return functional.affine_grid(
        torch.from_numpy(turned).to(device)[None], [1, 1, size, size, size], align_corners=True
    )


def vary_appearance(volume: Tensor, settings: AugmentationSettings, generator: np.random.Generator) -> Tensor:
    """Other contrast, calibration, slice thickness and noise; (x, y, z) HU in and out."""
    if generator.random() < settings.contrast:
        volume = _bend(volume, generator)
    gain = generator.uniform(1.0 - settings.gain, 1.0 + settings.gain)
    volume = volume * gain + generator.normal(0.0, settings.offset_hu)
    if generator.random() < settings.thick:
        volume = _average_along(volume, int(generator.integers(3)))
    if generator.random() < settings.noise:
        noise = _noise(volume, generator)
        if generator.random() < 0.5:
            # Soft kernels correlate the noise; averaging 27 voxels and tripling keeps some of its strength.
            noise = functional.avg_pool3d(noise[None, None], 3, 1, 1)[0, 0] * 3.0
        volume = volume + generator.uniform(0.0, settings.noise_hu) * noise
    return volume


def draw_cut(size: int, settings: AugmentationSettings, generator: np.random.Generator) -> tuple[slice, ...] | None:
    """The part of a crop that lies outside a shortened scan, or None."""
    if generator.random() >= settings.cut:
        return None
    axis, extent = int(generator.integers(3)), min(int(generator.integers(*settings.cut_voxels)), size // 2)
    where = [slice(None)] * 3
    where[axis] = slice(0, extent) if generator.random() < 0.5 else slice(size - extent, size)
    return tuple(where)


def _noise(volume: Tensor, generator: np.random.Generator) -> Tensor:
    """Normal noise of deviation 1, made where the volume is; another kind of device makes other noise."""
    source = torch.Generator(volume.device).manual_seed(int(generator.integers(1 << 62)))
    return torch.randn(volume.shape, generator=source, device=volume.device)


def _bend(volume: Tensor, generator: np.random.Generator) -> Tensor:
    """The HU curve bent: straight between anchors, level beyond the first and the last."""
    anchors = np.array(_CURVE_HU)
    values = np.maximum.accumulate(anchors + generator.normal(0.0, _CURVE_HU_DEVIATION, len(anchors)) * _CURVE_SHIFT)
    slopes = np.diff(values) / np.diff(anchors)
    within = volume.clamp(anchors[0], anchors[-1])
    # A sum of hinges: one for each change of slope, faster than looking up the anchors of every voxel.
    bent = (within - anchors[0]) * slopes[0] + values[0]
    for anchor, change in zip(anchors[1:-1].tolist(), np.diff(slopes).tolist(), strict=True):
        bent += change * (within - anchor).clamp_min_(0.0)
    return bent


def _average_along(volume: Tensor, axis: int) -> Tensor:
    kernel = [3 if other == axis else 1 for other in range(3)]
    # Padding counts from the last axis, two sides each.
    padding = [1 if other == axis else 0 for other in (2, 2, 1, 1, 0, 0)]
    padded = functional.pad(volume[None, None], padding, mode="replicate")
    return functional.avg_pool3d(padded, kernel, 1)[0, 0]

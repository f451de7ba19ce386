"""Anatomical coordinates carried by registration: where every voxel of a scan lies in one template patient.

A frame from landmarks is one similarity per patient. A deformable registration knows places to a few millimetres all
over the body, for scans without a single label too; what it needs seconds for, the backbone learns to tell at a glance.
"""

from __future__ import annotations

import numpy as np
import torch

from fseft.location.registration import register
from fseft.preprocessing.grid import NetworkGrid
from fseft.pretraining.cases import COORDINATE_STRIDE
from fseft.pretraining.landmarks import CanonicalFrame
from fseft.scan.scan import Scan


def registered_coordinates(
    scan: Scan, grid: NetworkGrid, template: Scan, template_grid: NetworkGrid, frame: CanonicalFrame
) -> np.ndarray | None:
    """Canonical coordinates of every fourth network voxel of a scan.

    Args:
        scan: to be placed.
        grid: its network grid.
        template: the patient whose frame counts.
        template_grid: its network grid.
        frame: its canonical frame.

    Returns:
        (x / 4, y / 4, z / 4, 3) float32, mm, nan where the template shows nothing; None where the registration was
        refused.
    """
    registration = register(scan, template)
    if registration.failure:
        return None
    shape = tuple(-(-size // COORDINATE_STRIDE) for size in grid.shape)
    world = scan.geometry.to_world(_scan_indices(grid, shape))
    index = template.geometry.to_index(registration.to_support(world))
    positions, shown = np.empty_like(index), np.ones(len(index), dtype=bool)
    for number, axis in enumerate(template_grid.axes):
        along = index[:, 2 - axis.scan_axis]
        positions[:, number] = (axis.first - along if axis.flipped else along - axis.first) / axis.ratio
        shown &= (along > axis.start - 0.5) & (along < axis.stop - 0.5)
    in_mm = torch.from_numpy((positions * template_grid.spacing_mm).astype(np.float32))
    canonical = frame.canonical(in_mm).numpy()
    canonical[~shown] = np.nan
    return canonical.reshape(*shape, 3)


def _scan_indices(grid: NetworkGrid, shape: tuple[int, ...]) -> np.ndarray:
    """(n, 3) continuous scan indices (x, y, z) of every fourth network voxel."""
    steps = [COORDINATE_STRIDE * np.arange(count) for count in shape]
    lines = [
        axis.first + (-axis.ratio if axis.flipped else axis.ratio) * step
        for axis, step in zip(grid.axes, steps, strict=True)
    ]
    every = np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1).reshape(-1, 3)
    indices = np.empty_like(every)
    for number, axis in enumerate(grid.axes):
        indices[:, 2 - axis.scan_axis] = every[:, number]
    return indices

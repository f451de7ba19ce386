"""From a feature volume to a labelmap on the scan's grid, slab by slab.

Scores are made for one slab of the network grid at a time and brought to the scan structure by structure, so
memory grows neither with the scan's length nor with structures times voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.preprocessing.resampling import SLAB, linear_matrix
from fseft.reporting import SILENT, Reporter
from fseft.segmentation.scoring import BLOCK, Box, background_scores, score_blocks, whole
from fseft.segmentation.slabs import slab_labels

SLAB_BYTES = 250_000_000  # of float32 probabilities held at once

#: Hears every scored block, its network box and (outputs, x, y, z) probabilities, once; blocks do not overlap.
Witness = Callable[[Box, np.ndarray], None]


def predict_labels(
    adapter: Adapter,
    features: FeatureVolume,
    compute: Compute,
    reporter: Reporter = SILENT,
    detail: str = "",
    region: Box | None = None,
    witness: Witness | None = None,
) -> np.ndarray:
    """The most probable structure of every scan voxel.

    Args:
        adapter: trained, with one output (sigmoid above one half) or background and structures (arg max).
        features: the scan's feature volume.
        compute: device.
        reporter: hears phase "segmentation".
        detail: shown with the progress.
        region: network voxels to look at, bounds multiples of every stride; everything else is background.
        witness: sees the probabilities as they are made.

    Returns:
        (z, y, x) uint8, or uint16 with more than 255 structures: 0 background, i + 1 structure i.
    """
    grid = features.grid
    structures = max(1, adapter.head.outputs - 1)
    labels = np.zeros(grid.geometry.array_shape, dtype=np.uint8 if structures <= 255 else np.uint16)
    network_axis = grid.axis_along_scan(0)
    axis = grid.axes[network_axis]
    positions = np.clip(axis.network_positions(), 0, axis.content - 1)
    region = region or whole(features)
    for first, stop, probabilities in _network_slabs(adapter, features, network_axis, region, compute, witness):
        reporter.progress("segmentation", stop - region[network_axis][0], _extent(region[network_axis]), detail)
        reporter.check_cancelled()
        inside = np.flatnonzero((positions >= first) & (positions < stop))
        inside = inside[(inside >= axis.start) & (inside < axis.stop)]
        for begin in range(0, inside.size, SLAB):
            chosen = inside[begin : begin + SLAB]
            rows = linear_matrix(positions[chosen] - first, probabilities.shape[1])
            labels[chosen] = slab_labels(probabilities, rows, grid)
    return labels


def _extent(bounds: tuple[int, int]) -> int:
    return bounds[1] - bounds[0]


def _network_slabs(
    adapter: Adapter,
    features: FeatureVolume,
    network_axis: int,
    region: Box,
    compute: Compute,
    witness: Witness | None,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Score a region in slabs along one axis.

    Yields:
        ``first``, ``stop`` and probabilities (outputs, scan z', y', x'), z' beginning at network plane ``first``; scan
        positions from ``first`` up to but not including ``stop`` lie between planes that are there. The last plane of
        a slab opens the next one, so that nothing is scored twice.
    """
    grid = features.grid
    stride = max(level.stride for level in features.levels)
    outputs = adapter.head.outputs
    plane = int(np.prod(grid.shape)) // grid.shape[network_axis]
    depth = int(np.clip(SLAB_BYTES // (4 * outputs * plane) // stride * stride, stride, BLOCK))
    begin, end = region[network_axis]
    adapter = adapter.to(compute.device).eval()
    last_plane: np.ndarray | None = None
    for low in range(begin, end, depth):
        high = min(end, low + depth)
        first = low if last_plane is None else low - 1
        scored = background_scores(outputs, grid.shape_with(network_axis, high - first))
        if last_plane is not None:
            scored[_plane(network_axis, 0)] = last_plane
        slab = [*region]
        slab[network_axis] = (low, high)
        for box, block in score_blocks(adapter, features, (slab[0], slab[1], slab[2]), compute):
            where = [slice(b, e) for b, e in box]
            where[network_axis] = slice(box[network_axis][0] - first, box[network_axis][1] - first)
            scored[:, where[0], where[1], where[2]] = block
            if witness is not None:
                witness(box, block)
        last_plane = scored[_plane(network_axis, -1)].copy()
        content = [grid.axes[n].content for n in grid.scan_order]
        content[0] = min(high, content[0]) - first
        if content[0] > 0:
            ordered = scored.transpose(0, *(1 + n for n in grid.scan_order))
            stop = high if high == end else high - 1
            yield first, stop, ordered[:, : content[0], : content[1], : content[2]]
    adapter.cpu()


def _plane(axis: int, index: int) -> tuple[slice | int, ...]:
    """Index of one plane of an (outputs, x, y, z) array."""
    where: list[slice | int] = [slice(None)] * 4
    where[1 + axis] = index
    return tuple(where)

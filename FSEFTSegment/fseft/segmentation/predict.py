"""From a feature volume to a labelmap on the scan's grid, slab by slab.

Scores are made for one slab of the network grid at a time and brought to the scan structure by structure, so
memory grows neither with the scan's length nor with structures times voxels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.preprocessing.grid import NetworkGrid
from fseft.preprocessing.resampling import SLAB, linear_matrix
from fseft.reporting import SILENT, Reporter

BLOCK = 96  # network voxels per side of a scored block
SLAB_BYTES = 250_000_000  # of float32 probabilities held at once


def predict_labels(
    adapter: Adapter,
    features: FeatureVolume,
    compute: Compute,
    reporter: Reporter = SILENT,
    detail: str = "",
) -> np.ndarray:
    """The most probable structure of every scan voxel.

    Args:
        adapter: trained, with one output (sigmoid above one half) or background and structures (arg max).
        features: the scan's feature volume.
        compute: device.
        reporter: hears phase "segmentation".
        detail: shown with the progress.

    Returns:
        (z, y, x) uint8, or uint16 with more than 255 structures: 0 background, i + 1 structure i.
    """
    grid = features.grid
    structures = max(1, adapter.head.outputs - 1)
    labels = np.zeros(grid.geometry.array_shape, dtype=np.uint8 if structures <= 255 else np.uint16)
    network_axis = grid.axis_along_scan(0)
    axis = grid.axes[network_axis]
    positions = np.clip(axis.network_positions(), 0, axis.content - 1)
    for low, high, probabilities in _network_slabs(adapter, features, network_axis, compute):
        reporter.progress("segmentation", high, axis.size, detail)
        reporter.check_cancelled()
        inside = np.flatnonzero((positions >= low) & (positions < high))
        inside = inside[(inside >= axis.start) & (inside < axis.stop)]
        context_low = probabilities.context_low
        for begin in range(0, inside.size, SLAB):
            chosen = inside[begin : begin + SLAB]
            rows = linear_matrix(positions[chosen] - context_low, probabilities.content)
            labels[chosen] = _slab_labels(probabilities.values, rows, grid)
    return labels


class _SlabProbabilities:
    """Probabilities (outputs, scan z', y', x') of one network slab with a voxel of context on either side."""

    def __init__(self, values: np.ndarray, context_low: int) -> None:
        self.values = values
        self.context_low = context_low
        self.content = values.shape[1]


def _network_slabs(
    adapter: Adapter, features: FeatureVolume, network_axis: int, compute: Compute
) -> Iterator[tuple[int, int, _SlabProbabilities]]:
    """Score the network grid in slabs along one axis; yields (low, high, probabilities)."""
    grid = features.grid
    stride = max(level.stride for level in features.levels)
    plane = int(np.prod(grid.shape)) // grid.shape[network_axis]
    outputs = adapter.head.outputs
    depth = int(np.clip(SLAB_BYTES // (4 * outputs * plane) // stride * stride, stride, BLOCK))
    adapter = adapter.to(compute.device).eval()
    size = grid.shape[network_axis]
    for low in range(0, size, depth):
        high = min(size, low + depth)
        context_low, context_high = max(0, low - stride), min(size, high + stride)
        scored = np.zeros((outputs, *grid.shape_with(network_axis, context_high - context_low)), dtype=np.float32)
        if outputs > 1:
            scored[0] = 1.0
        for target, block in _score_blocks(adapter, features, network_axis, (context_low, context_high), compute):
            scored[:, target[0], target[1], target[2]] = block
        ordered = scored.transpose(0, *(1 + n for n in grid.scan_order))
        content = [grid.axes[n].content for n in grid.scan_order]
        content[0] = min(context_high, content[0]) - context_low
        if content[0] > 0:
            values = ordered[:, : content[0], : content[1], : content[2]]
            yield low, high, _SlabProbabilities(values, context_low)
    adapter.cpu()


@torch.inference_mode()
def _score_blocks(
    adapter: Adapter, features: FeatureVolume, network_axis: int, extent: tuple[int, int], compute: Compute
) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """Probabilities of blocks that touch the body; yields (region within the slab, (outputs, x, y, z))."""
    shape = features.grid.shape
    stride = max(level.stride for level in features.levels)
    ranges = []
    for axis in range(3):
        begin, end = extent if axis == network_axis else (0, shape[axis])
        ranges.append([(b, min(b + BLOCK, end)) for b in range(begin, end, BLOCK)])
    for block in np.ndindex(*(len(r) for r in ranges)):
        bounds = [ranges[axis][index] for axis, index in enumerate(block)]
        if not features.body[tuple(slice(b, e) for b, e in bounds)].any():
            continue
        # One coarse voxel more on each side: upsampling at the block's border then sees its true neighbours.
        start = [max(0, b - stride) for b, _ in bounds]
        stop = [min(limit, e + stride) for (_, e), limit in zip(bounds, shape, strict=True)]
        size = [e - b for b, e in zip(start, stop, strict=True)]
        levels = [level[None] for level in features.crop(start, size, adapter.reach, compute.device)]
        logits = adapter(levels, context=adapter.reach)[0]
        inner = tuple(slice(b - s, e - s) for (b, e), s in zip(bounds, start, strict=True))
        logits = logits[:, inner[0], inner[1], inner[2]]
        probabilities = logits.sigmoid() if logits.shape[0] == 1 else logits.softmax(dim=0)
        target = tuple(
            slice(b - extent[0], e - extent[0]) if axis == network_axis else slice(b, e)
            for axis, (b, e) in enumerate(bounds)
        )
        yield target, probabilities.float().cpu().numpy()


def _slab_labels(probabilities: np.ndarray, rows: np.ndarray, grid: NetworkGrid) -> np.ndarray:
    """Labels of some scan slices: interpolate one output at a time, keep the best so far."""
    y_matrix, x_matrix = grid.back_matrix(1), grid.back_matrix(2)
    single = probabilities.shape[0] == 1
    used = np.flatnonzero(rows.any(axis=0))
    first, last = int(used[0]), int(used[-1]) + 1

    def bring(output: int) -> np.ndarray:
        slab = np.tensordot(rows[:, first:last], probabilities[output, first:last], axes=(1, 0))
        return np.matmul(np.matmul(y_matrix, slab), x_matrix.T)

    shape = (rows.shape[0], y_matrix.shape[0], x_matrix.shape[0])
    best = np.full(shape, 0.5, np.float32) if single else bring(0)
    labels = np.zeros(shape, dtype=np.uint16)
    for output in range(0 if single else 1, probabilities.shape[0]):
        if probabilities[output, first:last].max() < 1e-3:
            continue
        value = bring(output)
        wins = value > best
        best[wins] = value[wins]
        labels[wins] = output + 1 if single else output
    return labels

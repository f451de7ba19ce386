"""The backbone slides over a scan once; its features are blended into one feature volume.

What limits this is the network's arithmetic; memory stays flat with the scan's length because accumulators
cover one window's depth and finished slabs leave for disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from fseft.backbones.networks import Backbone
from fseft.compute import Compute, is_out_of_memory
from fseft.features.volume import FeatureVolume
from fseft.features.windows import WindowPlan, blending_weights, plan_windows
from fseft.preprocessing.body import find_body
from fseft.preprocessing.grid import make_grid
from fseft.preprocessing.intensity import AIR_HU, window
from fseft.reporting import SILENT, Reporter
from fseft.scan.scan import Scan

FLOAT16_LIMIT = 6.0e4
CPU_BATCH = 1
GPU_BATCH = 4

#: Makes a level's writable float16 array from its index and shape.
AllocateArray = Callable[[int, tuple[int, ...]], np.ndarray]


def extract_features(
    network: Backbone,
    scan: Scan,
    compute: Compute,
    reporter: Reporter = SILENT,
    allocate: AllocateArray | None = None,
) -> FeatureVolume:
    """Feature volume of a scan.

    Windows without a body voxel take the features of plain air instead of a forward pass.

    Args:
        network: a frozen backbone in evaluation mode.
        scan: the scan.
        compute: device and precision; on exhausted memory smaller batches, then the CPU take over, with a warning.
        reporter: hears phase "features".
        allocate: makes the output array of each level, ``allocate(level_index, shape) -> float16 array``;
            by default in memory.
    """
    specification = network.specification
    body = find_body(scan)
    grid = make_grid(scan, specification, body)
    body_mask = grid.mask_to_network(body)
    hounsfield = torch.from_numpy(grid.to_network(scan.hounsfield, specification.antialias, AIR_HU))
    plan = plan_windows(grid.shape, specification)
    arrays = []
    for index, level in enumerate(specification.levels):
        shape = (level.channels, *(extent // level.stride for extent in grid.shape))
        arrays.append(allocate(index, shape) if allocate else np.zeros(shape, dtype=np.float16))
    blender = _SlabBlender(arrays, [level.stride for level in specification.levels], plan)
    runner = _WindowRunner(network, compute, reporter)
    done = 0
    for _, group in groupby(plan.starts, key=lambda start: start[2]):
        starts = list(group)
        blender.open_slab(starts[0][2])
        for start, features in runner.run(hounsfield, starts, plan.size, body_mask):
            blender.add(start, features)
            done += 1
            reporter.progress("features", done, len(plan.starts), scan.name)
            reporter.check_cancelled()
    blender.close()
    return FeatureVolume(grid, specification.levels, tuple(arrays), body_mask)


class _WindowRunner:
    """Runs windows through the network in batches, giving way when memory runs out."""

    def __init__(self, network: Backbone, compute: Compute, reporter: Reporter) -> None:
        self.network = network.to(compute.device)
        self.compute = compute
        self.reporter = reporter
        self.batch = CPU_BATCH if compute.device.type == "cpu" else GPU_BATCH
        self._air: list[Tensor] | None = None

    def run(
        self,
        hounsfield: Tensor,
        starts: list[tuple[int, int, int]],
        size: tuple[int, int, int],
        body_mask: np.ndarray,
    ) -> Iterator[tuple[tuple[int, int, int], list[Tensor]]]:
        """Yield each window's start and features; windows of air first."""
        with_body = []
        for start in starts:
            if body_mask[_region(start, size)].any():
                with_body.append(start)
            else:
                yield start, self._air_features(size)
        position = 0
        while position < len(with_body):
            batch = with_body[position : position + self.batch]
            try:
                levels = self._forward(torch.stack([hounsfield[_region(start, size)] for start in batch]))
            except (RuntimeError, MemoryError) as problem:
                if not is_out_of_memory(problem) or not self._give_way():
                    raise
                continue
            for offset, start in enumerate(batch):
                yield start, [level[offset] for level in levels]
            position += len(batch)

    @torch.inference_mode()
    def _forward(self, hounsfield: Tensor) -> list[Tensor]:
        windowed = window(hounsfield.to(self.compute.device), self.network.specification.windows_hu)
        with self.compute.precision():
            levels = self.network.features(windowed.contiguous(memory_format=torch.channels_last_3d))
        return [level.float().cpu() for level in levels]

    def _air_features(self, size: tuple[int, int, int]) -> list[Tensor]:
        if self._air is None:
            self._air = [level[0] for level in self._forward(torch.full((1, *size), AIR_HU))]
        return self._air

    def _give_way(self) -> bool:
        """Make the next try smaller; False when there is nothing left to give."""
        if self.compute.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.batch > 1:
            self.batch //= 2
            self.reporter.log(f"Memory is short: continuing with {self.batch} windows at a time.", "warning")
            return True
        if self.compute.device.type != "cpu":
            self.compute = Compute(torch.device("cpu"), None)
            self.network = self.network.cpu()
            self.reporter.log("GPU memory is exhausted: continuing on the CPU, which takes longer.", "warning")
            return True
        return False


class _SlabBlender:
    """Gaussian-weighted sums of overlapping windows, one window deep along z."""

    def __init__(self, arrays: list[np.ndarray], strides: list[int], plan: WindowPlan) -> None:
        self.arrays = arrays
        self.strides = strides
        self.depth = plan.size[2]
        self.weights = [blending_weights(plan.size, stride) for stride in strides]
        self.sums = [torch.zeros((*array.shape[:3], self.depth // s)) for array, s in zip(arrays, strides, strict=True)]
        self.norms = [torch.zeros(sums.shape[1:]) for sums in self.sums]
        self.slab_start = 0

    def open_slab(self, z: int) -> None:
        """Finish everything below ``z`` and make it the accumulators' first voxel."""
        advance = z - self.slab_start
        if advance == 0:
            return
        self._write(advance)
        for sums, norms, stride in zip(self.sums, self.norms, self.strides, strict=True):
            step = min(advance // stride, sums.shape[-1])
            for buffer in (sums, norms):
                buffer[..., : buffer.shape[-1] - step] = buffer[..., step:].clone()
                buffer[..., buffer.shape[-1] - step :] = 0
        self.slab_start = z

    def add(self, start: tuple[int, int, int], features: Iterable[Tensor]) -> None:
        """Add one window that starts at the open slab."""
        for level, values in enumerate(features):
            stride, weights = self.strides[level], self.weights[level]
            x, y = (begin // stride for begin in start[:2])
            region = (slice(x, x + weights.shape[0]), slice(y, y + weights.shape[1]))
            self.sums[level][:, region[0], region[1]] += values * weights
            self.norms[level][region] += weights

    def close(self) -> None:
        """Write what is left."""
        self._write(self.depth)

    def _write(self, depth: int) -> None:
        for array, sums, norms, stride in zip(self.arrays, self.sums, self.norms, self.strides, strict=True):
            count = min(depth // stride, sums.shape[-1])
            blended = sums[..., :count] / norms[..., :count].clamp_min(1e-8)
            begin = self.slab_start // stride
            array[..., begin : begin + count] = blended.clamp(-FLOAT16_LIMIT, FLOAT16_LIMIT).half().numpy()


def _region(start: tuple[int, int, int], size: tuple[int, int, int]) -> tuple[slice, slice, slice]:
    return tuple(slice(begin, begin + extent) for begin, extent in zip(start, size, strict=True))  # type: ignore[return-value]

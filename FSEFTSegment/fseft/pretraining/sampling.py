"""Training crops: drawn from the pool, varied, with their targets, the same for the same number and seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fseft.preprocessing.intensity import AIR_HU, window
from fseft.pretraining.augmentation import draw_cut, draw_placement, resample_crop, vary_appearance
from fseft.pretraining.boundary import boundary_distances
from fseft.pretraining.cases import CaseArrays, PreparedCase, open_case
from fseft.pretraining.preparation import Pool
from fseft.pretraining.recolouring import recolour
from fseft.pretraining.settings import PretrainingSettings
from fseft.pretraining.targets import (
    ClassTable,
    class_table,
    class_targets,
    draw_points,
    place_targets,
    smoothed_at,
    tissue_targets,
)

_BODY_HU = -300.0
_TRIES = 8
_ENDLESS = 1 << 40
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Batch:
    """Crops with their targets; n sampled voxels each (all voxels for the published loss).

    Attributes:
        windowed: (batch, windows, x, y, z).
        points: (batch, n) flat indices of the sampled voxels.
        weights: (batch, n); 0 outside the scan.
        positive: (batch, n, classes) bool.
        known: (batch, classes) bool.
        tissue: (batch, n).
        located: (batch, n) bool.
        coordinates: (batch, n, 3).
        cells: (batch, n), -1 for none.
        twin: the crop in another appearance, like ``windowed``; (batch, 0) without contrast.
        distances: (batch, n, classes) mm to surfaces, nan where unknown; (batch, 0) without boundaries.
    """

    windowed: Tensor
    points: Tensor
    weights: Tensor
    positive: Tensor
    known: Tensor
    tissue: Tensor
    located: Tensor
    coordinates: Tensor
    cells: Tensor
    twin: Tensor
    distances: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device, the image channels-last."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in dataclasses.fields(self)}
        for name in ("windowed", "twin"):
            if moved[name].dim() == 5:
                moved[name] = moved[name].contiguous(memory_format=torch.channels_last_3d)
        return Batch(**moved)


def stack(crops: Sequence[Batch]) -> Batch:
    """Batches behind one another."""
    return Batch(**{f.name: torch.cat([getattr(c, f.name) for c in crops]) for f in dataclasses.fields(Batch)})


class CropSampler:
    """Draws crops from a pool of cases.

    What is drawn is decided by the CPU, the same for every device; crops are made on the device, and only the noise in
    them is the device's own.

    Args:
        pool: the cases.
        settings: of the run.
        device: where crops are made.
    """

    def __init__(self, pool: Pool, settings: PretrainingSettings, device: torch.device = _CPU) -> None:
        self._pool = pool
        self._settings = settings
        self._device = device
        self._opened: dict[str, tuple[CaseArrays, ClassTable]] = {}

    @property
    def device(self) -> torch.device:
        """Where crops are made."""
        return self._device

    def draw(self, number: int) -> Batch:
        """The crop of that number, as a batch of one."""
        generator = np.random.default_rng((self._settings.seed, number))
        group = self._pool.groups[int(generator.choice(len(self._pool.groups), p=self._pool.weights))]
        case = group[int(generator.integers(len(group)))]
        arrays, table = self._open(case)
        return self._crop(case, arrays, table, generator)

    def __getstate__(self) -> dict[str, object]:
        # Another process maps the arrays itself; pickling would copy them.
        return {**self.__dict__, "_opened": {}}

    def _open(self, case: PreparedCase) -> tuple[CaseArrays, ClassTable]:
        key = str(case.folder)
        if key not in self._opened:
            self._opened[key] = (open_case(case), class_table(case, self._pool.classes).to(self._device))
        return self._opened[key]

    def _crop(self, case: PreparedCase, arrays: CaseArrays, table: ClassTable, generator: np.random.Generator) -> Batch:
        settings = self._settings
        placement = draw_placement(self._centre(arrays, generator), settings.augmentation, generator)
        volume, labels = resample_crop(arrays.hounsfield, arrays.labels, placement, settings.crop, self._device)
        if settings.augmentation.phase and generator.random() < settings.augmentation.phase:
            volume = recolour(volume, labels, table.phase_groups, generator)
        # Targets tell the tissue that is there; the appearance that the network sees is varied afterwards.
        points, weights = self._points(labels, generator)
        smoothed = smoothed_at(volume, points)
        positive, known = class_targets(table, labels.reshape(-1)[points], placement.mirrored)
        positions = placement.positions(torch.stack(torch.unravel_index(points, labels.shape), dim=1), settings.crop)
        most = 0 if settings.loss == "published" else settings.place_points
        place = place_targets(case, arrays, positions, smoothed, placement.mirrored, most, generator)
        windowed, twin, gone = self._appearances(volume, generator)
        kept = ~gone.reshape(-1)[points]
        distances = torch.zeros(0, device=self._device)
        if settings.boundary_weight:
            distances = boundary_distances(labels, points, table, case.spacing_mm, placement.mirrored)
            distances[~kept] = torch.nan
        crop = Batch(
            windowed, points, weights * kept, positive, known, tissue_targets(smoothed), place.located & kept,
            place.coordinates, torch.where(kept, place.cells, -1), twin, distances,
        )  # fmt: skip
        return Batch(*(getattr(crop, field.name)[None] for field in dataclasses.fields(Batch)))

    def _points(self, labels: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Voxels to learn from, and their weights: all of them for the published loss."""
        settings = self._settings
        if settings.loss == "published":
            return (
                torch.arange(labels.numel(), device=self._device),
                torch.ones(labels.numel(), device=self._device),
            )
        return draw_points(labels, settings.points, settings.foreground_points, generator)

    def _appearances(self, volume: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees of a crop, twice where it learns by contrast, and where the scan is cut off: bool."""
        settings = self._settings
        first = vary_appearance(volume, settings.augmentation, generator)
        cut = draw_cut(settings.crop, settings.augmentation, generator)
        seen = [first]
        if settings.contrast_weight:
            seen.append(vary_appearance(volume, settings.augmentation, generator))
        gone = torch.zeros(volume.shape, dtype=torch.bool, device=self._device)
        if cut is not None:
            gone[cut] = True
        windowed = [window(one.masked_fill(gone, AIR_HU), settings.network.windows_hu) for one in seen]
        return windowed[0], windowed[1] if len(windowed) > 1 else torch.zeros(0, device=self._device), gone

    def _centre(self, arrays: CaseArrays, generator: np.random.Generator) -> np.ndarray:
        """Near a voxel of a structure, each structure as likely, or anywhere in the body."""
        shape = arrays.hounsfield.shape
        if arrays.foreground and generator.random() < self._settings.foreground_crops:
            voxels = arrays.foreground[int(generator.integers(len(arrays.foreground)))]
            voxel = np.unravel_index(int(voxels[int(generator.integers(len(voxels)))]), shape)
            jitter = generator.normal(0.0, self._settings.augmentation.foreground_jitter, 3)
            return np.array(voxel, dtype=float) + jitter
        centre = np.array(shape) / 2.0
        for _ in range(_TRIES):
            centre = generator.uniform(0.1, 0.9, 3) * shape
            if arrays.hounsfield[tuple(centre.astype(int))] > _BODY_HU:
                break
        return centre


class _Batches(Dataset[Batch]):
    """Batch i of a process holds the crops that follow those of the processes before it."""

    def __init__(self, sampler: CropSampler, batch: int, rank: int, processes: int) -> None:
        self._sampler = sampler
        self._batch, self._rank, self._processes = batch, rank, processes

    def __getitem__(self, index: int) -> Batch:
        first = (index * self._processes + self._rank) * self._batch
        return stack([self._sampler.draw(number) for number in range(first, first + self._batch)])


def stream(
    sampler: CropSampler, batch: int, workers: int = 0, first: int = 0, rank: int = 0, processes: int = 1
) -> Iterator[Batch]:
    """Batches from number ``first`` on, endlessly; the order does not depend on the number of workers.

    Args:
        sampler: draws the crops.
        batch: crops of one.
        workers: processes that make them; 0 makes them here, on a GPU the next ones while the last are learnt from.
        first: number of the first.
        rank, processes: of the training process, among how many.
    """
    batches = _Batches(sampler, batch, rank, processes)
    if workers == 0 and sampler.device.type != "cpu":
        return _ahead(batches, first)
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(first, _ENDLESS),  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_calm if workers else None,
    )
    return iter(loader)


def _ahead(batches: _Batches, first: int) -> Iterator[Batch]:
    """One batch is made by a thread while the one before is in use: a GPU waits for Python more than for itself."""
    with ThreadPoolExecutor(1, thread_name_prefix="crops") as thread:
        waiting = thread.submit(batches.__getitem__, first)
        for following in count(first + 1):
            made = waiting.result()
            waiting = thread.submit(batches.__getitem__, following)
            yield made


def _calm(worker: int) -> None:
    """One thread per worker: the training process needs the cores more."""
    torch.set_num_threads(1)

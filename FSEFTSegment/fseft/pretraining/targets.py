"""What a crop teaches: classes, tissue, place and coordinates at sampled voxels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fseft.pretraining.cases import COORDINATE_STRIDE, CaseArrays, PreparedCase
from fseft.pretraining.class_map import classes_of, known_classes, mirrored
from fseft.pretraining.recolouring import recolouring_groups

#: Upper HU bounds of the tissue classes: gas, lung, fat-lung border, fat, water, soft tissue, ..., cortical bone.
TISSUE_BOUNDS_HU: tuple[float, ...] = (-800.0, -350.0, -150.0, -25.0, 25.0, 75.0, 130.0, 250.0, 600.0)
TISSUES = len(TISSUE_BOUNDS_HU) + 1

#: Cells of the canonical frame: 20 mm cubes around the neck and the lower head, split by four tissues.
CELL_MM = 20.0
CELL_COUNTS = (9, 9, 12)
_CELL_START = (-4.5, -4.5, -7.5)
CELL_BOUNDS_HU: tuple[float, ...] = (-400.0, -25.0, 180.0)
CELLS = CELL_COUNTS[0] * CELL_COUNTS[1] * CELL_COUNTS[2] * (len(CELL_BOUNDS_HU) + 1)

COORDINATE_UNIT_MM = 50.0
_AIR_LIMIT_HU = -900.0


@dataclass(frozen=True)
class ClassTable:
    """How a case's labels translate to classes.

    Attributes:
        positive: (labels + 1, classes) bool; row 0 is background.
        known: (classes,) bool, the classes that the case decides.
        mirror: (classes,), for each class the position of its twin on the other side.
        phase_groups: (labels + 1,), see :func:`fseft.pretraining.recolouring.recolouring_groups`.
    """

    positive: Tensor
    known: Tensor
    mirror: Tensor
    phase_groups: Tensor

    def to(self, device: torch.device) -> ClassTable:
        """The table on a device."""
        return ClassTable(*(part.to(device) for part in (self.positive, self.known, self.mirror, self.phase_groups)))


def class_table(case: PreparedCase, classes: tuple[str, ...]) -> ClassTable:
    """The translation of one case."""
    decided = known_classes(case.structures, case.left_out)
    positive = torch.zeros(len(case.structures) + 1, len(classes), dtype=torch.bool)
    for value, name in enumerate(case.structures, start=1):
        for entry in classes_of(name):
            if entry in decided:
                positive[value, classes.index(entry)] = True
    known = torch.tensor([name in decided for name in classes])
    mirror = torch.tensor(mirrored(classes))
    return ClassTable(positive, known, mirror, recolouring_groups(case.structures))


def class_targets(table: ClassTable, labels: Tensor, is_mirrored: bool) -> tuple[Tensor, Tensor]:
    """(n, classes) positives at voxels with these labels, and the (classes,) mask of known classes."""
    positive, known = table.positive[labels], table.known.clone()
    return (positive[:, table.mirror], known[table.mirror]) if is_mirrored else (positive, known)


def smoothed_at(volume: Tensor, points: Tensor) -> Tensor:
    """(n,) HU averaged over the 27 voxels around some, by which tissue is told, and not by noise.

    Args:
        volume: (x, y, z); beyond its border the nearest voxel counts.
        points: (n,) flat indices; looking at them alone costs a tenth of averaging the crop.
    """
    flat, (_, second, third) = volume.reshape(-1), volume.shape
    indices = torch.unravel_index(points, volume.shape)
    around = [
        [(index + step).clamp(0, size - 1) for step in (-1, 0, 1)]
        for index, size in zip(indices, volume.shape, strict=True)
    ]
    total = torch.zeros(len(points), device=volume.device)
    for x, y, z in product(*around):
        total += flat[(x * second + y) * third + z]
    return total / 27


def tissue_targets(smoothed: Tensor) -> Tensor:
    """Tissue class of each smoothed HU value, 0..``TISSUES`` - 1."""
    return _class_of_hu(smoothed, TISSUE_BOUNDS_HU)


def _class_of_hu(smoothed: Tensor, bounds: tuple[float, ...]) -> Tensor:
    return torch.bucketize(smoothed, torch.tensor(bounds, device=smoothed.device))


def draw_points(labels: Tensor, anywhere: int, labelled: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Voxels to learn from: some anywhere, some more inside labelled structures, as many of a small one as of a large.

    Weights undo the surplus: a labelled voxel counts by how often it would be drawn without it.

    Args:
        labels: (x, y, z).
        anywhere, labelled: how many.
        generator: source of randomness.

    Returns:
        (anywhere + labelled,) flat indices and weights, where the labels are.
    """
    flat, device = labels.reshape(-1), labels.device
    inside = torch.nonzero(flat > 0).squeeze(1)
    points = torch.from_numpy(generator.integers(0, flat.numel(), anywhere)).to(device)
    if inside.numel() == 0 or labelled == 0:
        more = torch.from_numpy(generator.integers(0, flat.numel(), labelled)).to(device)
        return torch.cat([points, more]), torch.ones(anywhere + labelled, device=device)
    values = flat[inside]
    # Structure by structure; short integers are sorted several times as fast.
    inside = inside[torch.argsort(values.short(), stable=True)]
    sizes = torch.bincount(values)
    there = torch.nonzero(sizes).squeeze(1)
    drawn = torch.from_numpy(generator.integers(0, len(there), labelled)).to(device)
    within = torch.from_numpy(generator.random(labelled, dtype=np.float32)).to(device) * sizes[there][drawn]
    # Single precision may round the largest share up to the next structure.
    within = torch.minimum(within.long(), sizes[there][drawn] - 1)
    points = torch.cat([points, inside[(sizes.cumsum(0) - sizes)[there][drawn] + within]])
    expected = anywhere * sizes / flat.numel()
    surplus = torch.zeros_like(expected)
    surplus[there] = labelled / len(there)
    weights = torch.ones(anywhere + labelled, device=device)
    found = flat[points]
    weights[found > 0] = (expected / (expected + surplus).clamp_min(1e-9))[found[found > 0]].float()
    return points, weights


@dataclass(frozen=True)
class PlaceTargets:
    """Where sampled voxels are in the body.

    Attributes:
        located: (n,) bool, voxels whose place is a target.
        coordinates: (n, 3) canonical coordinates over :data:`COORDINATE_UNIT_MM`.
        cells: (n,) cell and tissue together, -1 outside the cells.
    """

    located: Tensor
    coordinates: Tensor
    cells: Tensor


def place_targets(
    case: PreparedCase,
    arrays: CaseArrays,
    positions: Tensor,
    smoothed: Tensor,
    is_mirrored: bool,
    most: int,
    generator: np.random.Generator,
) -> PlaceTargets:
    """Places of sampled voxels; none where the case has no canonical frame.

    Args:
        case, arrays: the case.
        positions: (n, 3) float32 case voxel indices.
        smoothed: (n,) smoothed HU, on the same device.
        is_mirrored: whether the crop shows the patient mirrored.
        most: at most so many voxels are located.
        generator: source of randomness.
    """
    count, device = len(positions), positions.device
    canonical = _canonical(case, arrays, positions)
    if canonical is None:
        nowhere = torch.zeros(count, dtype=torch.bool, device=device)
        return PlaceTargets(
            nowhere, torch.zeros(count, 3, device=device), torch.full((count,), -1, device=device)
        )  # fmt: skip
    if is_mirrored:
        canonical = canonical * torch.tensor((-1.0, 1.0, 1.0), device=device)
    known = torch.isfinite(canonical).all(dim=1)
    coordinates = torch.nan_to_num(canonical)
    index = torch.floor(coordinates / CELL_MM - torch.tensor(_CELL_START, device=device)).long()
    in_cells = ((index >= 0) & (index < torch.tensor(CELL_COUNTS, device=device))).all(dim=1)
    # A frame from landmarks is a similarity: far from them it is a guess, while phantoms and registrations are dense.
    located = known & (smoothed > _AIR_LIMIT_HU)
    if not case.dense:
        located &= in_cells
    located = _at_most(located, most, generator)
    tissue = _class_of_hu(smoothed, CELL_BOUNDS_HU)
    place = (index[:, 0] * CELL_COUNTS[1] + index[:, 1]) * CELL_COUNTS[2] + index[:, 2]
    cells = torch.where(located & in_cells, place * (len(CELL_BOUNDS_HU) + 1) + tissue, -1)
    return PlaceTargets(located, coordinates / COORDINATE_UNIT_MM, cells)


def _canonical(case: PreparedCase, arrays: CaseArrays, positions: Tensor) -> Tensor | None:
    if arrays.coordinates is not None:
        return _between(arrays.coordinates, positions / COORDINATE_STRIDE)
    if case.frame is not None:
        return case.frame.canonical(positions * torch.tensor(case.spacing_mm, device=positions.device))
    return None


def _between(coordinates: np.ndarray, where: Tensor) -> Tensor:
    """(n, 3) coordinates between those of a grid, linearly; beyond its border the nearest ones.

    Args:
        coordinates: (x, y, z, 3) float16, maybe memory-mapped; only the part in use is read.
        where: (n, 3) continuous indices.
    """
    ends = torch.stack([where.amin(dim=0).floor(), where.amax(dim=0).ceil()]).long().cpu().numpy()
    first, last = np.clip(ends, 0, np.array(coordinates.shape[:3]) - 1)
    part = coordinates[tuple(slice(low, high + 1) for low, high in zip(first, last, strict=True))]
    grid = torch.from_numpy(part.copy()).to(where.device).float().permute(3, 0, 1, 2)[None]
    steps = torch.from_numpy(np.maximum(last - first, 1)).to(where.device)
    # grid_sample counts axes from the last one, and from -1 to 1.
    turned = (2 * (where - torch.from_numpy(first).to(where.device)) / steps - 1).flip(1)[None, None, None]
    found = functional.grid_sample(grid, turned, padding_mode="border", align_corners=True)
    return found[0, :, 0, 0].T


def _at_most(chosen: Tensor, most: int, generator: np.random.Generator) -> Tensor:
    index = torch.nonzero(chosen).squeeze(1)
    if index.numel() <= most:
        return chosen
    kept = torch.zeros_like(chosen)
    kept[index[torch.from_numpy(generator.choice(index.numel(), most, replace=False)).to(index.device)]] = True
    return kept

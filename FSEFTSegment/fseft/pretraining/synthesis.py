"""A synthetic scan from real anatomy: organs exchanged between patients, everything bent, painted anew.

Structures are painted as labelled. What no label covers is painted by what it looks like: every voxel belongs to a
tissue class of its HU, so that a scan with four labels still shows bones, airways and fat where they are. Labels that
may not be used do not exist here, neither as labels nor as shapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from fseft.phantom.appearance import Appearance, randomise, scan
from fseft.phantom.deformation import Lattice
from fseft.phantom.frame import Draw
from fseft.preprocessing.intensity import AIR_HU
from fseft.pretraining.targets import CELL_BOUNDS_HU, TISSUE_BOUNDS_HU, TISSUES
from fseft.structures import canonical_name, without_side

_BODY_HU = -300.0
_EXCHANGED = 0.5  # chance of an organ that both patients have
_EXCHANGE_JITTER_MM = 3.0
_LARGEST_ZOOM = 1.2
_AXIS_ZOOM = 0.04
_ROTATION_DEGREES = 6.0
_BENDS_MM = ((90.0, 3.5), (45.0, 1.2))  # distance of control points, deviation


@dataclass(frozen=True)
class Anatomy:
    """A patient on the network grid.

    Attributes:
        hounsfield: (x, y, z).
        labels: (x, y, z), i + 1 for ``structures[i]``.
        structures: names.
    """

    hounsfield: np.ndarray
    labels: np.ndarray
    structures: tuple[str, ...]


def synthesise(
    base: Anatomy,
    donor: Anatomy | None,
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int, int],
    appearance: Appearance,
    seed: int,
) -> Anatomy:
    """A scan nobody ever had.

    Args:
        base: whose anatomy it is.
        donor: another patient, whose organs replace some that both have; None exchanges nothing.
        spacing_mm: of the network grid, right, anterior, superior.
        size: of the scan in voxels (x, y, z) at most; it never exceeds the base.
        appearance: "realistic" (HU near the base's, with other contrast), or "randomised" far beyond.
        seed: of everything that is drawn; the same arguments give the same scan.
    """
    draw = Draw(seed, f"shapes {appearance}")
    hounsfield, labels = np.asarray(base.hounsfield, dtype=np.float32), np.asarray(base.labels).copy()
    if donor is not None:
        hounsfield, labels = exchange_organs(Anatomy(hounsfield, labels, base.structures), donor, spacing_mm, draw)
    materials, owners, means, textures = paint(hounsfield, labels)
    where = bent_positions(hounsfield > _BODY_HU, spacing_mm, size, draw)
    outside = len(means)  # air, where the bent grid leaves the scan
    materials = ndimage.map_coordinates(materials, where, order=0, mode="constant", cval=outside)
    owners = np.append(owners, 0)
    means, textures = np.append(means, AIR_HU).astype(np.float32), np.append(textures, 0.0).astype(np.float32)
    means = _other_contrast(means, owners, base.structures, draw)
    if appearance == "randomised":
        means, textures = randomise(means, textures, outside, draw)
    turned = materials.transpose(2, 1, 0)  # what images scans works on (z, y, x)
    axes = tuple(step * (np.arange(n) - n / 2) for step, n in zip(spacing_mm, materials.shape, strict=True))
    volume = scan(
        turned, means, textures, (axes[0], axes[1], axes[2]), spacing_mm, draw.between(5, 40), appearance, draw
    )
    return Anatomy(volume.transpose(2, 1, 0), owners[materials], base.structures)


def exchange_organs(
    base: Anatomy, donor: Anatomy, spacing_mm: tuple[float, float, float], draw: Draw
) -> tuple[np.ndarray, np.ndarray]:
    """The base's HU and labels with some organs of the donor, centre on centre.

    An organ never covers another structure nor sticks out of the body; where it leaves a gap, what is next to the gap
    fills it.
    """
    hounsfield, labels = base.hounsfield.copy(), base.labels.copy()
    for value, name in enumerate(base.structures, start=1):
        if name not in donor.structures or not draw.chance(_EXCHANGED):
            continue
        old, new = labels == value, donor.labels == donor.structures.index(name) + 1
        if not old.any() or not new.any() or _touches_border(new):
            continue
        shift = ndimage.center_of_mass(old) - np.array(ndimage.center_of_mass(new))
        shift += draw.near(np.zeros(3), _EXCHANGE_JITTER_MM) / spacing_mm
        target = np.argwhere(new)
        placed = np.rint(target + shift).astype(int)
        inside = ((placed >= 0) & (placed < labels.shape)).all(axis=1)
        source, placed = tuple(target[inside].T), tuple(placed[inside].T)
        _fill(hounsfield, old)
        labels[old] = 0
        free = (labels[placed] == 0) & ((hounsfield[placed] > _BODY_HU) | (donor.hounsfield[source] < _BODY_HU))
        placed, source = tuple(part[free] for part in placed), tuple(part[free] for part in source)
        labels[placed] = value
        hounsfield[placed] = donor.hounsfield[source]
    return hounsfield, labels


def _touches_border(mask: np.ndarray) -> bool:
    return any(bool(mask.take(end, axis=axis).any()) for axis in range(3) for end in (0, -1))


def _fill(hounsfield: np.ndarray, gap: np.ndarray) -> None:
    """Give every voxel of a gap the HU of the nearest voxel outside it."""
    (box,) = ndimage.find_objects(gap.astype(np.uint8))
    around = tuple(slice(max(0, part.start - 2), part.stop + 2) for part in box)
    if gap[around].all():
        return
    nearest = ndimage.distance_transform_edt(gap[around], return_distances=False, return_indices=True)
    part = hounsfield[around]
    part[gap[around]] = part[tuple(nearest)][gap[around]]


def paint(hounsfield: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Materials of a scan.

    Args:
        hounsfield, labels: (x, y, z).

    Returns:
        (x, y, z) numbers of materials, and for each material its label, mean HU and the deviation of its slow changes.
    """
    # Inside structures finer bounds would paint the blurred rim of an organ as a shell.
    smoothed = ndimage.uniform_filter(hounsfield, 3, mode="nearest")
    tissue = np.where(labels > 0, np.digitize(smoothed, CELL_BOUNDS_HU), np.digitize(smoothed, TISSUE_BOUNDS_HU))
    found, materials = np.unique(labels.astype(np.int64) * TISSUES + tissue, return_inverse=True)
    materials = materials.reshape(labels.shape).astype(np.uint16)
    count = np.bincount(materials.ravel()).astype(np.float64)
    means = np.bincount(materials.ravel(), weights=hounsfield.ravel()) / count
    squares = np.bincount(materials.ravel(), weights=(smoothed.ravel() - means[materials.ravel()]) ** 2) / count
    textures = np.clip(0.5 * np.sqrt(squares), 1.0, 60.0)
    return materials, found // TISSUES, means.astype(np.float32), textures.astype(np.float32)


def bent_positions(
    body: np.ndarray, spacing_mm: tuple[float, float, float], size: tuple[int, int, int], draw: Draw
) -> np.ndarray:
    """(3, x, y, z) voxel positions in the base of every voxel of the new scan: turned, scaled, cut out and bent.

    Args:
        body: (x, y, z) bool; the new scan is cut out around one of its voxels.
        spacing_mm: of the network grid.
        size: of the new scan in voxels, at most.
        draw: random numbers.
    """
    shape = tuple(min(a, b) for a, b in zip(size, body.shape, strict=True))
    spacing = np.asarray(spacing_mm)
    axes = [step * (np.arange(n) - (n - 1) / 2) for step, n in zip(spacing_mm, shape, strict=True)]
    turn = Rotation.from_euler("xyz", draw.rng.normal(0, _ROTATION_DEGREES, 3), degrees=True).as_matrix()
    zoom = np.exp(draw.between(-1, 1) * np.log(_LARGEST_ZOOM) + draw.rng.normal(0, _AXIS_ZOOM, 3))
    half = (np.array(shape) - 1) / 2
    centre = np.clip(_somewhere_in(body, draw), half, np.array(body.shape) - 1 - half)
    linear = turn / zoom[None, :]
    bends = [(Lattice.random(draw.rng, distance, 3), deviation) for distance, deviation in _BENDS_MM]
    grids = np.meshgrid(*axes, indexing="ij", sparse=True)
    where = np.empty((3, *shape), dtype=np.float32)
    for axis in range(3):
        moved = sum(linear[axis, other] * grids[other] for other in range(3))
        for lattice, deviation in bends:
            moved = moved + deviation * lattice.sample((axes[0], axes[1], axes[2]), axis).transpose(2, 1, 0)
        where[axis] = moved / spacing[axis] + centre[axis]
    return where


def _somewhere_in(body: np.ndarray, draw: Draw) -> np.ndarray:
    inside = np.flatnonzero(body)
    if not inside.size:
        return (np.array(body.shape) - 1) / 2
    return np.array(np.unravel_index(int(draw.rng.choice(inside)), body.shape), dtype=float)


def _other_contrast(means: np.ndarray, owners: np.ndarray, structures: tuple[str, ...], draw: Draw) -> np.ndarray:
    """Another patient's HU: a little of everything, more of a contrast medium in soft organs, alike on both sides."""
    changed = means + draw.rng.normal(0, 6, len(means)).astype(np.float32) * (means > _BODY_HU)
    by_pair: dict[str, float] = {}
    for value, name in enumerate(structures, start=1):
        pair = without_side(canonical_name(name))
        shift = by_pair.setdefault(pair, draw.around(0, 8) + (draw.between(0, 110) if draw.chance(0.5) else 0.0))
        soft = (owners == value) & (means > _BODY_HU) & (means < CELL_BOUNDS_HU[-1])
        changed[soft] += shift
    return changed.astype(np.float32)

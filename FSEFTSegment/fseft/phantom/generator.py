"""Synthetic CT scans of a schematic body, with every structure's label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import Rotation

from fseft.errors import InputError
from fseft.phantom.appearance import Appearance, render
from fseft.phantom.body import build_body
from fseft.phantom.deformation import Lattice
from fseft.phantom.frame import REGIONS, Patient, random_patient
from fseft.phantom.painting import Body, Canvas
from fseft.phantom.tissues import LABEL_OF_TISSUE, STRUCTURES
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.structures import Structure

#: Voxels painted at once; bounds the memory whatever the scan's size.
_BLOCK_VOXELS = 3_000_000


@dataclass(frozen=True)
class Phantom:
    """A synthetic scan that knows where everything is.

    Attributes:
        scan: the CT volume, int16 HU.
        labels: (z, y, x) uint16 on the scan's grid; values as in :data:`fseft.phantom.tissues.STRUCTURES`.
        structures: the structures present in ``labels``; a structure has the same value in every phantom.
        coordinates: (z, y, x, 3) float16, or None: where each voxel lies in the average body, mm
            (x to the patient's left, y to the back, z to the head); the same anatomy has about the same
            coordinates in every phantom.
    """

    scan: Scan
    labels: np.ndarray
    structures: tuple[Structure, ...]
    coordinates: np.ndarray | None = None


@dataclass(frozen=True)
class _Pose:
    """How a patient lies in the scanner: world = turn @ (scale * body) + place, before deformation."""

    turn: np.ndarray
    scale: np.ndarray
    place: np.ndarray


def phantom_name(region: str, seed: int) -> str:
    """What a phantom's scan is called."""
    return f"phantom-{region}-{seed:05d}"


def make_phantom(
    seed: int,
    region: str = "torso",
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
    size: tuple[int, int, int] | None = None,
    appearance: Appearance = "realistic",
    with_coordinates: bool = False,
    oblique: bool = False,
) -> Phantom:
    """A synthetic patient, scanned; the same arguments give the same bytes.

    The seed decides the patient (sex, habitus, organs, lesions), pose and appearance; region, spacing and size
    only decide what of that patient is scanned and how finely.

    Args:
        seed: 0 or more.
        region: "torso", "abdomen", "chest", "head-neck" or "whole".
        spacing_mm: (x, y, z).
        size: voxels (x, y, z); by default the whole region. A smaller scan lies at a random place in the region.
        appearance: "realistic" or "randomised" (random HU, gradients and curves on the same geometry).
        with_coordinates: also give dense body coordinates.
        oblique: turn the scan's axes against the world's by up to 20 degrees.

    Raises:
        InputError: "phantom-unknown-region", "phantom-bad-grid", "phantom-unknown-appearance" or "phantom-bad-seed".
    """
    _check(seed, region, spacing_mm, size, appearance)
    patient = random_patient(seed)
    if region == "head-neck":
        # Nobody's arms are in the way when the neck is scanned.
        patient = replace(patient, arms_up=False)
    pose = _pose(patient)
    geometry = _grid(patient, pose, region, spacing_mm, size, oblique)
    axes = _axes_mm(geometry, pose.place)
    tissues, coordinates = _paint(build_body(patient), patient, pose, geometry, axes, with_coordinates)
    hounsfield = render(tissues, axes, geometry.spacing, patient, appearance)
    labels = LABEL_OF_TISSUE[tissues]
    present = set(np.flatnonzero(np.bincount(labels.ravel(), minlength=len(STRUCTURES) + 1)))
    structures = tuple(s for s in STRUCTURES if s.value in present)
    return Phantom(Scan(hounsfield, geometry, phantom_name(region, seed)), labels, structures, coordinates)


def _check(
    seed: int, region: str, spacing_mm: tuple[float, ...], size: tuple[int, ...] | None, appearance: str
) -> None:
    if seed < 0 or int(seed) != seed:
        raise InputError("phantom-bad-seed", f"{seed} is no seed.", "Give a whole number from 0.")
    if region not in REGIONS:
        raise InputError(
            "phantom-unknown-region", f"There is no region {region!r}.", f"Choose one of {', '.join(REGIONS)}."
        )
    if appearance not in ("realistic", "randomised"):
        raise InputError(
            "phantom-unknown-appearance", f"There is no appearance {appearance!r}.", "Choose realistic or randomised."
        )
    bad_spacing = len(spacing_mm) != 3 or not all(0.2 <= s <= 20 for s in spacing_mm)
    bad_size = size is not None and (len(size) != 3 or not all(1 <= n <= 2048 for n in size))
    if bad_spacing:
        given = " x ".join(f"{step:g}" for step in spacing_mm)
        raise InputError(
            "phantom-bad-grid", f"A phantom cannot have voxels of {given} mm.", "Give three numbers from 0.2 to 20 mm."
        )
    if bad_size:
        given = " x ".join(map(str, size or ()))
        raise InputError(
            "phantom-bad-grid",
            f"A phantom cannot have {given} voxels.",
            "Give three whole numbers from 1 to 2048, or none.",
        )


def _pose(patient: Patient) -> _Pose:
    draw = patient.draw("pose")
    angles = [draw.around(0, 2.0), draw.around(0, 1.5), draw.around(0, 2.5)]
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    # Scanners put their origin anywhere along the table.
    place = np.array((draw.around(0, 8), draw.around(-20, 15), draw.between(-900, 300)))
    return _Pose(turn, np.asarray(patient.scale), place)


def _grid(
    patient: Patient,
    pose: _Pose,
    region: str,
    spacing_mm: tuple[float, float, float],
    size: tuple[int, int, int] | None,
    oblique: bool,
) -> Geometry:
    """The voxel grid of a scan of ``region``."""
    draw = patient.draw(f"grid {region}")
    low, high = np.array(REGIONS[region], dtype=float)
    fat_side, fat_front, fat_back = patient.fat_mm
    if region != "head-neck":
        low = low - (fat_side, 1.3 * fat_front, 0)
        high = high + np.array((fat_side, 0, fat_back))
    spacing = np.asarray(spacing_mm, dtype=float)
    extent = (high - low) * pose.scale
    middle = (low + high) / 2 * pose.scale
    direction = np.eye(3)
    turn = Rotation.from_euler("xyz", draw.rng.uniform(-20, 20, 3), degrees=True).as_matrix()
    if oblique:
        direction = turn
    counts = np.asarray(size) if size is not None else np.maximum(np.ceil(extent / spacing), 1).astype(int)
    room = np.maximum(extent - counts * spacing, 0)
    middle = middle + draw.rng.uniform(-0.5, 0.5, 3) * room
    centre = pose.turn @ middle + pose.place
    origin = centre - direction @ (spacing * (counts - 1) / 2)
    return Geometry(
        tuple(int(n) for n in counts),  # type: ignore[arg-type]
        tuple(float(s) for s in spacing),  # type: ignore[arg-type]
        tuple(float(o) for o in origin),  # type: ignore[arg-type]
        tuple(float(d) for d in direction.ravel()),  # type: ignore[arg-type]
    )


def _axes_mm(geometry: Geometry, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions along the grid's axes relative to the body's origin, in mm."""
    start = geometry.direction_matrix.T @ (np.asarray(geometry.origin) - place)
    x, y, z = (a + s * np.arange(n) for a, s, n in zip(start, geometry.spacing, geometry.size, strict=True))
    return x, y, z


def _blocks(geometry: Geometry) -> Iterator[slice]:
    depth = max(1, _BLOCK_VOXELS // (geometry.size[0] * geometry.size[1]))
    for start in range(0, geometry.size[2], depth):
        yield slice(start, min(start + depth, geometry.size[2]))


def _paint(
    body: Body,
    patient: Patient,
    pose: _Pose,
    geometry: Geometry,
    axes: tuple[np.ndarray, np.ndarray, np.ndarray],
    with_coordinates: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Tissues and, if asked for, body coordinates; block by block along z."""
    draw = patient.draw("deformation")
    bends = Lattice.random(draw.rng, 95.0, 3), Lattice.random(draw.rng, 48.0, 3)
    amounts = draw.between(1.5, 4.0), draw.between(0.5, 1.3)
    noises = Lattice.random(draw.rng, 38.0), Lattice.random(draw.rng, 11.0)
    # Grid axes in mm -> world -> body, as one linear map for the whole grid.
    linear = (pose.turn.T @ geometry.direction_matrix) / pose.scale[:, None]
    tissues = np.empty(geometry.array_shape, dtype=np.uint8)
    coordinates = np.empty((*geometry.array_shape, 3), dtype=np.float16) if with_coordinates else None
    for block in _blocks(geometry):
        at = (axes[0], axes[1], axes[2][block])
        fields, slack = [], 0.0
        for component in range(3):
            moved = bends[0].sample(at, component) * np.float32(amounts[0])
            moved += bends[1].sample(at, component) * np.float32(amounts[1])
            slack = max(slack, float(np.abs(moved).max()))
            row = linear[component]
            moved += (row[0] * at[0]).astype(np.float32)
            moved += ((row[1] * at[1])[:, None] + (row[2] * at[2])[:, None, None]).astype(np.float32)
            fields.append(moved)
        # Body mm -> grid axes mm -> indices of this block.
        back = np.linalg.inv(linear) / np.asarray(geometry.spacing)[:, None]
        start = np.array([a[0] for a in at]) / np.asarray(geometry.spacing)
        to_index = np.concatenate([back, -start[:, None]], axis=1)
        canvas = Canvas((fields[0], fields[1], fields[2]), to_index, slack, [n.sample(at) for n in noises])
        canvas.paint(body)
        tissues[block] = canvas.tissues
        if coordinates is not None:
            for component in range(3):
                coordinates[block, ..., component] = fields[component]
    return tissues, coordinates

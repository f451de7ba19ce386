"""The location prior: registration that works or says why not, labels carried voxel for voxel, votes, the job."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import STRUCTURES, make_scan
from fseft.errors import Cancelled
from fseft.features.cache import FeatureCache
from fseft.location import atlas, deformation
from fseft.location.affine import Affine, start_shifts
from fseft.location.atlas import combine, propose
from fseft.location.cache import RegistrationCache
from fseft.location.coarse import coarse_scan
from fseft.location.leave_one_out import leave_one_out_atlas
from fseft.location.propagation import Carrier, sub_grid
from fseft.location.registration import register_coarse
from fseft.location.support import Placed
from fseft.phantom import make_phantom
from fseft.phantom.generator import Phantom
from fseft.reporting import Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap
from fseft.structures import Structure
from location_makers import COARSE_MM, case_of, dice, identity, oblique_grid, placed, value_of
from scipy.spatial.transform import Rotation
from test_adaptation import write_cases

OFF = RegistrationCache(enabled=False)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(1, "head-neck", (6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def other_head() -> Phantom:
    return make_phantom(2, "head-neck", (6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return make_phantom(1, "abdomen", (6.0, 6.0, 6.0))


def some(phantom: Phantom, *names: str) -> tuple[Structure, ...]:
    return tuple(s for s in phantom.structures if s.name in names)


def moved(phantom: Phantom, transform: sitk.Transform, geometry: Geometry) -> tuple[Scan, np.ndarray]:
    """The phantom as seen on a grid through a transform from that grid's world to the phantom's."""
    reference = geometry.image_of(np.zeros(geometry.array_shape, np.uint8))
    scan = phantom.scan.geometry.image_of(phantom.scan.hounsfield)
    seen = sitk.Resample(scan, reference, transform, sitk.sitkLinear, -1000)
    labels = sitk.Resample(
        phantom.scan.geometry.image_of(phantom.labels), reference, transform, sitk.sitkNearestNeighbor, 0
    )
    return Scan(sitk.GetArrayFromImage(seen), geometry, "moved"), sitk.GetArrayFromImage(labels)


def known_motion(phantom: Phantom) -> sitk.AffineTransform:
    """8 degrees, 6 % larger, and far away along the table."""
    centre = phantom.scan.geometry.to_world((np.array([phantom.scan.geometry.size]) - 1) / 2)[0]
    transform = sitk.AffineTransform(3)
    turn = Rotation.from_euler("xyz", (4, -3, 8), degrees=True).as_matrix() / 1.06
    transform.SetMatrix([float(v) for v in turn.ravel()])
    transform.SetCenter([float(c) for c in centre + np.array((20, -15, 250))])
    transform.SetTranslation((-20.0, 15.0, -250.0))
    return transform


def crop(phantom: Phantom, planes: slice) -> Scan:
    array = phantom.scan.hounsfield[planes]
    whole = phantom.scan.geometry
    box = [slice(*planes.indices(len(phantom.labels))[:2]), slice(0, whole.size[1]), slice(0, whole.size[0])]
    return Scan(array, sub_grid(whole, box), "crop")


def test_a_moved_patient_registers_back_onto_an_oblique_grid(head: Phantom) -> None:
    truth, grid = known_motion(head), oblique_grid(head)
    scan, labels = moved(head, truth, grid)
    found = register_coarse(coarse_scan(scan, COARSE_MM), coarse_scan(head.scan, COARSE_MM))
    assert found.failure == ""
    points = grid.to_world(np.argwhere(labels > 0)[::50, ::-1])
    wanted = np.array([truth.TransformPoint([float(c) for c in point]) for point in points])
    assert np.linalg.norm(found.affine(points) - wanted, axis=1).mean() < 4.0
    wanted_structures = some(head, "brain", "mandible", "left lung", "spinal cord")
    carrier = Carrier(case_of(head).annotation, head.scan.geometry, grid, found)
    proposed, _ = combine(grid, [carrier], [1.0], wanted_structures)
    assert proposed.shape == grid.array_shape
    assert proposed.dtype == np.uint8
    for name, least in (("brain", 0.93), ("mandible", 0.7), ("left lung", 0.85), ("spinal cord", 0.6)):
        value = value_of(head, name)
        assert dice(proposed == value, labels == value) > least, name


def test_scans_of_different_extent_meet_where_they_overlap(head: Phantom) -> None:
    upper, lower = crop(head, slice(20, None)), crop(head, slice(0, 38))
    found = register_coarse(coarse_scan(upper, COARSE_MM), coarse_scan(lower, COARSE_MM))
    assert found.failure == ""
    assert found.overlap < 0.75
    shared = upper.geometry.to_world(np.array([[27.0, 26.0, 2.0], [20.0, 30.0, 10.0], [34.0, 30.0, 16.0]]))
    assert np.abs(found.affine(shared) - shared).max() < 3.0


def test_starts_are_apart_and_the_first_is_right(head: Phantom) -> None:
    query = coarse_scan(crop(head, slice(20, None)), 16.0)
    shifts = start_shifts(query, coarse_scan(head.scan, 16.0))
    assert np.abs(shifts[0]).max() < 17.0  # nothing was moved; within a voxel
    heights = np.sort([shift[2] for shift in shifts])
    assert len(shifts) > 1
    assert np.diff(heights).min() >= 30.0


def test_left_stays_left_in_another_patient(head: Phantom, other_head: Phantom) -> None:
    query = placed(other_head.scan)
    structures = some(head, "left lung", "right lung", "brain", "skull")
    proposal = propose(query, [case_of(head)], structures, cache=OFF)
    before = combine(
        query.geometry, [Carrier(case_of(head).annotation, head.scan.geometry, query.geometry, identity(head.scan))],
        [1.0], structures,
    )[0]  # fmt: skip
    for name, least in (("left lung", 0.6), ("right lung", 0.6), ("brain", 0.85), ("skull", 0.4)):
        value = value_of(head, name)
        after = dice(proposal.labels == value, other_head.labels == value)
        assert after > least, name
        assert after > dice(before == value, other_head.labels == value), name
    for side, opposite in (("left", "right"), ("right", "left")):
        drawn = proposal.labels == value_of(head, f"{side} lung")
        assert not (drawn & (other_head.labels == value_of(head, f"{opposite} lung"))).any()


def test_the_same_scans_give_the_same_registration(
    head: Phantom, other_head: Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, support = coarse_scan(head.scan, 12.0), coarse_scan(other_head.scan, 12.0)
    found = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(deformation, "use_threads", lambda count=threads: torch.set_num_threads(count))
        found.append(register_coarse(query, support))
    for again in found[1:]:
        assert np.array_equal(found[0].affine.matrix, again.affine.matrix)
        assert np.array_equal(found[0].field, again.field)
        assert found[0].refined_correlation == again.refined_correlation


def test_other_anatomy_is_refused_with_a_reason(head: Phantom, abdomen: Phantom) -> None:
    query = placed(head.scan)
    proposal = propose(query, [case_of(abdomen)], abdomen.structures, cache=OFF)
    assert proposal.used == 0
    assert not proposal.labels.any()
    assert proposal.failed[0].startswith("Case 1: the two scans ")
    assert all(record.votes == record.of == 0 for record in proposal.structures)


def test_noise_and_slivers_are_refused(head: Phantom) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, head.scan.hounsfield.shape).astype(np.int16)
    query = coarse_scan(head.scan, COARSE_MM)
    assert register_coarse(query, coarse_scan(Scan(noise, head.scan.geometry), COARSE_MM)).failure
    assert register_coarse(query, coarse_scan(crop(head, slice(30, 32)), COARSE_MM)).failure
    air = Scan(np.full_like(head.scan.hounsfield, -1000), head.scan.geometry)
    assert register_coarse(query, coarse_scan(air, COARSE_MM)).failure


def test_the_scan_itself_has_no_vote(head: Phantom) -> None:
    proposal = propose(placed(head.scan), [case_of(head)], head.structures, cache=OFF)
    assert proposal.failed == ["Case 1: it is the scan itself."]


class StopAfter(Reporter):
    """Cancels at the n-th question."""

    def __init__(self, questions: int) -> None:
        self.left = questions

    def check_cancelled(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Cancelled


@pytest.mark.parametrize("questions", [0, 5])
def test_the_affine_can_be_cancelled(questions: int, head: Phantom, other_head: Phantom) -> None:
    with pytest.raises(Cancelled):
        propose(placed(head.scan), [case_of(other_head)], head.structures, StopAfter(questions), OFF)


def test_the_deformation_can_be_cancelled(head: Phantom) -> None:
    coarse = coarse_scan(head.scan, 12.0)
    stop = StopAfter(3)
    with pytest.raises(Cancelled):
        deformation.register_deformable(coarse, coarse, Affine(np.eye(3), np.ones(3)), stop)
    assert stop.left == -1  # the fourth iteration was the last


def test_registrations_are_kept_and_cleared_with_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query, support = (Placed.of_scan(make_scan(seed)[0]) for seed in (0, 1))
    cache = RegistrationCache()
    first = atlas.registration_of(query, support)
    monkeypatch.setattr(atlas, "register_coarse", lambda *_: pytest.fail("registered again"))
    second = atlas.registration_of(query, support)
    assert np.array_equal(first.field, second.field)
    assert (first.grid, first.failure, first.overlap) == (second.grid, second.failure, second.overlap)
    assert np.array_equal(first.affine(np.ones((1, 3))), second.affine(np.ones((1, 3))))
    (kept,) = cache.folder.glob("*.npz")
    kept.write_bytes(b"torn")
    assert cache.read(query.key, support.key) is None
    FeatureCache().clear()
    assert not cache.folder.exists()


class Steps(Reporter):
    """Remembers how far registration is said to be."""

    def __init__(self) -> None:
        self.parts: list[float] = []

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        if phase == "registration":
            self.parts.append(done / total)


def test_leaving_one_out_scores_every_case_on_its_own_grid(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1))
    assert leave_one_out_atlas(cases[:1], STRUCTURES) == {"ball": [], "rod": []}
    cases[1] = dataclasses.replace(cases[1], structures=("ball",))
    structures = (*STRUCTURES, Structure("absent", 9))
    told = Steps()
    scores = leave_one_out_atlas(cases, structures, told)
    assert told.parts == sorted(told.parts), "one bar over all pairs, not one per case"
    assert (told.parts[0], told.parts[-1]) == (0.0, 1.0)
    assert {name: len(rows) for name, rows in scores.items()} == {"ball": 2, "rod": 0, "absent": 0}
    assert all(figures[0] > 0.8 and figures[1] > 0.3 and 0 <= figures[2] < 5 for figures in scores["ball"])


def test_a_structure_that_no_other_case_draws_is_not_held_against_the_atlas(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1))
    scan, labels = make_scan(1)
    write_labelmap(np.where(labels == 1, labels, 0).astype(np.uint16), scan.geometry, cases[1].annotation)
    scores = leave_one_out_atlas(cases, STRUCTURES)  # both cases declare the rod, the second has none
    assert len(scores["ball"]) == 2
    assert [figures[0] for figures in scores["rod"]] == [0.0]  # found in the second case, where it is not

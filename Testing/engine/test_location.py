"""The location prior: registration that works or says why not, labels carried voxel for voxel, votes, the job."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import STRUCTURES, make_scan
from fseft.adaptation.adapt import CaseFiles, adapt
from fseft.cli.main import main
from fseft.errors import Cancelled, InputError
from fseft.features.cache import FeatureCache
from fseft.features.source import FeatureSource
from fseft.jobs.job import Job
from fseft.jobs.kinds import run_job
from fseft.location import atlas, deformation
from fseft.location.affine import Affine, start_shifts
from fseft.location.atlas import combine, propose
from fseft.location.cache import RegistrationCache
from fseft.location.coarse import coarse_scan
from fseft.location.leave_one_out import leave_one_out_atlas
from fseft.location.propagation import Carrier, sub_grid
from fseft.location.registration import Registration, register_coarse
from fseft.location.support import AtlasCase, Placed
from fseft.location.vote import agreement_of, threshold_of, weighted_share
from fseft.models.adapted_model import save_model
from fseft.phantom import make_phantom
from fseft.phantom.generator import Phantom
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_volume
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap, write_scan
from fseft.structures import Structure
from scipy.spatial.transform import Rotation
from test_adaptation import QUICK, write_cases

COARSE_MM = 8.0  # of the phantoms, which are made of 6 mm voxels: quick, and enough for large structures
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


def placed(scan: Scan) -> Placed:
    return Placed(coarse_scan(scan, COARSE_MM), scan.geometry, scan.content_key)


def case_of(phantom: Phantom) -> AtlasCase:
    return AtlasCase(placed(phantom.scan), Annotation(phantom.labels, phantom.structures))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2.0 * float((first & second).sum()) / max(1.0, float(first.sum() + second.sum()))


def some(phantom: Phantom, *names: str) -> tuple[Structure, ...]:
    return tuple(s for s in phantom.structures if s.name in names)


def value_of(phantom: Phantom, name: str) -> int:
    return next(s.value for s in phantom.structures if s.name == name)


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


def oblique_grid(phantom: Phantom) -> Geometry:
    """Turned, anisotropic voxels around the moved phantom."""
    centre = phantom.scan.geometry.to_world((np.array([phantom.scan.geometry.size]) - 1) / 2)[0] + np.array(
        (20, -15, 250)
    )
    direction = Rotation.from_euler("xyz", (12, 5, -9), degrees=True).as_matrix()
    size, spacing = (66, 70, 40), (5.0, 5.0, 9.0)
    origin = centre - direction @ (np.array(spacing) * (np.array(size) - 1) / 2)
    return Geometry(size, spacing, tuple(origin), tuple(direction.ravel()))  # type: ignore[arg-type]


def crop(phantom: Phantom, planes: slice) -> Scan:
    array = phantom.scan.hounsfield[planes]
    whole = phantom.scan.geometry
    box = [slice(*planes.indices(len(phantom.labels))[:2]), slice(0, whole.size[1]), slice(0, whole.size[0])]
    return Scan(array, sub_grid(whole, box), "crop")


def identity(scan: Scan) -> Registration:
    coarse = coarse_scan(scan, COARSE_MM)
    field = np.zeros((*coarse.geometry.array_shape, 3), dtype=np.float16)
    return Registration(Affine(np.eye(3), np.zeros(3)), field, coarse.geometry, 1.0, 1.0, 1.0)


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
        monkeypatch.setattr(deformation, "use_threads", lambda count=threads: count)
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


def test_a_carried_box_is_that_part_of_the_whole_grid(head: Phantom) -> None:
    grid, value = oblique_grid(head), value_of(head, "mandible")
    registration = dataclasses.replace(identity(head.scan), affine=Affine(np.eye(3), np.array((-20.0, 15.0, -250.0))))
    carrier = Carrier(case_of(head).annotation, head.scan.geometry, grid, registration)
    mask = head.scan.geometry.image_of((head.labels == value).astype(np.float32))
    reference = grid.image_of(np.zeros(grid.array_shape, np.uint8))
    whole = sitk.GetArrayFromImage(sitk.Resample(mask, reference, registration.transform(), sitk.sitkLinear, 0.0))
    box = carrier.box_of(value)
    assert box is not None
    cover, known = carrier.carry(value, box)
    outside = whole.copy()
    outside[box] = 0
    assert not outside.any()
    assert whole.any()
    np.testing.assert_allclose(cover * known, whole[box], atol=1e-4)


def test_same_grid_and_no_motion_change_nothing() -> None:
    scan, labels = make_scan(3)
    carrier = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    found, records = combine(scan.geometry, [carrier], [1.0], STRUCTURES)
    assert np.array_equal(found, labels)
    assert [(r.votes, r.of, r.agreement) for r in records] == [(1, 1, None), (1, 1, None)]
    assert records[0].volume_ml == pytest.approx((labels == 1).sum() * 0.027)


def test_slices_left_unannotated_have_no_vote() -> None:
    scan, labels = make_scan(3)
    drawn = np.zeros((len(labels), 1, 1), dtype=bool)
    drawn[::4] = True
    sparse = Carrier(
        Annotation(np.where(drawn, labels, 0).astype(np.uint16), STRUCTURES, drawn),
        scan.geometry, scan.geometry, identity(scan),
    )  # fmt: skip
    box = (slice(0, 9), *(slice(0, n) for n in labels.shape[1:]))
    cover, known = sparse.carry(4, box)
    assert np.array_equal(known[:, 0, 0] > 0.5, drawn[:9, 0, 0])
    assert np.array_equal(cover[drawn[:9, 0, 0]] > 0.5, labels[:9][drawn[:9, 0, 0]] == 4)
    whole = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    found, _ = combine(scan.geometry, [sparse, whole], [1.0, 0.01], STRUCTURES)
    assert np.array_equal(found, labels)  # where the heavy case knows nothing, the light one decides


def test_a_structure_that_a_case_does_not_annotate_gets_no_vote_from_it() -> None:
    scan, labels = make_scan(3)
    both = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    ball = np.where(labels == 1, labels, 0).astype(np.uint16)
    partial = Carrier(Annotation(ball, STRUCTURES[:1]), scan.geometry, scan.geometry, identity(scan))
    found, records = combine(scan.geometry, [both, partial], [0.1, 1.0], STRUCTURES)
    assert np.array_equal(found, labels)
    assert [(r.votes, r.of) for r in records] == [(2, 2), (1, 1)]
    assert records[0].agreement == pytest.approx(1.0)


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_shares_are_weighted_over_the_cases_that_know() -> None:
    covers = [line(1, 1, 0, 1), line(1, 0, 0.5, 0), line(0, 0, 1, 0)]
    knowns = [line(1, 1, 1, 0), line(1, 1, 1, 0), line(1, 0, 1, 0)]
    assert weighted_share(covers, knowns, (2.0, 1.0, 1.0)) == pytest.approx([0.75, 2 / 3, 0.375, 0.0])


def test_ties_count_and_minorities_only_while_volume_is_missing() -> None:
    tie = line(1, 0.5, 0.5, 0)
    assert list(tie >= threshold_of(tie, 2.0)) == [True, True, True, False]
    # Three cases with three voxels each that share one: a majority keeps one voxel, three are expected.
    apart = line(1, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3)
    assert (apart >= threshold_of(apart, 3.0)).sum() == 7  # equal votes are taken together
    ranked = line(1, 0.45, 0.4, 0.35, 0.31, 0.2)
    assert list(ranked >= threshold_of(ranked, 3.0)) == [True, True, True, False, False, False]
    assert (ranked >= threshold_of(ranked, 50.0)).sum() == 5  # a fifth of the votes is never enough
    assert (ranked >= threshold_of(ranked, 1.0)).sum() == 1


def test_agreement_is_the_mean_dice_of_pairs() -> None:
    covers = [line(1, 1, 0, 0), line(1, 0, 0, 0), line(1, 1, 1, 0)]
    known = [np.ones(4, np.float32)] * 3
    assert agreement_of(covers, known) == pytest.approx((2 / 3 + 4 / 5 + 1 / 2) / 3)
    assert agreement_of(covers[:1], known[:1]) is None
    assert agreement_of(covers[:2], [line(1, 0, 1, 1), line(1, 1, 1, 1)]) == pytest.approx(1.0)


def test_a_contested_voxel_goes_to_more_votes_then_to_the_earlier_structure() -> None:
    scan, labels = make_scan(3)
    swapped = np.array([0, 4, 0, 0, 1], dtype=np.uint16)[labels]
    carriers = [
        Carrier(Annotation(part, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
        for part in (labels, swapped)
    ]
    assert np.array_equal(combine(scan.geometry, carriers, (1.0, 2.0), STRUCTURES)[0], swapped)
    tied, _ = combine(scan.geometry, carriers, (1.0, 1.0), STRUCTURES)
    assert set(np.unique(tied)) == {0, 1}
    reverse, _ = combine(scan.geometry, carriers, (1.0, 1.0), STRUCTURES[::-1])
    assert set(np.unique(reverse)) == {0, 4}


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


def parameters(cases: list[CaseFiles], scan: Path, output: Path) -> dict[str, Any]:
    return {
        "cases": [{"scan": str(c.scan), "annotation": str(c.annotation), "name": c.name} for c in cases],
        "structures": [{"name": s.name, "value": s.value} for s in STRUCTURES],
        "scans": [{"scan": str(scan), "output": str(output), "name": "new"}],
    }


def test_the_job_writes_a_labelmap_and_how_it_came_about(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1, 2))
    output = tmp_path / "out" / "draft.seg.nrrd"
    result = run_job(Job("propose", parameters(cases[:2], cases[2].scan, output)), SILENT)
    (report,) = result["scans"]
    assert report["output"] == str(output)
    assert report["failed"] == []
    assert [(s["name"], s["votes"], s["of"]) for s in report["structures"]] == [("ball", 2, 2), ("rod", 2, 2)]
    assert str(tmp_path) not in json.dumps({**report, "output": ""})
    labels, geometry, _ = read_volume(output, labelmap=True)
    scan, truth = make_scan(2)
    assert geometry.same_grid(scan.geometry)
    assert dice(labels == 1, truth == 1) > 0.7
    assert dice(labels == 4, truth == 4) > 0.7
    assert sorted(path.name for path in output.parent.iterdir()) == [output.name]


def test_the_job_says_when_nothing_fits(tmp_path: Path, abdomen: Phantom) -> None:
    cases = write_cases(tmp_path, (0,))
    noise = np.random.default_rng(0).integers(-1000, 1000, make_scan(0)[0].hounsfield.shape).astype(np.int16)
    write_scan(Scan(noise, make_scan(0)[0].geometry), tmp_path / "noise.nii.gz")
    output = tmp_path / "draft.nii.gz"
    with pytest.raises(InputError) as caught:
        run_job(Job("propose", parameters(cases, tmp_path / "noise.nii.gz", output)), SILENT)
    assert caught.value.code == "atlas-failed"
    assert "Case 1: " in caught.value.message
    assert not output.exists()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"method": "guess"}, "method-unknown"),
        ({"scans": []}, "no-scans"),
        ({"cases": []}, "support-empty"),
        ({"structures": []}, "structures-empty"),
    ],
)
def test_the_job_refuses_what_it_cannot_do(change: dict[str, Any], code: str, tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0,))
    asked = {**parameters(cases, cases[0].scan, tmp_path / "draft.nii.gz"), **change}
    with pytest.raises(InputError) as caught:
        run_job(Job("propose", asked), SILENT)
    assert caught.value.code == code


def test_the_job_overwrites_no_input(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1))
    for target in (cases[0].annotation, cases[1].scan):
        with pytest.raises(InputError) as caught:
            run_job(Job("propose", parameters(cases[:1], cases[1].scan, target)), SILENT)
        assert caught.value.code == "output-is-input"


def test_a_model_proposes_what_it_segments(
    tmp_path: Path, tiny_backbone: Path, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "home" / "backbones" / "tiny")
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    cases = write_cases(tmp_path, (0, 1))
    save_model(adapt("m", cases[:1], STRUCTURES, source, "linear-probe", QUICK.replace(steps=2)), tmp_path / "m")
    scans = [{"scan": str(cases[1].scan), "output": str(tmp_path / "draft.nii.gz"), "name": "new"}]
    asked = {"method": "model", "model": str(tmp_path / "m"), "scans": scans, "device": "cpu"}
    (report,) = run_job(Job("propose", asked), SILENT)["scans"]
    labels, _, _ = read_volume(tmp_path / "draft.nii.gz", labelmap=True)
    for entry, structure in zip(report["structures"], STRUCTURES, strict=True):
        assert entry["votes"] is entry["of"] is entry["agreement"] is None
        assert entry["volume_ml"] == pytest.approx((labels == structure.value).sum() * 0.027, abs=1e-3)


def test_leaving_one_out_scores_every_case_on_its_own_grid(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1))
    assert leave_one_out_atlas(cases[:1], STRUCTURES) == {"ball": [], "rod": []}
    cases[1] = dataclasses.replace(cases[1], structures=("ball",))
    structures = (*STRUCTURES, Structure("absent", 9))
    scores = leave_one_out_atlas(cases, structures)
    assert {name: len(rows) for name, rows in scores.items()} == {"ball": 2, "rod": 0, "absent": 0}
    assert all(figures[0] > 0.8 and figures[1] > 0.3 and 0 <= figures[2] < 5 for figures in scores["ball"])


def test_the_command_proposes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = write_cases(tmp_path, (0, 1))
    write_labelmap(make_scan(0)[1], make_scan(0)[0].geometry, tmp_path / "named.seg.nrrd", STRUCTURES)
    output = tmp_path / "drafts"
    arguments = ["--quiet", "propose", "--case", str(cases[0].scan), str(tmp_path / "named.seg.nrrd")]
    arguments += ["--scan", str(cases[1].scan), "--output", str(output), "--format", ".nii.gz"]
    assert main(arguments) == 0
    assert "1 of 1" in capsys.readouterr().out
    assert (output / "ct1.nii.gz").is_file()
    assert main(arguments) == 2
    assert "output-exists" in capsys.readouterr().err

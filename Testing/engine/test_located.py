"""Refinement by location: carried annotations and the adapter together, on the scan's own grid."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import adapt
from fseft.adapters.initialisation import base_structures
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.location.propagation import Carrier
from fseft.location.support import AtlasCase, Placed
from fseft.models.adapted_model import AdaptedModel
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.segmentation.report import make_report
from fseft.segmentation.scoring import score_volume, whole
from fseft.segmentation.segment import Segmentation, segment_scan
from fseft.structures import Structure
from fseft.transduction import located
from fseft.transduction.far_pieces import without_far_pieces
from fseft.transduction.say import UNRECOGNISED_SAY, say_of
from fseft.transduction.ways import Refining
from location_makers import dice, identity
from scipy.spatial.transform import Rotation
from test_adaptation import QUICK, write_cases


@pytest.fixture
def model(tmp_path: Path, source: FeatureSource) -> AdaptedModel:
    return adapt("test", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "spatial-adapter", QUICK)


def case_of(scan: Scan, labels: np.ndarray, structures: tuple[Structure, ...] = STRUCTURES) -> AtlasCase:
    return AtlasCase(Placed.of_scan(scan), Annotation(labels, structures))


def aligned(monkeypatch: pytest.MonkeyPatch, query: Scan, cases: list[AtlasCase]) -> None:
    """Every case registers, and already lies where the query does."""

    def register(*_: object) -> tuple[list[Carrier], list[float], list[str]]:
        carriers = [Carrier(c.annotation, c.placed.geometry, query.geometry, identity(query)) for c in cases]
        return carriers, [1.0] * len(cases), []

    monkeypatch.setattr(located, "register_all", register)


def shy(model: AdaptedModel, by: float = 3.0) -> AdaptedModel:
    """The model with a background that wins more than it should: what it finds is too small."""
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.adapter.head.bias[0] += by
    return changed


def refined(model: AdaptedModel, source: FeatureSource, scan: Scan, cases: list[AtlasCase]) -> Segmentation:
    return segment_scan(scan, model, source, refining=Refining("location", atlas=cases))


def test_carried_annotations_complete_what_the_model_finds_too_small(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(3)
    cases = [case_of(scan, np.roll(labels, 2, axis=2)), case_of(scan, np.roll(labels, -2, axis=1))]
    aligned(monkeypatch, scan, cases)
    result = refined(shy(model), source, scan, cases)
    assert result.before is not None
    assert result.labels.shape == labels.shape
    for position, value in enumerate((1, 4)):
        truth = labels == value
        assert dice(result.labels == value, truth) > dice(result.before == value, truth) + 0.05
        assert result.outcomes[position].action == "refined"
        assert result.outcomes[position].after_ml > result.outcomes[position].before_ml
        assert result.sizes[position].volume_ml == pytest.approx(result.outcomes[position].after_ml)


def test_an_organ_that_the_scan_cuts_is_not_grown_to_a_whole_one(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_scan, whole_labels = make_scan(3)
    keep = slice(17, None)  # through the middle of the ball
    geometry = whole_scan.geometry
    origin = tuple(float(v) for v in geometry.to_world(np.array([[0, 0, 17]]))[0])
    size = (geometry.size[0], geometry.size[1], geometry.size[2] - 17)
    cut = Geometry(size, geometry.spacing, origin, geometry.direction)  # type: ignore[arg-type]
    scan = Scan(whole_scan.hounsfield[keep].copy(), cut, "cut")
    cases = [case_of(whole_scan, whole_labels)]
    aligned(monkeypatch, scan, cases)
    result = refined(shy(model), source, scan, cases)
    truth = int((whole_labels[keep] == 1).sum())
    assert truth < int((whole_labels == 1).sum()) * 0.7
    assert result.sizes[0].voxels <= 1.05 * truth


def test_a_structure_that_no_case_annotates_keeps_its_labels(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(3)
    cases = [case_of(scan, np.where(labels == 1, 1, 0).astype(np.uint16), STRUCTURES[:1])]
    aligned(monkeypatch, scan, cases)
    first = segment_scan(scan, model, source)
    result = refined(model, source, scan, cases)
    assert result.outcomes[1].action == "refused"
    assert "nowhere" in result.outcomes[1].why
    assert np.array_equal((result.labels == 4) & (result.labels != 1), (first.labels == 4) & (result.labels != 1))


def test_without_registration_nothing_changes_and_the_reason_is_told(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(3)
    monkeypatch.setattr(located, "register_all", lambda *_: ([], [], ["Case 1: it is the scan itself."]))
    result = refined(model, source, scan, [case_of(scan, labels)])
    assert result.before is None
    assert {outcome.action for outcome in result.outcomes} == {"refused"}
    assert "brought into line" in result.outcomes[0].why


def test_the_adapters_part_is_what_segmentation_sees_voxel_for_voxel(
    model: AdaptedModel, source: FeatureSource
) -> None:
    """On an oblique, anisotropic, flipped grid, in a box that is not the whole scan."""
    upright, labels = make_scan(3, (40, 36, 30))
    direction = Rotation.from_euler("xyz", (9, -7, 12), degrees=True).as_matrix() @ np.diag([-1.0, 1.0, -1.0])
    geometry = Geometry((40, 36, 30), (2.5, 3.1, 4.2), (3.0, -20.0, 55.0), tuple(direction.ravel()))  # type: ignore[arg-type]
    scan = Scan(upright.hounsfield, geometry, "oblique")
    features = source.features(scan)
    cases = [case_of(scan, labels)]
    carrier = Carrier(cases[0].annotation, geometry, geometry, identity(scan))
    plain = segment_scan(scan, model, source)
    item = located._place(
        0, STRUCTURES[0], False, [carrier], [1.0], plain.labels, plain.sizes[0], features, model.adapter.head.strides
    )
    assert item is not None
    assert item.network_box != whole(features)
    located._fill([item], model.adapter, features, CPU, SILENT)
    found = located._to_scan(item, features)
    expected = np.zeros(geometry.array_shape, np.float32)
    for part, slab in features.grid.to_scan_slabs(score_volume(model.adapter, features, CPU)[1]):
        expected[part] = slab
    assert np.abs(found - expected[item.scan_box]).max() < 2e-3  # kept in half precision
    assert found.max() > 0.5


def test_cancelling_leaves_no_half_result(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fseft.errors import Cancelled

    class Impatient(Reporter):
        def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
            if phase == "refinement":
                self.stop = True

        def check_cancelled(self) -> None:
            if getattr(self, "stop", False):
                raise Cancelled

    scan, labels = make_scan(3)
    cases = [case_of(scan, labels)]
    aligned(monkeypatch, scan, cases)
    with pytest.raises(Cancelled):
        segment_scan(scan, model, source, reporter=Impatient(), refining=Refining("location", atlas=cases))


def test_location_needs_the_annotated_scans() -> None:
    with pytest.raises(InputError) as problem:
        Refining("location")
    assert problem.value.code == "refinement-needs-support"


def say(knowing: float, recognised: float = 1.0, base: bool = False) -> float:
    return float(say_of(np.array([knowing], np.float32), recognised, base)[0])


def test_the_say_follows_the_votes_and_what_is_recognised() -> None:
    assert (say(1), say(3), say(9)) == pytest.approx((0.5, 0.75, 0.9))
    assert (say(1, base=True), say(3, base=True)) == (0.25, 0.5), "what the backbone knows it sees better"
    assert say(1, recognised=0.0) == say(3, recognised=0.1) == pytest.approx(UNRECOGNISED_SAY)
    assert say(20, recognised=0.0) == say(20) > UNRECOGNISED_SAY
    by_share = [say(1, recognised=share) for share in (0.1, 0.2, 0.3, 0.4, 3.0)]
    assert by_share == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.5])
    assert say(0) == say(0, recognised=0.0) == 0.0, "where no case knows anything"


def test_what_the_model_does_not_recognise_is_carried_over_and_said_to_be(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scan, labels = make_scan(3)
    aligned(monkeypatch, scan, [case_of(scan, labels)])
    blind = shy(model, 30.0)
    result = refined(blind, source, scan, [case_of(scan, labels)])
    assert result.before is not None
    assert not result.before.any()
    report = make_report("new", blind, result, {}, {})
    for position, value in enumerate((1, 4)):
        assert dice(result.labels == value, labels == value) > 0.95
        assert any("carried over from the annotated scans" in flag for flag in report["structures"][position]["flags"])
    seen = make_report("new", model, refined(model, source, scan, [case_of(scan, labels)]), {}, {})
    assert not any("carried over" in flag for entry in seen["structures"] for flag in entry["flags"])


def test_what_the_model_finds_somewhere_else_is_not_recognised_either(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(3)
    elsewhere = np.roll(labels, labels.shape[1] // 2, axis=1)
    assert not ((labels == 1) & (elsewhere == 1)).any()
    aligned(monkeypatch, scan, [case_of(scan, elsewhere)])
    result = refined(model, source, scan, [case_of(scan, elsewhere)])
    assert result.before is not None
    assert dice(result.before == 1, labels == 1) > 0.5  # it is sure of another place
    assert dice(result.labels == 1, elsewhere == 1) > 0.95
    assert "where it should be" in result.outcomes[0].doubt


def test_the_more_say_the_scans_have_the_more_they_decide(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(5)
    elsewhere = np.roll(labels, 3, axis=2)
    cases = [case_of(scan, elsewhere)] * 3
    aligned(monkeypatch, scan, cases)
    plain = segment_scan(scan, model, source)
    base = base_structures(STRUCTURES, source.specification)
    asked, met = [], []
    for share in (0.1, 0.3, 0.9):

        def fixed(knowing: np.ndarray, recognised: float, is_base: bool, share: float = share) -> np.ndarray:
            asked.append((knowing, is_base))
            return np.full_like(knowing, share)

        labels, _ = located.refine_by_location(
            model.adapter, source.features(scan), Placed.of_scan(scan), cases, STRUCTURES, plain.labels, plain.sizes,
            CPU, base=base, say=fixed,
        )  # fmt: skip
        met.append(dice(labels == 1, elsewhere == 1))
    assert met[0] < met[1] < met[2]
    assert all((knowing == 3).all() for knowing, _ in asked)
    assert [known for _, known in asked] == [True, False] * 3, "the test's backbone knows the ball, not the rod"


def test_beyond_what_the_annotated_scans_show_the_adapter_decides_alone(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three cases have three quarters of the say, enough to veto: but not where their scans end."""
    scan, labels = make_scan(3)
    plain = segment_scan(scan, model, source)
    half = slice(0, 17)  # through the middle of the ball
    geometry = scan.geometry
    seen = Geometry((geometry.size[0], geometry.size[1], 17), geometry.spacing, geometry.origin, geometry.direction)
    short = Scan(scan.hounsfield[half].copy(), seen, "short")
    cases = [case_of(short, labels[half]) for _ in range(3)]
    aligned(monkeypatch, scan, cases)
    result = refined(model, source, scan, cases)
    beyond = slice(19, None)  # what lies between is interpolated
    assert (plain.labels[beyond] == 1).sum() > 100
    # Not the same to the voxel: what is most likely may be less likely than not.
    assert dice(result.labels[beyond] == 1, plain.labels[beyond] == 1) > 0.95
    assert dice(result.labels[half] == 1, labels[half] == 1) > 0.95


def test_slices_left_unannotated_do_not_veto_what_the_adapter_finds(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, labels = make_scan(3)
    drawn = np.zeros((len(labels), 1, 1), dtype=bool)
    drawn[::6] = True
    sparse = Annotation(np.where(drawn, labels, 0).astype(np.uint16), STRUCTURES, drawn)
    cases = [AtlasCase(Placed.of_scan(scan), sparse) for _ in range(3)]
    aligned(monkeypatch, scan, cases)
    plain = segment_scan(scan, model, source)
    result = refined(model, source, scan, cases)
    between = slice(3, None, 6)
    assert (plain.labels[between] == 1).sum() > 100
    assert np.array_equal(result.labels[between] == 1, plain.labels[between] == 1)


def test_a_piece_far_from_where_the_scans_show_the_structure_is_dropped() -> None:
    taken, carried = np.zeros((60, 20, 20), bool), np.zeros((60, 20, 20), bool)
    carried[5:12, 5:12, 5:12] = True
    taken[6:13, 5:12, 5:12] = True
    taken[19:22, 5:8, 5:8] = True  # 21 mm away: people differ by as much
    taken[50:55, 5:8, 5:8] = True
    known = np.ones_like(taken)
    kept = without_far_pieces(taken, known, carried, (3.0, 1.0, 1.0))
    assert np.array_equal(kept[:40], taken[:40])
    assert not kept[40:].any()
    known[51:] = False
    assert without_far_pieces(taken, known, carried, (3.0, 1.0, 1.0))[52, 6, 6], "nobody knows that place"
    known[:] = True
    taken[10:55, 6, 6] = True
    assert np.array_equal(without_far_pieces(taken, known, carried, (3.0, 1.0, 1.0)), taken), "one piece, however long"

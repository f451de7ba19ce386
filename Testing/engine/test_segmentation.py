"""Segmentation: the scan's own grid, the structures' own values, honest reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import adapt
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.errors import ScanError
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import AdaptedModel, SizePrior
from fseft.priors.from_support import prior_from_volumes
from fseft.reporting import Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.writing import write_scan
from fseft.segmentation import predict
from fseft.segmentation.components import keep_largest
from fseft.segmentation.flags import flags_of, notes_of
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.report import report_path
from fseft.segmentation.segment import Query, segment_files, segment_scan
from fseft.segmentation.volumes import StructureVolume, measure
from fseft.transduction.apply import Refinement
from fseft.transduction.plan import Outcome
from fseft.transduction.ways import Refining
from test_adaptation import QUICK, write_cases
from test_preprocessing import orientations, reorient


@pytest.fixture
def model(tmp_path: Path, source: FeatureSource) -> AdaptedModel:
    return adapt("test", write_cases(tmp_path, (0, 1)), STRUCTURES, source, "linear-probe", QUICK.replace(steps=5))


def test_labelmap_has_the_scans_grid_and_the_structures_values(
    model: AdaptedModel, source: FeatureSource, tmp_path: Path
) -> None:
    scan, _ = make_scan(5)
    angle = 0.3
    turn = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    geometry = Geometry(scan.geometry.size, (3.0, 2.9, 3.3), (12.5, -7.25, 3.0), turn)
    write_scan(type(scan)(scan.hounsfield, geometry), tmp_path / "oblique.nrrd")
    for ending in (".nii.gz", ".seg.nrrd", ".nrrd", ".mha"):
        query = Query(tmp_path / "oblique.nrrd", tmp_path / f"out{ending}", "q")
        report = segment_files([query], model, source).reports[0]
        image = sitk.ReadImage(str(tmp_path / f"out{ending}"))
        assert Geometry.of_image(image).same_grid(geometry)
        array = sitk.GetArrayFromImage(image)
        assert set(np.unique(array)) <= {0, 1, 4}
        for entry, structure in zip(report["structures"], STRUCTURES, strict=True):
            voxels = int((array == structure.value).sum())
            assert entry["volume_ml"] == pytest.approx(voxels * geometry.voxel_volume_ml, abs=1e-3)


def test_a_scan_that_cannot_be_used_does_not_stop_the_others(
    model: AdaptedModel, source: FeatureSource, tmp_path: Path
) -> None:
    for number in (0, 1, 2):
        write_scan(make_scan(number)[0], tmp_path / f"ct{number}.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(np.full((20, 20, 20), 7, np.int16)), str(tmp_path / "ct1.nii.gz"))
    queries = [Query(tmp_path / f"ct{n}.nii.gz", tmp_path / f"out{n}.nii.gz", f"scan {n}") for n in (0, 1, 2)]
    heard = Heard()
    batch = segment_files(queries, model, source, reporter=heard)
    assert [report["name"] for report in batch.reports] == ["scan 0", "scan 2"]
    assert [path.exists() for path in (query.output for query in queries)] == [True, False, True]
    (left_out,) = batch.left_out.as_json()
    assert (left_out["name"], left_out["code"]) == ("scan 1", "scan-constant")
    assert any(level == "warning" and "scan 1 was left out" in text for text, level in heard.said)
    with pytest.raises(ScanError) as caught:
        segment_files(queries[1:2], model, source)
    assert caught.value.code == "scan-constant"


class Heard(Reporter):
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def log(self, message: str, level: str = "info") -> None:
        self.said.append((message, level))


def test_a_refinement_that_moves_no_voxel_leaves_nothing_to_compare(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = make_scan(6)[0]
    plain = segment_scan(scan, model, source)

    def same(*arguments: Any) -> Refinement:
        labels: np.ndarray = arguments[5]
        return Refinement(labels.copy(), [Outcome("refined", "", 1.0, 1.0) for _ in STRUCTURES])

    monkeypatch.setattr("fseft.segmentation.segment.refine_labels", same)
    result = segment_scan(scan, model, source, refining=Refining("default"))
    assert result.before is None
    assert np.array_equal(result.labels, plain.labels)
    assert len(result.outcomes) == len(STRUCTURES)


def test_report_tells_model_backbone_times_and_no_path(
    model: AdaptedModel, source: FeatureSource, tmp_path: Path
) -> None:
    scan, _ = make_scan(6)
    write_scan(scan, tmp_path / "ct.nii.gz")
    segment_files([Query(tmp_path / "ct.nii.gz", tmp_path / "r.nii.gz", "query one")], model, source)
    text = (tmp_path / "r.report.json").read_text(encoding="utf-8")
    report = json.loads(text)
    assert report["name"] == "query one"
    assert report["model"]["name"] == "test"
    assert report["backbone"]["sha256"] == source.specification.weights_sha256
    assert set(report["seconds"]) == {"reading", "features", "segmentation", "writing"}
    assert str(tmp_path) not in text


def test_axis_orders_and_flips_give_the_same_result(model: AdaptedModel, source: FeatureSource) -> None:
    scan, labels = make_scan(7)
    plain = segment_scan(scan, model, source).labels
    for order, signs in orientations()[::5]:
        turned, _ = reorient(scan, labels, order, signs)
        expected, _ = reorient(type(scan)(plain.astype(np.int16), scan.geometry), labels, order, signs)
        found = segment_scan(turned, model, source).labels
        differing = float((found != expected.hounsfield).mean())
        assert differing < 1e-4  # float rounding may decide a voxel at a surface, nothing else


def test_slabs_and_blocks_give_what_one_piece_gives(
    model: AdaptedModel, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    adapter = make_adapter(find_method("spatial-adapter"), source.specification, STRUCTURES)
    for residual in adapter.residuals:  # type: ignore[union-attr]
        torch.nn.init.normal_(residual[2].weight, std=0.05)
    scan, _ = make_scan(8, (70, 60, 50))
    features = source.features(scan)
    features.body[:] = True
    monkeypatch.setattr(predict, "BLOCK", 512)
    monkeypatch.setattr(predict, "SLAB_BYTES", 10**10)
    whole = predict_labels(adapter, features, CPU)
    monkeypatch.setattr(predict, "BLOCK", 24)
    monkeypatch.setattr(predict, "SLAB_BYTES", 4 * 3 * 80 * 64 * 8)
    assert np.array_equal(predict_labels(adapter, features, CPU), whole)
    assert len(np.unique(whole)) == 3


def test_largest_component_is_kept_and_the_rest_counted() -> None:
    labels = np.zeros((8, 8, 8), dtype=np.uint8)
    labels[0:3, 0:3, 0:3] = 1
    labels[6, 6, 6] = 1
    labels[3, 3, 3] = 1  # touches the first by a corner: 26-connected
    labels[7, 0, 0] = 2
    assert keep_largest(labels, 2) == 1
    assert (labels == 1).sum() == 28
    assert labels[7, 0, 0] == 2


def test_flags_speak_plainly_and_spare_cut_structures() -> None:
    geometry = Geometry((10, 10, 10), (10.0, 10.0, 10.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[4:6, 4:6, 4:6] = 1
    labels[0:2, 0:2, 0:2] = 2
    labels[8, 8, 7:9], labels[2, 8, 7:9] = 3, 3
    inside, cut, split, missing = measure(labels, (1, 2, 3, 4), geometry)
    prior = SizePrior(20, 15, 25, "test")
    assert flags_of(inside, prior) == ["smaller than expected (at least 15.0 ml)"]
    assert flags_of(cut, prior) == []
    assert flags_of(cut, SizePrior(2, 1, 3, "test")) == ["larger than expected (at most 3.0 ml)"]
    assert flags_of(missing, prior) == ["not found in this scan"]
    assert notes_of(inside, prior) == []  # what is flagged is not noted as well
    assert notes_of(cut, prior) == [
        "cut by the scan's border",
        "smaller than expected (at least 15.0 ml), as it may be where it is cut",
    ]
    assert notes_of(split, None)[0].startswith("in 2 separate pieces, up to ")
    assert notes_of(missing, prior) == []


def test_a_fragment_at_the_border_does_not_cut_an_organ_and_its_distance_is_told() -> None:
    geometry = Geometry((40, 30, 20), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), tuple(np.eye(3).ravel()))
    labels = np.zeros((20, 30, 40), np.uint8)
    labels[5:15, 10:20, 10:20] = 1  # 1000 voxels, whole
    labels[18:20, 14:18, 14:16] = 1  # 16 of them far above, at the border
    (whole,) = measure(labels, (1,), geometry)
    assert not whole.cut_by_border
    assert whole.pieces == 2
    assert whole.apart_mm == pytest.approx((18 - 14) * 3.0)
    assert notes_of(whole, None) == ["in 2 separate pieces, up to 12 mm apart"]
    labels[15:20, 10:20, 10:20] = 1  # now the organ itself goes on to the border
    (cut,) = measure(labels, (1,), geometry)
    assert cut.cut_by_border
    assert (cut.pieces, cut.apart_mm) == (1, 0.0)
    given = SizePrior(10.0, 9.5, 10.5, "edited")
    assert notes_of(cut, given)[1] == "smaller than expected (at least 9.5 ml), as it may be where it is cut"


def test_a_few_annotated_cases_do_not_tell_how_people_differ() -> None:
    def found(volume_ml: float, cut: bool = False) -> StructureVolume:
        return StructureVolume(round(volume_ml * 1000), volume_ml, cut, 1, ((2, 4), (2, 4), (2, 4)))

    prior = prior_from_volumes([90.0, 100.0, 110.0])
    assert prior is not None
    assert (prior.low_ml, prior.high_ml) == pytest.approx((70.0, 130.0))
    assert flags_of(found(150.0), prior) == flags_of(found(60.0), prior) == []
    assert notes_of(found(150.0), prior)[0].startswith("above the annotated cases' range (up to 130.0 ml)")
    assert notes_of(found(60.0), prior)[0].startswith("below the annotated cases' range (from 70.0 ml)")
    assert notes_of(found(60.0, cut=True), prior) == ["cut by the scan's border"]
    assert flags_of(found(300.0), prior)[0].startswith("far larger than the annotated cases suggest (over ")
    assert flags_of(found(30.0), prior)[0].startswith("far smaller than the annotated cases suggest (under ")


def test_report_lies_beside_the_labelmap() -> None:
    assert report_path(Path("a/b.seg.nrrd")) == Path("a/b.report.json")
    assert report_path(Path("a/b.nii.gz")) == Path("a/b.report.json")
    assert report_path(Path("a/b.v2.mha")) == Path("a/b.v2.report.json")

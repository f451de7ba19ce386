"""Scoring files: matching structures, refusing grids that differ, and the table that comes out."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.errors import AnnotationError, Cancelled, FseftError, InputError, ScanError
from fseft.evaluation.evaluate import case_names, evaluate
from fseft.evaluation.metrics import StructureMetrics
from fseft.evaluation.table import EvaluationRow, EvaluationTable
from fseft.reporting import Reporter
from fseft.structures import Structure

REAL = Path(__file__).resolve().parents[3] / "shared" / "ct" / "torso"


def image_of(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array.astype(np.uint8), isVector=array.ndim == 4)
    image.SetSpacing(spacing)
    image.SetDirection((-1.0, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def save(path: Path, array: np.ndarray, segments: dict[str, tuple[int, int]] | None = None) -> Path:
    """A labelmap, or with segments (name -> layer, value) a segmentation file."""
    image = image_of(array)
    for number, (name, (layer, value)) in enumerate((segments or {}).items()):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(value))
        image.SetMetaData(f"Segment{number}_Layer", str(layer))
        image.SetMetaData(f"Segment{number}_ID", f"Segment_{number}")
    sitk.WriteImage(image, str(path))
    return path


def labels() -> np.ndarray:
    array = np.zeros((10, 20, 20), dtype=np.uint8)
    array[2:8, 3:9, 3:9] = 1
    array[2:8, 12:18, 4:10] = 2
    return array


def test_plain_labelmaps_are_matched_by_value(tmp_path: Path) -> None:
    reference = save(tmp_path / "r.nii.gz", labels())
    array = labels()
    array[2:8, 3:6, 3:9] = 0
    table = evaluate([(save(tmp_path / "p.nii.gz", array), reference)])
    assert table.structures == ("structure 1", "structure 2")
    assert [row.metrics.dice for row in table.rows] == pytest.approx([2 / 3, 1])
    named = evaluate([(tmp_path / "p.nii.gz", reference)], [Structure("liver", 2), Structure("spleen", 7)])
    assert [row.structure for row in named.rows] == ["liver", "spleen"]
    assert named.rows[0].metrics.dice == 1
    assert math.isnan(named.rows[1].metrics.dice)


def test_segmentation_files_are_matched_by_name_whatever_their_values(tmp_path: Path) -> None:
    array = labels()
    swapped = np.select([array == 1, array == 2], [2, 1])
    reference = save(tmp_path / "r.seg.nrrd", array, {"right kidney": (0, 1), "Spleen": (0, 2)})
    prediction = save(tmp_path / "p.seg.nrrd", swapped, {"Spleen": (0, 1), "Kidney_Right": (0, 2)})
    table = evaluate([(prediction, reference)])
    assert {row.structure: row.metrics.dice for row in table.rows} == {"right kidney": 1, "Spleen": 1}


def test_overlapping_layers_are_compared_each(tmp_path: Path) -> None:
    tumour = np.zeros_like(labels())
    tumour[4:6, 4:6, 4:6] = 1
    both = np.stack([labels(), tumour], axis=-1)
    segments = {"liver": (0, 1), "spleen": (0, 2), "liver tumour": (1, 1)}
    reference = save(tmp_path / "r.seg.nrrd", both, segments)
    table = evaluate([(reference, reference)])
    assert [row.metrics.dice for row in table.rows] == [1, 1, 1]
    assert table.rows[2].metrics.reference_ml == pytest.approx(0.016)


def test_a_named_file_lends_its_names_to_a_plain_one(tmp_path: Path) -> None:
    reference = save(tmp_path / "r.seg.nrrd", labels(), {"liver": (0, 1), "spleen": (0, 2)})
    for pair in ((save(tmp_path / "p.nii.gz", labels()), reference), (reference, tmp_path / "p.nii.gz")):
        table = evaluate([pair])
        assert {row.structure: row.metrics.dice for row in table.rows} == {"liver": 1, "spleen": 1}


def test_a_structure_the_prediction_does_not_know_is_missed(tmp_path: Path) -> None:
    reference = save(tmp_path / "r.seg.nrrd", labels(), {"liver": (0, 1), "spleen": (0, 2)})
    prediction = save(tmp_path / "p.seg.nrrd", (labels() == 1).astype(np.uint8), {"liver": (0, 1)})
    summary = evaluate([(prediction, reference)]).summaries()[1]
    assert (summary.structure, summary.missed, summary.spreads["dice"].mean) == ("spleen", 1, 0)


def test_other_grids_are_refused_by_name(tmp_path: Path) -> None:
    reference = save(tmp_path / "r.nii.gz", labels())
    sitk.WriteImage(image_of(labels(), (1.0, 1.0, 2.5)), str(tmp_path / "p.nii.gz"))
    with pytest.raises(InputError) as caught:
        evaluate([(tmp_path / "p.nii.gz", reference)])
    assert caught.value.code == "evaluation-grids-differ"
    assert "p.nii.gz (20 x 20 x 10 voxels of 1 x 1 x 2.5 mm" in caught.value.message
    assert "r.nii.gz (20 x 20 x 10 voxels of 1 x 1 x 2 mm" in caught.value.message


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    reference = save(tmp_path / "r.nii.gz", labels())
    image = image_of(labels())
    sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32) * 0.5, str(tmp_path / "soft.nii.gz"))
    cases: list[tuple[str, type[FseftError], list[tuple[Path, Path]]]] = [
        ("evaluation-no-pairs", InputError, []),
        ("scan-missing", ScanError, [(tmp_path / "nothing.nii.gz", reference)]),
        ("annotation-not-labels", AnnotationError, [(tmp_path / "soft.nii.gz", reference)]),
    ]
    for code, kind, pairs in cases:
        with pytest.raises(kind) as caught:
            evaluate(pairs)
        assert caught.value.code == code
    with pytest.raises(InputError) as nothing:
        evaluate([(reference, reference)], [Structure("liver", 9)])
    assert nothing.value.code == "evaluation-nothing-common"


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    class Stop(Reporter):
        def check_cancelled(self) -> None:
            raise Cancelled

    reference = save(tmp_path / "r.nii.gz", labels())
    with pytest.raises(Cancelled):
        evaluate([(reference, reference)], reporter=Stop())


def test_cases_are_told_apart() -> None:
    assert case_names([Path("a/one.nii.gz"), Path("a/two.seg.nrrd")]) == ["one", "two"]
    assert case_names([Path("a/seg.nii.gz"), Path("b/seg.nii.gz")]) == ["a/seg", "b/seg"]


def metrics(dice: float, reference_ml: float = 10.0, predicted_ml: float = 9.0) -> StructureMetrics:
    nothing = reference_ml == predicted_ml == 0
    distance = math.nan if nothing else math.inf if 0 in (reference_ml, predicted_ml) else 4.0
    error = math.nan if nothing else predicted_ml - reference_ml
    percent = math.nan if nothing else 100 * error / reference_ml if reference_ml else math.inf
    return StructureMetrics(dice, dice, distance, reference_ml, predicted_ml, error, percent)


@pytest.fixture
def table() -> EvaluationTable:
    return EvaluationTable(
        (
            EvaluationRow("a", "liver", metrics(0.9)),
            EvaluationRow("b", "liver", metrics(0.7)),
            EvaluationRow("c", "liver", metrics(math.nan, 0, 0)),
            EvaluationRow("=d", "liver", metrics(0.0, 12, 0)),
            EvaluationRow("a", "spleen", metrics(0.5)),
        ),
        2.0,
    )


def test_a_summary_leaves_out_what_is_in_neither(table: EvaluationTable) -> None:
    liver, spleen = table.summaries()
    assert (liver.cases, liver.missed, liver.invented) == (3, 1, 0)
    assert liver.spreads["dice"].mean == pytest.approx(1.6 / 3)
    assert liver.spreads["dice"].sd == pytest.approx(np.std([0.9, 0.7, 0.0], ddof=1))
    assert liver.spreads["hd95_mm"].mean == 4.0
    assert math.isnan(spleen.spreads["dice"].sd)
    assert table.mean_dice() == pytest.approx((1.6 / 3 + 0.5) / 2)


def test_the_text_is_aligned_and_shows_mean_and_deviation(table: EvaluationTable) -> None:
    head, liver, spleen = table.to_text().splitlines()
    assert "surface Dice (2 mm)" in head
    assert "3 (1 missed)" in liver
    assert "0.533 ± 0.473" in liver
    assert "0.500" in spleen
    assert "±" not in spleen
    assert len(table.to_text(cases=True).splitlines()) == 6


def test_csv_and_json_hold_every_row_and_can_be_read_back(table: EvaluationTable, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(rows) == 5
    assert rows[0]["dice"] == "0.9"
    assert rows[2]["dice"] == ""
    assert rows[3]["hd95_mm"] == "inf"
    assert rows[3]["case"] == "'=d", "a spreadsheet must not take a case for a formula"
    for name in ("t.json", "t.csv", "t.txt"):
        table.write(tmp_path / name)
    content = json.loads((tmp_path / "t.json").read_text(encoding="utf-8"))
    assert content["rows"][3]["hd95_mm"] is None
    assert content["summary"][0]["dice"]["mean"] == pytest.approx(1.6 / 3)
    assert (tmp_path / "t.csv").read_text(encoding="utf-8") == table.to_csv()
    assert (tmp_path / "t.txt").read_text(encoding="utf-8").startswith("structure")


@pytest.mark.skipif(not REAL.is_dir(), reason="the development data is not beside the repository")
def test_a_real_labelmap_against_itself_moved_by_one_voxel(tmp_path: Path) -> None:
    path = REAL / "ts_example_ct_seg.nii.gz"
    image = sitk.ReadImage(str(path))
    moved = image[:]
    array = np.roll(sitk.GetArrayFromImage(image), 1, axis=2)
    moved = sitk.GetImageFromArray(array)
    moved.CopyInformation(image)
    sitk.WriteImage(moved, str(tmp_path / "moved.nii.gz"))
    names = json.loads((REAL / "ts_example_ct.json").read_text(encoding="utf-8"))["labels"]
    structures = [Structure(name, names[name]) for name in ("spleen", "kidney_right", "liver", "aorta")]
    table = evaluate([(tmp_path / "moved.nii.gz", path)], structures, tolerance_mm=image.GetSpacing()[0] + 0.01)
    for row in table.rows:
        assert 0.8 < row.metrics.dice < 1
        assert row.metrics.surface_dice > 0.999
        assert row.metrics.hd95_mm == pytest.approx(image.GetSpacing()[0], abs=0.01)

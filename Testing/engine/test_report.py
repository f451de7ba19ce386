"""Pages: safe, complete, and without pictures where matplotlib is missing."""

from __future__ import annotations

import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fseft.cli.main import main
from fseft.evaluation.metrics import structure_metrics
from fseft.evaluation.table import EvaluationRow, EvaluationTable
from fseft.report import html
from fseft.report.adapt_report import write_adapt_report
from fseft.report.segment_report import write_segment_report
from fseft.scan.writing import write_labelmap, write_scan
from fseft.structures import Structure
from report_makers import PNG, scene
from test_adaptation import write_cases


class Collector(HTMLParser):
    """Which tags and attributes a page has, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Collector:
    collector = Collector()
    collector.feed(page)
    return collector


def test_no_text_can_become_code() -> None:
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    table = html.Table((evil,), [(evil, 3, None)], evil)
    page = html.html_page(evil, [html.Section(evil, (evil,), (table,), (html.Picture(PNG, evil),))], evil)
    found = read(page)
    assert {tag for tag, _ in found.tags}.isdisjoint({"script", "iframe", "link"})
    assert [a["src"] for tag, a in found.tags if tag == "img"] == ["data:image/png;base64,iVBORw0KGgo="]
    assert all("onerror" not in attributes for _, attributes in found.tags)
    # Title, heading, section, paragraph, caption, column, cell, picture, footer: all there, all as text.
    assert found.text.count(evil) == 9


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    section = html.section_of("Result", {"name": "liver", "url": "https://example.org/"})
    path = html.write_html(tmp_path / "report.html", "Report", [section], "made by FSEFT")
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?https?:", page)
    assert "default-src 'none'" in page
    with pytest.raises(ValueError, match="PNG"):
        html.html_page("t", [html.Section("s", pictures=(html.Picture(b"GIF89a", ""),))])


def test_a_result_is_shown_as_it_is() -> None:
    content = {
        "method": "spatial-adapter",
        "refined": True,
        "shots": 3,
        "structures": [{"name": "liver", "volume_ml": 1512.4}, {"name": "spleen", "flag": "small"}],
        "priors": {"liver": {"low_ml": 1200.0}, "spleen": {"low_ml": 0.1234}},
        "timings": {"features": 12.5},
        "loss": [0.9, 0.8],
        "notes": ["a", "b"],
    }
    text = read(html.html_page("t", [html.section_of("Adapted model", content)])).text
    for said in ("spatial-adapter", "yes", "1512", "small", "1200", "0.123", "12.5", "a, b", "volume ml"):
        assert said in text
    assert "0.9" not in text, "curves are pictures"


def test_values_are_for_people() -> None:
    values = [None, float("nan"), float("inf"), True, 0.12345, 12.345, 12345.6, 7, {"low_ml": 2.0}]
    assert [html.format_value(v) for v in values] == ["–", "–", "∞", "yes", "0.123", "12.3", "12346", "7", "low ml 2.0"]


def test_an_evaluation_is_shown_with_every_case() -> None:
    mask = np.zeros((6, 6, 6), dtype=bool)
    mask[1:4, 1:4, 1:4] = True
    rows = [
        EvaluationRow(case, "liver", structure_metrics(np.roll(mask, shift, 0), mask, (1.0, 1.0, 1.0)))
        for case, shift in (("a", 0), ("b", 1))
    ]
    text = read(html.html_page("t", [html.evaluation_section(EvaluationTable(tuple(rows), 2.0))])).text
    assert "0.833 ± 0.236" in text
    assert "surface Dice (2 mm)" in text
    assert "0.667" in text


MODEL = {
    "format": "fseft-model",
    "name": "organs",
    "structures": [{"name": "liver", "value": 1}, {"name": "<b>stomach</b>", "value": 2}],
    "method": "spatial-adapter",
    "backbone": "fseft-mini",
    "backbone_sha256": "c" * 64,
    "shots": 3,
    "priors": {
        "liver": {
            "mean_ml": 1500.0,
            "low_ml": 1050.0,
            "high_ml": 1950.0,
            "source": "3 annotated cases",
            "volumes_ml": [],
        }
    },
    "training": {
        "settings": {"learning_rate": 0.0001, "crop": 96},
        "stopped": "plateau",
        "seconds": 61.5,
        "loss": [0.9, 0.4, 0.2],
        "structure_dice_loss": {"liver": [0.8, None, 0.1], "<b>stomach</b>": [0.9, 0.7, 0.6]},
    },
    "validation": {
        "kind": "leave-one-out",
        "table": {
            "zero-shot": {
                "liver": {"dice": 0.7, "sd": 0.02, "surface_dice": None, "volume_error_ml": None, "cases": 3}
            },
            "spatial-adapter": {
                "liver": {"dice": 0.912, "sd": 0.01, "surface_dice": 0.88, "volume_error_ml": 42.5, "cases": 3},
                "<b>stomach</b>": {"dice": 0.5, "sd": None, "surface_dice": None, "volume_error_ml": None, "cases": 1},
            },
        },
        "chosen": "spatial-adapter",
        "verdict": "Good for the liver.",
        "advice": "The stomach limits the model.",
    },
    "created": "2024-05-06T07:08:09+00:00",
    "versions": {"fseft": "9.9.9", "torch": "2.0"},
    "location": {"kind": "atlas", "scans": 3},
}


def test_a_models_page_tells_how_good_it_is_and_how_it_learnt(tmp_path: Path) -> None:
    page = write_adapt_report(tmp_path / "model.html", MODEL).read_text(encoding="utf-8")
    found = read(page)
    for said in (
        "Adapted model organs", "Good for the liver.", "The stomach limits the model.", "0.912 ± 0.010",
        "0.700 ± 0.020",
        "Dice, spatial-adapter (chosen)", "42.5", "1050",
            "the loss no longer improved", "0.0001", "9.9.9", "c" * 64, "<b>stomach</b>",
        "2024-05-06 07:08:09 UTC", "A mean is over the structures that the method could be scored on",
        "No annotated scan shows these whole: <b>stomach</b>.", "atlas", "0.706",
    ):  # fmt: skip
        assert said in found.text, said
    assert "b" not in {tag for tag, _ in found.tags}
    assert sum(tag == "img" for tag, _ in found.tags) == 2
    assert "leave-one-out" in found.text


def test_a_models_page_says_what_the_atlas_is_and_what_has_to_be_known_of_the_figures(tmp_path: Path) -> None:
    record: dict[str, Any] = MODEL["validation"]  # type: ignore[assignment]
    row = {name: {**score, "dice": 0.654} for name, score in record["table"]["spatial-adapter"].items()}
    table = {"spatial-adapter": record["table"]["spatial-adapter"], "atlas": row}
    validation = {**record, "table": table, "compared": ["atlas"], "note": "Trained from the start."}
    page = write_adapt_report(tmp_path / "model.html", {**MODEL, "validation": validation}).read_text(encoding="utf-8")
    text = read(page).text
    for said in ("Dice, atlas", "0.654", "Atlas: annotations carried over by registration", "Trained from the start."):
        assert said in text, said
    assert "A mean is over" not in text, "both methods are scored on the same structures"


def test_a_model_without_records_still_has_a_page(tmp_path: Path) -> None:
    found = read(
        write_adapt_report(tmp_path / "m.html", {"name": "bare", "structures": []}).read_text(encoding="utf-8")
    )
    assert "bare" in found.text
    assert "Validation" not in found.text
    assert "Expected volumes" not in found.text
    unchecked = {**MODEL, "validation": {}}
    text = read(write_adapt_report(tmp_path / "m.html", unchecked).read_text(encoding="utf-8")).text
    assert "<b>stomach</b> has the lowest Dice on training crops" in text


def test_pages_say_that_pictures_need_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    found = read(write_adapt_report(tmp_path / "model.html", MODEL).read_text(encoding="utf-8"))
    assert "need the package matplotlib" in found.text
    assert "0.912" in found.text
    assert all(tag != "img" for tag, _ in found.tags)


def segmented(tmp_path: Path, name: str) -> tuple[dict[str, Any], tuple[Path, None]]:
    scan, labels = scene()
    scan.hounsfield[:] = np.where(labels > 0, 90, np.random.default_rng(0).normal(20, 30, labels.shape))
    write_scan(scan, tmp_path / f"{name}.nii.gz")
    write_labelmap(labels, scan.geometry, tmp_path / f"{name}.seg.nrrd", [Structure("liver", 1)])
    liver: dict[str, Any] = {
        "name": "liver", "value": 1, "volume_ml": 1234.5, "expected_ml": [900.0, 1100.0], "predicted_dice": 0.87,
        "before_ml": 1500.0, "flags": ["larger than expected"], "centre_index": [15.0, 12.0, 9.0],
    }  # fmt: skip
    spleen = {"name": "spleen", "value": 2, "volume_ml": 0.0, "expected_ml": None, "flags": [], "centre_index": None}
    report: dict[str, Any] = {
        "name": name, "structures": [liver, spleen], "model": {"name": "organs", "method": "linear-probe"},
        "backbone": {"id": "fseft-mini"}, "seconds": {"reading": 1.5}, "versions": {"fseft": "9.9.9"},
        "output": str(tmp_path / f"{name}.seg.nrrd"),
    }  # fmt: skip
    return report, (tmp_path / f"{name}.nii.gz", None)


def test_a_segmentations_page_has_volumes_flags_and_slices(tmp_path: Path) -> None:
    pairs = [segmented(tmp_path, name) for name in ("first", "second")]
    reports, files = [report for report, _ in pairs], [file for _, file in pairs]
    path = write_segment_report(tmp_path / "page.html", "organs", reports, files, [Structure("liver", 1)])
    found = read(path.read_text(encoding="utf-8"))
    for said in ("All scans", "first", "second", "1234", "900.0 to 1100", "0.87", "before ml", "1500", "predicted Dice",
                 "larger than expected", "spleen", "9.9.9"):  # fmt: skip
        assert said in found.text, said
    assert sum(tag == "img" for tag, _ in found.tags) == 2
    assert str(tmp_path) not in found.text


def test_a_segmentations_page_tells_intervals_refinement_and_scans_unlike_the_annotated_ones(tmp_path: Path) -> None:
    report, file = segmented(tmp_path, "one")
    liver, spleen = report["structures"]
    liver |= {
        "predicted_dice": {"value": 0.871, "low": 0.7, "high": 0.95},
        "refinement": {
            "action": "refined", "why": "", "before_ml": 1500.0, "after_ml": 1234.5, "changed_ml": 280.0,
            "centre_index": [1.0, 2.0, 3.0],
        },
        "notes": ["in 2 separate pieces"],
    }  # fmt: skip
    spleen |= {
        "predicted_dice": None,
        "refinement": {"action": "refused", "why": "No annotated scan could be brought into line with this one."},
    }
    report["flags"] = ["unlike the annotated scans"]
    path = write_segment_report(tmp_path / "page.html", "organs", [report, report], [file] * 2, [Structure("liver", 1)])
    text = read(path.read_text(encoding="utf-8")).text
    for said in ("0.87 (0.70 to 0.95)", "nine of ten", "1500 to 1234 ml (280.0 ml changed)", "in 2 separate pieces",
                 "refused", "Look at this scan: unlike the annotated scans.",
                 "unlike the annotated scans, liver"):  # fmt: skip
        assert said in text, said
    assert "centre index" not in text
    liver["refinement"]["changed_ml"] = 0.0
    for entry in report["structures"]:
        entry["predicted_dice"] = None
    spleen["refinement"] = None
    path = write_segment_report(tmp_path / "page.html", "organs", [report], [file], [Structure("liver", 1)])
    text = read(path.read_text(encoding="utf-8")).text
    assert "unchanged" in text
    assert "predicted Dice" not in text, "a column that is empty everywhere is left out"


def test_a_page_whose_labelmap_is_gone_keeps_its_tables(tmp_path: Path) -> None:
    report, file = segmented(tmp_path, "one")
    (tmp_path / "one.seg.nrrd").unlink()
    path = write_segment_report(tmp_path / "page.html", "organs", [report], [file], [Structure("liver", 1)])
    found = read(path.read_text(encoding="utf-8"))
    assert "There is no picture" in found.text
    assert "1234" in found.text


def test_the_commands_write_their_pages(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_backbone, tmp_path / "home" / "backbones" / "tiny")
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    files = write_cases(tmp_path, (0, 1))
    case = [str(files[0].scan), str(files[0].annotation)]
    settings = [part for text in ("crop=32", "crops_per_step=1", "steps=2") for part in ("--setting", text)]
    adapt = ["--quiet", "adapt", "m", "--case", *case, "--structure", "ball=1", "--structure", "rod=4", *settings]
    adapt += ["--backbone", "tiny", "--device", "cpu", "--method", "linear-probe"]
    assert main([*adapt, "--report", str(tmp_path / "model.html")]) == 0
    assert "Adapted model m" in (tmp_path / "model.html").read_text(encoding="utf-8")
    segment = ["--quiet", "segment", "m", str(files[1].scan), "--output", str(tmp_path / "out.nii.gz")]
    segment += ["--device", "cpu", "--report", str(tmp_path / "scan.html")]
    assert main(segment) == 0
    assert "Segmented with m" in (tmp_path / "scan.html").read_text(encoding="utf-8")

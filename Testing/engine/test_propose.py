"""The job and the command that propose an annotation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import STRUCTURES, make_scan
from fseft.adaptation.adapt import CaseFiles, adapt
from fseft.cli.main import main
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.jobs.job import Job
from fseft.jobs.kinds import run_job
from fseft.models.adapted_model import save_model
from fseft.phantom import make_phantom
from fseft.phantom.generator import Phantom
from fseft.reporting import SILENT
from fseft.scan.reading import read_volume
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap, write_scan
from location_makers import dice
from test_adaptation import QUICK, write_cases


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return make_phantom(1, "abdomen", (6.0, 6.0, 6.0))


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
    assert sorted(path.name for path in output.parent.iterdir()) == ["draft.report.json", output.name]
    assert json.loads((output.parent / "draft.report.json").read_text("utf-8"))["structures"] == report["structures"]


def test_a_scan_that_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    cases = write_cases(tmp_path, (0, 1))
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"not a scan")
    asked = parameters(cases[:1], cases[1].scan, tmp_path / "draft.nii.gz")
    asked["scans"].insert(0, {"scan": str(broken), "output": str(tmp_path / "none.nii.gz"), "name": "broken"})
    result = run_job(Job("propose", asked), SILENT)
    assert [report["name"] for report in result["scans"]] == ["new"]
    assert [entry["name"] for entry in result["left_out"]] == ["broken"]


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
    assert main([*arguments, "--overwrite"]) == 0
    capsys.readouterr()
    # A file that no draft's report lies beside may be an annotation.
    drawn = tmp_path / "named.seg.nrrd"
    before = drawn.read_bytes()
    again = ["--quiet", "propose", "--case", str(cases[0].scan), str(cases[0].annotation), "--scan", str(cases[1].scan)]
    assert main([*again, "--output", str(drawn), "--overwrite"]) == 2
    assert "output-not-a-result" in capsys.readouterr().err
    assert drawn.read_bytes() == before

"""The doctor's report, and the memory figures of every operating system."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fseft.backbones.networks import build_network
from fseft.backbones.specification import BackboneSpecification, FeatureLevel
from fseft.backbones.weights import save_backbone
from fseft.system import doctor, memory


@pytest.fixture
def resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resource folder with one small backbone; returns the backbone's folder."""
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FSEFT_RESOURCES", str(tmp_path / "resources"))
    monkeypatch.setattr("fseft.resources._PACKAGE", tmp_path / "nowhere" / "fseft")
    specification = BackboneSpecification(
        id="tiny",
        title="Tiny",
        architecture="compact-unet",
        architecture_parameters={"detail": 2, "widths": [2, 2, 2, 2]},
        spacing_mm=(3.0, 3.0, 3.0),
        windows_hu=((-175.0, 250.0),),
        patch=(16, 16, 16),
        levels=(FeatureLevel(1, 2), FeatureLevel(2, 2), FeatureLevel(4, 2), FeatureLevel(8, 2)),
        classes=("liver",),
    )
    folder = tmp_path / "resources" / "Backbones" / "tiny"
    save_backbone(build_network(specification), folder)
    return folder


def test_the_report_is_json_and_the_text_says_the_same(resources: Path) -> None:
    found = doctor.examine()
    report = json.loads(json.dumps(found.report, allow_nan=False))
    assert found.healthy
    assert report["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    for package in doctor.REQUIRED:
        assert report["versions"][package]
        assert f"{package} {report['versions'][package]}" in found.text
    assert report["processor"]["cores"] >= 1
    assert report["memory"]["available_bytes"] <= report["memory"]["total_bytes"]
    assert {entry["purpose"] for entry in report["disk"]} == {"home", "cache"}
    assert "backbone   tiny: bundled, checksum right" in found.text
    for finding in report["findings"]:
        assert finding["message"] in found.text
        assert finding["hint"]


def test_a_damaged_bundled_backbone_is_an_error(resources: Path) -> None:
    weights = resources / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    damaged = doctor.examine()
    assert not damaged.healthy
    assert "error: Backbone tiny: its weights fail their checksum." in damaged.text
    weights.unlink()
    assert "weights file is missing" in doctor.examine().text
    (resources / "specification.json").write_text("{}")
    assert "cannot be read" in doctor.examine().text


def test_no_backbone_at_all_is_an_error(resources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSEFT_RESOURCES", str(resources / "elsewhere"))
    found = doctor.examine()
    assert not found.healthy
    assert "The backbone that comes with FSEFT is not here." in found.text


def test_missing_packages_are_findings_not_crashes(resources: Path) -> None:
    # In a process of its own: the packages are hidden by refusing their import.
    program = (
        "import sys, json\n"
        "sys.modules.update(torch=None, platformdirs=None, SimpleITK=None)\n"
        "from fseft.system import doctor\n"
        "doctor.REQUIRED['a-package-that-is-not-there'] = '1'\n"
        "found = doctor.examine()\n"
        "print(json.dumps([found.healthy, found.text]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    )
    healthy, text = json.loads(done.stdout)
    assert not healthy
    assert "a-package-that-is-not-there is not installed" in text


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(doctor.__file__).parents[2])}


def base_report() -> dict[str, Any]:
    return {
        "fseft": "1",
        "system": "Test",
        "versions": {"python": "3.12.1", **{p: v + ".0" for p, v in (doctor.REQUIRED | doctor.OPTIONAL).items()}},
        "processor": {"cores": 8, "threads": 8, "vectors": "AVX2", "bfloat16": False, "amx": False, "avx512": False},
        "devices": [{"device": "cuda:0", "name": "GPU", "total_bytes": 8e9, "free_bytes": 7e9, "works": True}],
        "memory": {"total_bytes": 16e9, "available_bytes": 12e9},
        "disk": [{"purpose": "cache", "folder": "~/cache", "free_bytes": 50e9}],
        "backbones": [{"id": "fseft-mini", "bundled": True, "problem": ""}],
    }


def findings_with(**changes: Any) -> list[tuple[str, str]]:
    report = copy.deepcopy(base_report())
    for key, value in changes.items():
        report[key] = {**report[key], **value} if isinstance(value, dict) else value
    found = doctor.findings(report)
    report["findings"] = [vars(finding) for finding in found]
    assert all(finding.message in doctor.as_text(report) for finding in found)
    return [(finding.level, finding.message) for finding in found]


def test_a_good_machine_has_no_findings() -> None:
    assert findings_with() == []


@pytest.mark.parametrize(
    ("changes", "level", "said"),
    [
        ({"versions": {"monai": None}}, "error", "monai is not installed"),
        ({"versions": {"torch": "2.1.2+cu118"}}, "warning", "torch 2.1.2+cu118 is older than 2.2"),
        ({"versions": {"matplotlib": None}}, "note", "matplotlib is not installed"),
        ({"devices": []}, "note", "no graphics processor"),
        ({"devices": [], "processor": {"cores": 1}}, "note", "Only 1 processor core may"),
        ({"devices": [{"device": "cuda:0", "works": False, "problem": "no driver"}]}, "warning", "no driver"),
        ({"memory": {"available_bytes": 2.5e9}}, "warning", "Only 2.5 GB of memory"),
        ({"disk": [{"purpose": "cache", "folder": "~/c", "free_bytes": 1e9}]}, "warning", "1.0 GB are free"),
        ({"backbones": [{"id": "mine", "bundled": False, "problem": ""}]}, "note", "comes with FSEFT is not here"),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, Any], level: str, said: str) -> None:
    assert any(found == level and said in message for found, message in findings_with(**changes))


def test_errors_come_first() -> None:
    levels = [level for level, _ in findings_with(versions={"monai": None}, devices=[], backbones=[])]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert levels[:2] == ["error", "error"]


def test_newer_versions_with_more_digits_are_newer() -> None:
    assert findings_with(versions={"torch": "2.13.0+cpu", "monai": "1.10rc1", "platformdirs": "4.0.0"}) == []


def test_the_home_folder_is_not_spelled_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert doctor.private(tmp_path / "data" / "fseft") == "~/data/fseft"
    assert doctor.disk("home", tmp_path / "not" / "there")["free_bytes"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux' own file")
def test_memory_is_what_linux_tells() -> None:
    text = Path("/proc/meminfo").read_text()
    total = int(next(line.split()[1] for line in text.splitlines() if line.startswith("MemTotal"))) * 1024
    found_total, found = memory.total_memory_bytes(), memory.available_memory_bytes()
    assert found_total is not None
    assert found is not None
    assert 0 < found <= found_total <= total


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(text + "\n")


def test_the_tightest_container_limit_counts(tmp_path: Path) -> None:
    group(tmp_path / "slice", max="8000000000", current="5000000000", stat="anon 1\ninactive_file 1000000000")
    group(tmp_path / "slice" / "job", max="max", current="2000000000", stat="")
    assert memory.container_left(tmp_path, "0::/slice/job\n") == 4_000_000_000
    assert memory.container_limit(tmp_path, "0::/slice/job\n") == 8_000_000_000
    group(tmp_path / "slice" / "job", max="3000000000", current="2000000000", stat="")
    assert memory.container_left(tmp_path, "0::/slice/job\n") == 1_000_000_000


def test_a_container_that_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    group(tmp_path, max="2000000000", current="500000000", stat="inactive_file 0")
    assert memory.container_left(tmp_path, "0::/docker/abc\n") == 1_500_000_000
    assert memory.container_left(tmp_path, "") == 1_500_000_000


def test_the_older_interface_and_no_limit(tmp_path: Path) -> None:
    membership = "5:cpu:/a\n4:memory:/docker/x\n"
    folder = tmp_path / "memory" / "docker" / "x"
    group(folder, limit_in_bytes="4000000000", usage_in_bytes="1000000000", stat="total_inactive_file 500000000")
    assert memory.container_left(tmp_path, membership) == 3_500_000_000
    group(folder, limit_in_bytes="9223372036854771712", usage_in_bytes="1", stat="")
    assert memory.container_left(tmp_path, membership) is None
    assert memory.container_left(tmp_path / "none", membership) is None


def test_macos_pages_are_added_up() -> None:
    text = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               1000.\n"
        "Pages active:                           900000.\n"
        "Pages inactive:                           2000.\n"
        "Pages speculative:                         300.\n"
        "Pages wired down:                       100000.\n"
        "Pages purgeable:                            40.\n"
    )
    assert memory.parse_vm_stat(text) == 3340 * 16384
    assert memory.parse_vm_stat("command not found") is None

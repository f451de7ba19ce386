"""Folders of phantoms on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.adaptation.support_files import collect_support
from fseft.errors import Cancelled, InputError
from fseft.phantom import make_phantom
from fseft.phantom.command import write_phantoms
from fseft.reporting import Reporter
from fseft.scan.geometry import Geometry


class Listening(Reporter):
    def __init__(self, cancel_after: int = 99) -> None:
        self.heard: list[tuple[float, float]] = []
        self.cancel_after = cancel_after

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        self.heard.append((done, total))

    def check_cancelled(self) -> None:
        if len(self.heard) >= self.cancel_after:
            raise Cancelled()


def test_files_hold_the_phantoms(tmp_path: Path) -> None:
    reporter = Listening()
    written = write_phantoms(tmp_path, 2, 40, "abdomen", (8.0, 8.0, 8.0), reporter)
    assert reporter.heard == [(1, 2), (2, 2)]
    description: dict[str, Any] = json.loads((tmp_path / "dataset.json").read_text())
    for seed, (scan_path, labels_path) in zip((40, 41), written, strict=True):
        phantom = make_phantom(seed, "abdomen", (8.0, 8.0, 8.0))
        scan, labels = sitk.ReadImage(str(scan_path)), sitk.ReadImage(str(labels_path))
        assert np.array_equal(sitk.GetArrayFromImage(scan), phantom.scan.hounsfield)
        assert np.array_equal(sitk.GetArrayFromImage(labels), phantom.labels)
        assert Geometry.of_image(labels).same_grid(phantom.scan.geometry)
        assert Geometry.of_image(scan).same_grid(phantom.scan.geometry)
        for structure in phantom.structures:
            assert description["labels"][structure.name] == structure.value
    assert description["numTraining"] == 2


def test_the_folder_is_a_support_set(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 2, 3, "abdomen", (9.0, 9.0, 9.0))
    cases, structures = collect_support(tmp_path)
    assert [c.name for c in cases] == ["phantom-abdomen-00003", "phantom-abdomen-00004"]
    assert {"liver", "spleen", "left kidney"} <= {s.name for s in structures}


def test_what_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    """Somebody may have corrected the labels, or keep a list of another data set here."""
    ((_, labels),) = write_phantoms(tmp_path / "mine", 1, 3, "abdomen", (9.0, 9.0, 9.0))
    before, listed = labels.read_bytes(), (tmp_path / "mine" / "dataset.json").read_bytes()
    for seed in (3, 4):  # the same phantom; another one, whose list would take the place of this one's
        with pytest.raises(InputError) as caught:
            write_phantoms(tmp_path / "mine", 1, seed, "abdomen", (8.0, 8.0, 8.0))
        assert caught.value.code == "output-exists"
    assert labels.read_bytes() == before
    assert (tmp_path / "mine" / "dataset.json").read_bytes() == listed
    write_phantoms(tmp_path / "mine", 1, 3, "abdomen", (8.0, 8.0, 8.0), overwrite=True)
    assert labels.read_bytes() != before


def test_phantoms_are_not_mixed_with_somebodys_scans(tmp_path: Path) -> None:
    scan = tmp_path / "mine" / "images" / "ct1.nii.gz"
    scan.parent.mkdir(parents=True)
    scan.write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for place in ("mine", "file"):
        with pytest.raises(InputError) as caught:
            write_phantoms(tmp_path / place, 1, 3, "abdomen", (9.0, 9.0, 9.0), overwrite=True)
        assert caught.value.code == "phantom-folder-in-use"
    assert not (tmp_path / "mine" / "dataset.json").exists()


def test_cancelling_leaves_no_description(tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        write_phantoms(tmp_path, 3, 0, "chest", (9.0, 9.0, 9.0), Listening(cancel_after=1))
    assert not (tmp_path / "dataset.json").exists()
    write_phantoms(tmp_path, 1, 0, "chest", (9.0, 9.0, 9.0), overwrite=True)  # what was left is no obstacle


def test_no_phantoms_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_phantoms(tmp_path, 0, 0, "chest", (9.0, 9.0, 9.0))
    assert caught.value.code == "phantom-bad-count"

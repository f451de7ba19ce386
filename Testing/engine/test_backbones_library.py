"""Bundled and installed backbones: found, listed, protected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from fseft import resources
from fseft.backbones import library
from fseft.backbones.networks import build_network
from fseft.backbones.registry import PUBLISHED
from fseft.backbones.specification import BackboneSpecification, FeatureLevel
from fseft.backbones.weights import save_backbone
from fseft.errors import BackboneError


def tiny(identifier: str) -> BackboneSpecification:
    return BackboneSpecification(
        id=identifier,
        title="Tiny",
        architecture="compact-unet",
        architecture_parameters={"detail": 2, "widths": [2, 2, 2, 2]},
        spacing_mm=(3.0, 3.0, 3.0),
        windows_hu=((-175.0, 250.0),),
        patch=(16, 16, 16),
        levels=(FeatureLevel(1, 2), FeatureLevel(2, 2), FeatureLevel(4, 2), FeatureLevel(8, 2)),
        classes=("liver",),
    )


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resource folder with one backbone, and an empty home."""
    torch.manual_seed(0)
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FSEFT_RESOURCES", str(tmp_path / "resources"))
    folder = tmp_path / "resources" / "Backbones" / "tiny"
    save_backbone(build_network(tiny("tiny")), folder)
    return folder


def test_the_chosen_resource_folder_comes_first(bundled: Path) -> None:
    assert resources.resource_folders()[0] == bundled.parent.parent
    assert library.find_backbone("tiny") == bundled


def test_resources_are_found_beside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FSEFT_RESOURCES", raising=False)
    package = tmp_path / "FSEFTSegment" / "fseft"
    package.mkdir(parents=True)
    monkeypatch.setattr(resources, "_PACKAGE", package)
    assert resources.resource_folders() == []
    (tmp_path / "Resources").mkdir()
    assert resources.resource_folders() == [], "a folder above the package counts only in this repository"
    (tmp_path / "FSEFT.s4ext").touch()
    (package / "resources").mkdir()
    (package.parent / "Resources").mkdir()
    assert resources.resource_folders() == [package / "resources", package.parent / "Resources", tmp_path / "Resources"]


def test_the_listing_has_bundled_then_published(bundled: Path) -> None:
    listing = {status.id: status for status in library.available_backbones()}
    assert listing["tiny"].installed
    assert listing["tiny"].bundled
    assert listing["tiny"].folder == bundled
    for identifier in PUBLISHED:
        assert not listing[identifier].installed
        assert listing[identifier].how_to_get


def test_a_bundled_backbone_loads_and_stays(bundled: Path, tmp_path: Path) -> None:
    assert library.load("tiny").specification.title == "Tiny"
    with pytest.raises(BackboneError) as caught:
        library.remove_backbone("tiny")
    assert caught.value.code == "backbone-bundled"
    assert bundled.is_dir()
    copy = tmp_path / "copy"
    shutil.copytree(bundled, copy)
    with pytest.raises(BackboneError) as caught:
        library.import_backbone(copy, "tiny")
    assert caught.value.code == "backbone-id-taken"


def test_a_folder_of_the_users_is_imported_and_removed(bundled: Path, tmp_path: Path) -> None:
    save_backbone(build_network(tiny("mine")), tmp_path / "made")
    library.import_backbone(tmp_path / "made", "mine")
    assert library.load("mine").specification.id == "mine"
    status = {s.id: s for s in library.available_backbones()}["mine"]
    assert status.installed
    assert not status.bundled
    library.remove_backbone("mine")
    assert "mine" not in {s.id for s in library.available_backbones()}


def test_a_folder_is_imported_under_its_own_identifier_only(bundled: Path, tmp_path: Path) -> None:
    save_backbone(build_network(tiny("mine")), tmp_path / "made")
    with pytest.raises(BackboneError, match="not 'yours'"):
        library.import_backbone(tmp_path / "made", "yours")
    for bad in ("../outside", "", "Mine/..", "a" * 80):
        with pytest.raises(BackboneError) as caught:
            library.import_backbone(tmp_path / "made", bad)
        assert caught.value.code == "backbone-unknown"


@pytest.mark.parametrize("identifier", ["nonsense", "../tiny", "", "."])
def test_unknown_identifiers_are_named(bundled: Path, identifier: str) -> None:
    with pytest.raises(BackboneError) as caught:
        library.find_backbone(identifier)
    assert caught.value.code == "backbone-unknown"
    assert "tiny" in caught.value.hint


def test_a_published_backbone_that_is_not_here_says_how_to_get_it(bundled: Path) -> None:
    with pytest.raises(BackboneError) as caught:
        library.find_backbone("fseft")
    assert caught.value.code == "backbone-not-installed"
    assert "fseft.pth" in caught.value.hint
    with pytest.raises(BackboneError) as caught:
        library.download_backbone("fseft")
    assert caught.value.code == "backbone-no-download"
    assert "fseft.pth" in caught.value.hint


def test_a_damaged_folder_does_not_hide_the_others(bundled: Path) -> None:
    broken = library.user_folder() / "broken"
    broken.mkdir(parents=True)
    (broken / "specification.json").write_text("{}")
    liar = library.user_folder() / "liar"
    liar.mkdir()
    (liar / "specification.json").write_text(json.dumps(tiny("tiny").to_json()))
    installed = [s.id for s in library.available_backbones() if s.installed]
    assert installed[0] == "tiny"
    assert not {"broken", "liar"} & set(installed)
    with pytest.raises(BackboneError) as caught:
        library.load("broken")
    assert caught.value.code == "backbone-specification-invalid"


def test_changed_weights_are_refused(bundled: Path) -> None:
    weights = bundled / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        library.load("tiny")
    assert caught.value.code == "backbone-weights-damaged"

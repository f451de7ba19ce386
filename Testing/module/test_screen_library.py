"""The dialogs on real Qt without a display: the model library, backbones and the cache."""

from __future__ import annotations

import hashlib
import json

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

from fseft.models.description import checksum_of  # noqa: E402
from fseft.models.library import export_model, list_models  # noqa: E402
from fseft.models.versions import list_versions  # noqa: E402
from FSEFTSegmentLib import library  # noqa: E402
from FSEFTSegmentLib.panels import library_dialog  # noqa: E402
from screen_kit import VALIDATED, click, finish, menu_texts, ready_to_adapt, spin  # noqa: E402


def write_model(folder, method, created):
    weights = f"weights of {method}".encode()
    prior = {
        "low_ml": 10.0,
        "high_ml": 20.0,
        "mean_ml": 15.0,
        "volumes_ml": [12.0, 18.0],
        "source": "2 annotated scans",
    }
    content = {
        **VALIDATED,
        "priors": {"structure 1": prior},
        "format": "fseft-model",
        "version": 1,
        "name": "mine",
        "method": method,
        "created": created,
        "shots": 2,
        "backbone": "fseft-mini",
        "backbone_sha256": "0" * 64,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({**content, "checksum": checksum_of(content)}), encoding="utf-8")
    (folder / "weights.safetensors").write_bytes(weights)
    return content


def test_a_model_is_rolled_back_and_forth(screen, tmp_path, monkeypatch, dialogs):
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(library, "models", list_models)
    folder = tmp_path / "home" / "models" / "mine"
    now = write_model(folder, "spatial-adapter", "2026-02-02T10:00:00")
    write_model(tmp_path / "home" / "models" / "other", "linear-probe", "2026-01-01T10:00:00")
    write_model(folder / "versions" / "0001", "linear-probe", "2026-02-01T09:30:12")
    screen.session.state.choose("card", now)
    screen.show_library()
    dialog = screen._library
    button = dialog.buttons["roll back"]
    dialog.table.setCurrentCell(1, 0)
    assert "no earlier version" in button.toolTip
    assert not button.enabled
    dialog.table.setCurrentCell(0, 0)
    assert button.enabled
    dialog.fill_versions()
    assert menu_texts(dialog.versions_menu) == ["2026-02-01 09:30, linear-probe, 2 annotated scan(s), Dice 0.91"]
    dialogs.answer = False
    dialog.versions_menu.actions()[0].trigger()
    assert "as it was" in dialogs.questions[-1]
    assert dialog.table.item(0, 2).text() == "spatial-adapter"
    dialogs.answer = True
    dialog.versions_menu.actions()[0].trigger()
    assert dialogs.errors == []
    assert dialog.table.item(0, 2).text() == "linear-probe"
    assert "linear" in screen.adapt.ui.card.text
    dialog.fill_versions()
    dialog.versions_menu.actions()[0].trigger()
    assert dialog.table.item(0, 2).text() == "spatial-adapter"
    (list_versions(folder)[0].folder / "weights.safetensors").write_bytes(b"other")
    dialog.fill_versions()
    dialog.versions_menu.actions()[0].trigger()
    assert "checksum" in dialogs.errors[-1]
    dialog.dialog.accept()


def test_backbones_are_downloaded_imported_and_explained(screen, monkeypatch, dialogs):
    from FSEFTSegmentLib.panels import storage_dialog

    choices = [
        library.BackboneChoice("fseft-mini", "FSEFT mini", True, True, 12),
        library.BackboneChoice("open", "Open", False, False, 250, "MIT", "somewhere", can_download=True),
        library.BackboneChoice("closed", "Closed", False, False, 0, "ask", "elsewhere"),
    ]
    monkeypatch.setattr(library, "list_backbones", lambda: choices)
    monkeypatch.setattr(storage_dialog, "ask_file_to_read", lambda *_: "/weights.pth")
    screen.show_storage()
    dialog = screen._storage
    assert dialog.download_button.toolTip == "Select a backbone first."
    dialog.table.setCurrentCell(0, 0)
    assert dialog.download_button.toolTip == "It is installed."
    assert dialog.remove_button.toolTip == "It came with FSEFT."
    dialog.table.setCurrentCell(2, 0)
    assert "no verified address" in dialog.download_button.toolTip
    click(dialog.import_button)
    finish(screen)
    job = screen.session.activity("backbone").job
    assert job.parameters == {"action": "import", "backbone": "closed", "file": "/weights.pth"}
    dialog.table.setCurrentCell(1, 0)
    click(dialog.download_button)
    assert "Licence: MIT" in dialogs.questions[-1]
    assert not dialog.import_button.enabled
    finish(screen)
    assert dialog.job_view.ui.phase.text == "Done."
    dialog.dialog.accept()


def test_the_cache_is_cleared_between_jobs_only(screen, scene, tmp_path, monkeypatch):
    monkeypatch.setenv("FSEFT_CACHE", str(tmp_path / "cache"))
    features = tmp_path / "cache" / "features"
    features.mkdir(parents=True)
    (features / "volume").write_bytes(bytes(1 << 20))
    ready_to_adapt(screen, scene)
    screen.show_storage()
    dialog = screen._storage
    assert dialog.clear_button.enabled
    screen.session.state.choose("device", "slow")
    screen.session.adapt({"name": "mine", "device": "slow"})
    spin(lambda: screen.session.activity("adapt").stage.value == "running")
    assert dialog.clear_button.toolTip == "A job is using it."
    dialog.clear_cache()
    assert features.is_dir()
    screen.session.cancel("adapt")
    finish(screen)
    click(dialog.clear_button)
    assert not features.exists()
    assert dialog.clear_button.toolTip == "It is empty."
    dialog.dialog.accept()


def test_a_model_is_imported_under_another_name_and_shown_by_it(screen, tmp_path, monkeypatch, dialogs):
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(library, "models", list_models)
    card = write_model(tmp_path / "home" / "models" / "mine", "spatial-adapter", "2026-02-02T10:00:00")
    screen.session.state.choose("card", card)
    export_model("mine", tmp_path / "mine.zip")
    asked = []
    monkeypatch.setattr(library_dialog, "ask_file_to_read", lambda *_: str(tmp_path / "mine.zip"))
    monkeypatch.setattr(library_dialog, "ask_text", lambda _title, text, *_: asked.append(text) or "theirs")
    screen.show_library()
    dialog = screen._library
    click(dialog.buttons["import"])
    assert asked == ["The library already has a model 'mine'. Name for the imported one:"]
    assert [entry.name for entry in dialog.entries] == ["mine", "theirs"]
    dialog.table.setCurrentCell(1, 0)
    assert "<b>theirs</b>" in dialog.details.text
    dialog.delete_model()
    dialog.rename_model()
    assert [entry.name for entry in dialog.entries] == ["theirs"]
    assert screen.session.state.choice("card", None)["name"] == "theirs"
    assert dialogs.errors == []
    dialog.dialog.accept()

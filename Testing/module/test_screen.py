"""The screen on real Qt without a display: enabled states and their reasons, and every step by clicking."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins
from fseft.models.description import checksum_of
from fseft.models.library import list_models
from fseft.models.versions import list_versions
from FSEFTSegmentLib.jobs.processes import SubprocessProcess
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.session import Session
from mrml_makers import add_volume, random_ct

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib import library  # noqa: E402
from FSEFTSegmentLib.panels import common, review_panel  # noqa: E402
from FSEFTSegmentLib.panels.card import card_html, methods_table_html, millilitres, structure_rows  # noqa: E402
from FSEFTSegmentLib.panels.dependencies_panel import DependenciesPanel  # noqa: E402
from FSEFTSegmentLib.panels.loss_plot import thinned  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402

WORKER = Path(__file__).with_name("flow_worker.py")


class Entry:
    """A model of the library."""

    name = "mine"
    problem = ""
    description = {  # noqa: RUF012
        "name": "mine",
        "method": "spatial-adapter",
        "structures": [
            {"name": "structure 1", "value": 1, "color": [1, 0, 0], "terminology": ""},
            {"name": "structure 2", "value": 2, "color": [0, 1, 0], "terminology": ""},
        ],
        "priors": {"structure 1": {"low_ml": 10.0, "high_ml": 20.0, "source": "3 annotated cases"}},
    }


@pytest.fixture
def dialogs():
    standins.DIALOGS.__init__()
    return standins.DIALOGS


@pytest.fixture
def models(monkeypatch):
    """The library's models; none at first."""
    entries = []
    monkeypatch.setattr(library, "models", lambda: entries)
    monkeypatch.setattr(
        library, "list_backbones", lambda: [library.BackboneChoice("fseft-mini", "FSEFT mini", True, True, 12)]
    )
    return entries


@pytest.fixture
def screen(scene, tmp_path, models, dialogs):
    slicer.mrmlScene = scene
    queue = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, folder=str(tmp_path), grace_s=0.5)
    session = Session(scene, queue, run_soon, scene.fseft_logics["Sequences"], tmp_path)
    window = qt.QWidget()
    layout = qt.QVBoxLayout(window)
    screen = Screen(session, layout)
    screen.window = window
    window.geometry = qt.QRect(0, 0, 480, 1100)
    window.show()
    yield screen
    screen.clean_up()
    window.close()
    slicer.mrmlScene = None


def spin(until, seconds=30):
    app = standins.application()
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not get there in time"
        app.processEvents()
        time.sleep(0.003)


def finish(screen):
    spin(lambda: not screen.session.is_busy)
    spin(lambda: not screen.clock.active)


def draw(screen, case, *names):
    from FSEFTSegmentLib.mrml.grid import own_grid
    from FSEFTSegmentLib.mrml.segments import set_labels

    session = screen.session
    node, volume = session.support.annotation_for(case), session.state.scan(case)
    labels = np.zeros(own_grid(volume).array_shape, np.uint8)
    for position, structure in enumerate(session.state.structures):
        if structure.name in names:
            labels[2:5, 3:6, 2 + 3 * position : 5 + 3 * position] = structure.value
    set_labels(node, labels, own_grid(volume), session.state.structures)


def click(button):
    assert button.enabled, button.toolTip
    button.click()


def menu_texts(menu):
    return [action.text for action in menu.actions()]


def test_every_disabled_button_tells_why(screen):
    support, adapt, segment, review = screen.support.ui, screen.adapt.ui, screen.segment.ui, screen.review.ui
    for button, words in (
        (support.removeStructureButton, "Select a structure"),
        (support.removeCaseButton, "Add a scan"),
        (support.importButton, "Add a scan"),
        (support.annotateButton, "Add a structure first"),
        (support.proposeButton, "Add a structure first"),
        (support.suggestButton, "No scan without an annotation"),
        (adapt.adaptButton, "Add at least one structure"),
        (segment.segmentButton, "Make a model first"),
        (segment.priorsButton, "no model"),
        (segment.beforeCheck, "no result"),
        (segment.surfaceCheck, "no result"),
        (review.correctButton, "no result"),
        (review.exportButton, "nothing to export"),
        (review.tableButton, "no result"),
    ):
        assert not button.enabled
        assert words in button.toolTip, button.toolTip


def test_structures_are_added_renamed_and_removed_in_the_table(screen, monkeypatch, dialogs):
    table = screen.support.structures
    table.fill_menu()
    assert menu_texts(table.menu)[:2] == ["New…", "Standard structure"]
    next(a for a in table.presets_menu.actions() if a.text == "liver").trigger()
    monkeypatch.setattr("FSEFTSegmentLib.panels.structure_table.ask_text", lambda *_: "my lesion")
    table.menu.actions()[0].trigger()
    widget = screen.support.ui.structureTable
    assert [widget.item(row, 1).text() for row in range(widget.rowCount)] == ["liver", "my lesion"]
    assert widget.item(0, 2).text() == "Liver"
    table.fill_menu()
    assert "liver" not in menu_texts(table.presets_menu)
    widget.item(1, 1).setText("lesion")
    assert [s.name for s in screen.session.state.structures] == ["liver", "lesion"]
    widget.item(1, 1).setText("Liver")
    assert "already is a structure" in dialogs.errors[0]
    assert widget.item(1, 1).text() == "lesion"
    monkeypatch.setattr(qt.QColorDialog, "getColor", lambda *_: qt.QColor(0, 0, 255))
    widget.cellDoubleClicked.emit(1, 0)
    assert screen.session.state.structures[1].color == (0.0, 0.0, 1.0)
    widget.setCurrentCell(1, 1)
    click(screen.support.ui.removeStructureButton)
    assert [s.name for s in screen.session.state.structures] == ["liver"]


def test_cases_are_added_watched_and_annotated(screen, scene):
    session, ui = screen.session, screen.support.ui
    session.support.add_structure("liver")
    volumes = [add_volume(scene, random_ct(seed=n), name=f"CT {n}") for n in range(3)]
    cases = screen.support.cases
    cases.fill_scan_menu()
    assert menu_texts(cases.scan_menu) == ["All loaded CTs", "", "CT 0", "CT 1", "CT 2"]
    cases.scan_menu.actions()[0].trigger()
    assert ui.caseTable.rowCount == 3
    assert ui.caseTable.item(0, 1).text() == "not annotated yet"
    cases.fill_scan_menu()
    assert menu_texts(cases.scan_menu) == ["No other scan is loaded"]
    click(ui.annotateButton)
    editor = screen.support.annotator.editor
    assert editor.volume is volumes[0]
    assert editor.segmentation is session.state.annotation(session.state.cases[0])
    assert slicer.views[-1]["background"] is volumes[0]
    assert ui.editorTitle.text == "1 of 3: CT 0"
    assert not ui.previousButton.enabled
    click(ui.nextButton)
    assert editor.volume is volumes[1]
    draw(screen, session.state.cases[1], "liver")
    assert screen.support.timer.active
    spin(lambda: ui.caseTable.item(1, 1).text() == "liver")
    click(ui.doneButton)
    assert not ui.editorFrame.visible
    assert ("uninstallKeyboardShortcuts",) in editor.calls
    assert screen.adapt.ui.adaptButton.toolTip == "Give the model a name."
    ui.caseTable.item(0, 2).setCheckState(qt.Qt.Checked)
    assert session.state.cases[0].sparse
    ui.caseTable.setCurrentCell(2, 0)
    click(ui.removeCaseButton)
    assert [session.state.scan(case) for case in session.state.cases] == volumes[:2]
    scene.RemoveNode(volumes[1])
    screen.scene_changed()
    assert ui.caseTable.item(1, 0).text() == "(removed)"
    assert "no longer" in ui.caseTable.item(1, 1).text()


def test_an_existing_segmentation_becomes_the_annotation(screen, scene):
    from mrml_makers import STRAIGHT, add_segmentation, blocks, structures

    session = screen.session
    session.support.add_scans([add_volume(scene)])
    node = add_segmentation(scene, blocks(), STRAIGHT, structures("liver", "spleen"), "old work")
    screen.support.cases.fill_import_menu()
    assert menu_texts(screen.support.cases.import_menu) == ["old work"]
    screen.support.cases.import_menu.actions()[0].trigger()
    assert session.state.annotation(session.state.cases[0]) is node
    assert screen.support.ui.structureTable.rowCount == 2
    assert screen.support.ui.caseTable.item(0, 1).text() == "liver, spleen"


def ready_to_adapt(screen, scene):
    session = screen.session
    for name in ("structure 1", "structure 2"):
        session.support.add_structure(name)
    session.support.add_scans([add_volume(scene, random_ct(seed=n), name=f"CT {n}") for n in range(2)])
    for case in session.state.cases:
        draw(screen, case, "structure 1", "structure 2")
    session.notify("cases")
    screen.adapt.ui.nameEdit.text = "mine"
    screen.adapt.ui.nameEdit.textEdited.emit("mine")


def test_adapt_shows_progress_curve_and_card(screen, scene, models, dialogs):
    ready_to_adapt(screen, scene)
    ui, view = screen.adapt.ui, screen.adapt.job_view.ui
    click(ui.adaptButton)
    assert not ui.adaptButton.enabled
    assert ui.adaptButton.toolTip == "A model is being made."
    assert screen.adapt.job_view.root.visible
    assert view.cancelButton.visible
    models.append(Entry)
    finish(screen)
    assert view.phase.text == "Done."
    assert not view.cancelButton.visible
    assert view.plot.visible
    assert not view.plot.pixmap.isNull()
    assert ui.card.visible
    assert "Looks good so far" in ui.card.text
    assert screen.session.activity("adapt").job.parameters["method"] == "auto"
    assert "0.90" in ui.card.text
    assert screen.segment.chosen_model == "mine"
    click(ui.adaptButton)
    assert "Replace it" in dialogs.questions[0]
    finish(screen)
    dialogs.answer = False
    before = screen.session.activity("adapt")
    click(ui.adaptButton)
    assert screen.session.activity("adapt") is before


def test_a_bad_name_is_told_before(screen, scene):
    ready_to_adapt(screen, scene)
    for name in ("a/b", ".x", "a:b"):
        screen.adapt.ui.nameEdit.text = name
        screen.adapt.ui.nameEdit.textEdited.emit(name)
        assert not screen.adapt.ui.adaptButton.enabled
        assert "cannot be a model's name" in screen.adapt.ui.adaptButton.toolTip


def test_an_error_is_a_sentence_with_details_on_demand(screen, scene):
    ready_to_adapt(screen, scene)
    screen.adapt.ui.nameEdit.text = "failing"
    screen.adapt.ui.nameEdit.textEdited.emit("failing")
    click(screen.adapt.ui.adaptButton)
    finish(screen)
    view = screen.adapt.job_view.ui
    assert view.phase.text == "Nothing is annotated. Annotate something."
    assert not view.log.visible
    click(view.logButton)
    assert view.log.visible
    assert "Nothing is annotated." in view.log.plainText
    assert screen.adapt.ui.adaptButton.enabled


def test_cancel_by_its_button(screen, scene):
    ready_to_adapt(screen, scene)
    combo = screen.adapt.ui.deviceCombo
    combo.addItem("slow", "slow")
    combo.currentIndex = combo.findData("slow")
    combo.activated.emit(combo.currentIndex)
    click(screen.adapt.ui.adaptButton)
    activity = screen.session.activity("adapt")
    spin(lambda: activity.stage.value == "running")
    click(screen.adapt.job_view.ui.cancelButton)
    assert screen.adapt.job_view.ui.phase.text == "Cancelling…"
    finish(screen)
    assert screen.adapt.job_view.ui.phase.text == "Cancelled; nothing was changed."


def segmented(screen, scene, models, refine="default"):
    models.append(Entry)
    add_volume(scene, name="new 1")
    add_volume(scene, random_ct(seed=5), name="new 2")
    screen.session.notify("models")
    screen.scene_changed()
    ui = screen.segment.ui
    ui.refineCombo.currentIndex = ui.refineCombo.findData(refine)
    click(ui.segmentButton)
    finish(screen)
    return ui


def test_segment_fills_the_table_and_a_click_goes_there(screen, scene, models):
    ui = segmented(screen, scene, models)
    assert ui.scanCount.text == "2 of 2 ticked"
    table = ui.resultTable
    texts = [[table.item(row, column).text() for column in range(6)] for row in range(table.rowCount)]
    assert [row[:2] for row in texts] == [[f"new {n}", f"structure {m}"] for n in (1, 2) for m in (1, 2)]
    assert texts[0][2].startswith("52.1 → ")
    assert "below the expected range" in table.item(0, 2).toolTip()
    assert "→" not in texts[1][2]
    assert texts[0][3:] == ["0.01–0.05", "0.84 (0.75–0.92)", "!"]
    assert table.item(0, 5).toolTip() == "larger than expected"
    assert texts[1][4] == "-"
    table.cellClicked.emit(2, 1)
    assert len(slicer.jumps[-1]) == 4
    assert slicer.views[-1]["background"].GetName() == "new 2"
    assert ui.beforeCheck.enabled
    result = screen.session.state.results[0]

    def visible():
        nodes = [screen.session.state.result_node(result, role) for role in ("result", "before")]
        return [bool(node.GetDisplayNode().GetVisibility()) for node in nodes]

    click(ui.beforeCheck)
    assert visible() == [False, True]
    table.cellClicked.emit(2, 1)
    assert visible() == [False, False]
    table.cellClicked.emit(0, 1)
    assert visible() == [False, True]
    click(ui.beforeCheck)
    assert visible() == [True, False]
    click(ui.surfaceCheck)
    node = screen.session.state.result_node(result, "result")
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_a_result_made_again_without_refinement_is_the_one_shown(screen, scene, models):
    ui = segmented(screen, scene, models)
    click(ui.beforeCheck)
    ui.refineCombo.currentIndex = ui.refineCombo.findData("off")
    click(ui.segmentButton)
    finish(screen)
    assert not ui.beforeCheck.checked
    assert not ui.beforeCheck.enabled
    state = screen.session.state
    for result in state.results:
        assert state.result_node(result, "before") is None
        assert state.result_node(result, "result").GetDisplayNode().GetVisibility()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_the_published_refinement_needs_the_support_set(screen, scene, models):
    models.append(Entry)
    ui, combo = screen.segment.ui, screen.segment.ui.refineCombo
    screen.session.notify("models")
    paper = combo.findData("paper")
    assert combo.itemData(combo.currentIndex) == "default"
    assert not combo.model().item(paper).isEnabled()
    assert "does not have the model's structures" in combo.itemData(paper, qt.Qt.ToolTipRole)
    combo.currentIndex = paper
    combo.activated.emit(paper)
    add_volume(scene, random_ct(seed=9), name="query")
    screen.scene_changed()
    assert "needs the annotated scans" in ui.segmentButton.toolTip
    ready_to_adapt(screen, scene)
    screen.session.support.add_structure("not in the model")
    draw(screen, screen.session.state.cases[1], "structure 1", "not in the model")
    screen.session.notify("cases")
    assert combo.model().item(paper).isEnabled()
    assert combo.itemData(paper, qt.Qt.ToolTipRole).startswith("Slow")
    click(ui.segmentButton)
    finish(screen)
    job = screen.session.activity("segment").job
    assert job.parameters["refine"] == "paper"
    assert [s["name"] for s in job.parameters["support"]["structures"]] == ["structure 1", "structure 2"]
    assert [c["name"] for c in job.parameters["support"]["cases"]] == ["case 1", "case 2"]
    assert screen.session.activity("segment").stage.value == "finished", screen.session.activity("segment").log_text()


def test_without_refinement_there_is_nothing_to_compare(screen, scene, models):
    ui = segmented(screen, scene, models, refine="off")
    assert not ui.beforeCheck.enabled
    assert "No result was refined" in ui.beforeCheck.toolTip


def test_scans_of_the_support_set_are_not_ticked_by_themselves(screen, scene, models):
    ready_to_adapt(screen, scene)
    add_volume(scene, random_ct(seed=9), name="query")
    screen.scene_changed()
    assert [volume.GetName() for volume in screen.segment.chosen_volumes] == ["query"]
    click(screen.segment.ui.allScansButton)
    assert len(screen.segment.chosen_volumes) == 3
    click(screen.segment.ui.noScansButton)
    models.append(Entry)
    screen.session.notify("models")
    assert screen.segment.ui.segmentButton.toolTip == "Tick at least one scan."


def test_expected_volumes_are_edited_and_checked(screen, scene, models):
    models.append(Entry)
    add_volume(scene)
    screen.session.notify("models")
    screen.scene_changed()
    ui = screen.segment.ui
    click(ui.priorsButton)
    assert ui.priorsTable.visible
    assert ui.priorsTable.item(0, 1).text() == "10.0"
    assert ui.priorsTable.item(1, 1).text() == ""
    assert screen.segment.priors.edited() == {}
    ui.priorsTable.item(0, 1).setText("12,5")
    assert screen.segment.priors.edited() == {"structure 1": {"low_ml": 12.5, "high_ml": 20.0}}
    ui.priorsTable.item(0, 1).setText("30")
    assert "smaller first" in ui.segmentButton.toolTip
    ui.priorsTable.item(0, 1).setText("12.5")
    click(ui.segmentButton)
    finish(screen)
    job = screen.session.activity("segment").job
    assert job.parameters["priors"] == {"structure 1": {"low_ml": 12.5, "high_ml": 20.0}}


def test_normal_adult_volumes_are_offered_with_their_source(screen, models):
    class Spleen(Entry):
        description = {  # noqa: RUF012
            **Entry.description,
            "structures": [
                {"name": "Spleen", "value": 1, "color": [1, 0, 0], "terminology": ""},
                {"name": "my lesion", "value": 2, "color": [0, 1, 0], "terminology": ""},
            ],
            "priors": {},
        }

    models.append(Spleen)
    screen.session.notify("models")
    ui, priors = screen.segment.ui, screen.segment.priors
    assert not ui.presetButton.visible
    click(ui.priorsButton)
    assert ui.presetButton.visible
    assert "Select a structure" in ui.presetButton.toolTip
    ui.priorsTable.setCurrentCell(1, 0)
    assert not ui.presetButton.enabled
    assert "my lesion" in ui.presetButton.toolTip
    ui.priorsTable.setCurrentCell(0, 0)
    assert "Prassopoulos" in ui.presetButton.toolTip
    assert priors.edited() == {}
    click(ui.presetButton)
    assert [ui.priorsTable.item(0, column).text() for column in (1, 2)] == ["107", "314"]
    assert priors.edited() == {"Spleen": {"preset": True}}
    ui.priorsTable.item(0, 2).setText("400")
    assert priors.edited() == {"Spleen": {"low_ml": 107.0, "high_ml": 400.0}}


def test_correct_and_export(screen, scene, models, monkeypatch, tmp_path, dialogs):
    segmented(screen, scene, models)
    review = screen.review.ui
    assert review.correctButton.toolTip == "Select a result in the table above."
    out = tmp_path / "out"
    out.mkdir()
    monkeypatch.setattr(review_panel, "ask_folder", lambda *_: str(out))
    for kind, suffix in (("seg.nrrd", ".seg.nrrd"), ("nii.gz", ".nii.gz"), ("nrrd", ".nrrd")):
        review.formatCombo.currentIndex = review.formatCombo.findData(kind)
        click(review.exportButton)
        spin(lambda: not screen.review.runner.is_running)
        assert (out / f"new 1{suffix}").is_file(), dialogs.errors
    assert json.loads((out / "labels.json").read_text())["structure 2"]["value"] == 2
    dialogs.answer = False
    stamp = (out / "new 1.nrrd").stat().st_mtime_ns
    click(review.exportButton)
    assert "are there already" in dialogs.questions[-1]
    assert (out / "new 1.nrrd").stat().st_mtime_ns == stamp
    monkeypatch.setattr(review_panel, "ask_file_to_write", lambda *_: str(out / "volumes.csv"))
    click(review.tableButton)
    assert len((out / "volumes.csv").read_text("utf-8-sig").splitlines()) == 5
    screen.segment.ui.resultTable.setCurrentCell(0, 0)
    click(review.correctButton)
    state = screen.session.state
    assert [state.scan(case).GetName() for case in state.cases] == ["new 1"]
    assert [structure.name for structure in state.structures] == ["structure 1", "structure 2"]
    assert screen.support.annotator.is_open
    assert len(state.results) == 1


def test_propose_fills_and_undo_takes_it_back(screen, scene, models):
    session, ui = screen.session, screen.support.ui
    session.support.add_structure("structure 1")
    session.support.add_scans([add_volume(scene)])
    assert "press Adapt first" in ui.proposeButton.toolTip
    models.append(Entry)
    session.notify("models")
    assert ui.proposeButton.enabled
    menu = screen.support.propose_menu
    screen.support.fill_propose_menu()
    assert menu_texts(menu) == ["With the model “mine”", "From the annotated scans"]
    assert not menu.actions()[1].enabled
    assert menu.actions()[1].toolTip == "No other scan is annotated yet."
    menu.actions()[0].trigger()
    assert screen.support.job_views["propose"].root.visible
    assert not ui.proposeButton.enabled
    finish(screen)
    assert not screen.support.job_views["propose"].root.visible
    assert ui.caseTable.item(0, 1).text() == "structure 1"
    assert ui.undoProposalButton.visible
    click(ui.undoProposalButton)
    assert ui.caseTable.item(0, 1).text() == "not annotated yet"
    assert not ui.undoProposalButton.visible


def test_annotated_scans_propose_for_another_one(screen, scene):
    ready_to_adapt(screen, scene)
    session, ui = screen.session, screen.support.ui
    session.support.add_structure("drawn nowhere")
    session.support.add_scans([add_volume(scene, random_ct(seed=7), name="new")])
    ui.caseTable.setCurrentCell(2, 0)
    screen.support.fill_propose_menu()
    assert not screen.support.propose_menu.actions()[0].enabled
    screen.support.propose_menu.actions()[1].trigger()
    finish(screen)
    job = session.activity("propose").job
    assert job.parameters["method"] == "atlas"
    assert [entry["name"] for entry in job.parameters["cases"]] == ["case 1", "case 2"]
    assert [entry["name"] for entry in job.parameters["structures"]] == ["structure 1", "structure 2"]
    assert ui.caseTable.item(2, 1).text() == "2 of 3: structure 1, structure 2"
    assert ui.undoProposalButton.visible


def test_what_next_names_a_scan_says_why_and_selects_it(screen, scene, models):
    ui, session = screen.support.ui, screen.session
    session.notify("scans")
    assert "No scan without" in ui.suggestButton.toolTip
    ready_to_adapt(screen, scene)
    add_volume(scene, random_ct(seed=7), name="new 1")
    add_volume(scene, random_ct(seed=8), name="new 2")
    add_volume(scene, np.ones((9, 9, 9), np.int16), name="an MR image")
    screen.scene_changed()
    click(ui.suggestButton)
    assert screen.support.job_views["suggest"].root.visible
    finish(screen)
    parameters = session.activity("suggest").job.parameters
    assert [entry["name"] for entry in parameters["scans"]] == ["scan 1", "scan 2"]
    assert [entry["name"] for entry in parameters["cases"]] == ["case 1", "case 2"]
    assert parameters["model"] is None
    assert ui.suggestNote.visible
    assert ui.suggestNote.text.startswith("Annotate “new 2” next. It differs most (the nearest is “CT 0”).")
    assert ui.suggestNote.text.endswith("Annotate every fourth slice.")
    assert session.state.scan(screen.support.cases.selected).GetName() == "new 2"
    assert len(session.state.cases) == 3
    screen.session.support.notify("cases")
    assert ui.suggestNote.visible
    models.append(Entry)
    session.state.choose("model", "mine")
    combo = screen.adapt.ui.deviceCombo
    combo.addItem("slow", "slow")
    session.state.choose("device", "slow")
    click(ui.suggestButton)
    assert session.activity("suggest").job.parameters == {}
    activity = session.activity("suggest")
    spin(lambda: activity.stage.value == "running")
    assert activity.job.parameters["model"] == "mine"
    click(screen.support.job_views["suggest"].ui.cancelButton)
    finish(screen)
    assert activity.stage.value == "cancelled"
    assert not ui.suggestNote.visible


def test_closing_the_scene_asks_and_leaves_a_clean_screen(screen, scene, models, dialogs):
    ready_to_adapt(screen, scene)
    click(screen.support.ui.annotateButton)
    click(screen.adapt.ui.adaptButton)
    activity = screen.session.activity("adapt")
    spin(lambda: activity.stage.value in ("waiting", "running"))
    screen.scene_closing()
    scene.Clear(False)
    screen.refresh_all()
    assert "Let it go on" in dialogs.questions[0]
    finish(screen)
    assert activity.stage.value == "finished"
    assert screen.support.ui.caseTable.rowCount == 0
    assert screen.support.ui.structureTable.rowCount == 0
    assert not screen.support.ui.editorFrame.visible
    assert screen.segment.ui.scanList.count == 0
    for _ in range(2):
        screen.scene_closing()
        scene.Clear(False)
        screen.refresh_all()


def test_leaving_and_entering_keeps_the_work(screen, scene):
    ready_to_adapt(screen, scene)
    click(screen.support.ui.annotateButton)
    screen.leave()
    screen.enter()
    assert screen.support.annotator.is_open
    assert screen.support.annotator.editor.calls.count(("installKeyboardShortcuts",)) == 2
    assert screen.adapt.ui.nameEdit.text == "mine"


def test_exit_is_asked_about_while_a_job_runs(screen, scene, dialogs):
    assert screen.may_close()
    ready_to_adapt(screen, scene)
    click(screen.adapt.ui.adaptButton)
    dialogs.answer = False
    assert not screen.may_close()


def test_the_system_check_shows_what_was_found(screen, dialogs):
    click(screen.ui.checkButton)
    finish(screen)
    assert dialogs.infos
    assert screen.ui.checkButton.enabled


def test_the_strip_at_the_top_installs_and_goes_away(screen, tmp_path):
    from FSEFTSegmentLib.dependencies import REQUIREMENTS, Installers

    versions = {r.name: r.minimum for r in REQUIREMENTS if r.name != "monai"}
    host = qt.QWidget()
    qt.QVBoxLayout(host)
    host.show()
    changed = []
    installers = Installers(None, lambda specifiers: versions.update(monai="9"), lambda *_: None)
    panel = DependenciesPanel(host, lambda: changed.append(1), versions.get, installers, tmp_path / "log")
    assert panel.root.visible
    assert "monai" in panel.ui.message.text
    assert panel.reason
    click(panel.ui.installButton)
    assert not panel.root.visible
    assert panel.reason == ""
    assert changed == [1]
    versions.clear()
    panel.refresh()
    click(panel.ui.installButton)
    assert "Extensions Manager" in panel.ui.message.text
    assert panel.ui.installButton.text == "Try again"


def test_missing_packages_disable_what_needs_them(screen, scene, models):
    ready_to_adapt(screen, scene)
    screen.dependencies._reason = "Install the missing packages first (see the top of the module)."
    screen.session.notify("dependencies")
    assert "Install the missing packages" in screen.adapt.ui.adaptButton.toolTip
    assert "Install the missing packages" in screen.segment.ui.segmentButton.toolTip


def score(dice, sd=None, surface=None, error=None, cases=3):
    return {"dice": dice, "sd": sd, "surface_dice": surface, "volume_error_ml": error, "cases": cases}


VALIDATED = {
    **Entry.description,
    "validation": {
        "kind": "leave-one-out",
        "table": {
            "zero-shot": {"structure 1": score(None), "structure 2": score(0.2)},
            "spatial-adapter": {
                "structure 1": score(0.912, 0.021, 0.95, 3.14),
                "structure 2": score(None, cases=0),
            },
        },
        "chosen": "spatial-adapter",
        "reason": "The spatial adapter is best",
        "verdict": "Good. The spatial adapter is best.",
        "advice": "Annotate one more case that shows structure 2.",
    },
}


def test_the_card_shows_the_validation_with_dashes_for_what_is_unknown():
    rows = structure_rows(VALIDATED)
    assert rows[0] == {
        "name": "structure 1", "dice": "0.91 ± 0.02", "surface": "0.95", "error": "3.1", "volume": "10.0 - 20.0",
    }  # fmt: skip
    assert list(rows[1].values()) == ["structure 2", "-", "-", "-", "-"]
    text = card_html(VALIDATED).replace("&nbsp;", " ").replace("&#8209;", "-")
    for words in (
        "Good. The spatial",
        "Annotate one more case that shows",
        "left out, one at a time",
        "<b>spatial-adapter 0.91</b>",
    ):
        assert words in text, words
    assert "Not validated" not in text
    assert "0.20" in methods_table_html(VALIDATED)
    assert methods_table_html(VALIDATED) in card_html(VALIDATED, wide=True)
    slices = {**VALIDATED, "validation": {**VALIDATED["validation"], "kind": "cross-slice"}}
    assert "slices of the one annotated scan" in card_html(slices)


def test_the_card_warns_without_validation():
    assert "Not validated" in card_html(Entry.description)
    assert "10.0" in card_html(Entry.description)
    assert "<b>&lt;x&gt;</b>" in card_html({"name": "<x>"})


def test_a_fixed_method_is_checked_when_asked(screen, scene):
    ready_to_adapt(screen, scene)
    ui = screen.adapt.ui
    assert ui.methodCombo.itemData(ui.methodCombo.currentIndex) == "auto"
    assert ui.validateCheck.checked
    assert "always does" in ui.validateCheck.toolTip
    assert not ui.validateCheck.enabled
    ui.methodCombo.currentIndex = ui.methodCombo.findData("linear-probe")
    ui.methodCombo.activated.emit(ui.methodCombo.currentIndex)
    assert not ui.validateCheck.checked
    click(ui.adaptButton)
    finish(screen)
    job = screen.session.activity("adapt").job
    assert (job.parameters["method"], job.parameters["validate"]) == ("linear-probe", False)
    assert "Not validated" in ui.card.text
    click(ui.validateCheck)
    click(ui.adaptButton)
    finish(screen)
    assert screen.session.activity("adapt").job.parameters["validate"] is True
    assert "Not validated" not in ui.card.text


def write_model(folder, method, created):
    weights = f"weights of {method}".encode()
    content = {
        **VALIDATED, "format": "fseft-model", "version": 1, "name": "mine", "method": method, "created": created,
        "shots": 2, "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip
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


def test_small_helpers():
    assert [millilitres(v) for v in (0.126, 12.34, 1234.5)] == ["0.13", "12.3", "1234"]
    assert thinned([1, 1, 3, 3], 2) == [1, 3]
    assert common.elided_names(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"


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

"""Section 1 on real Qt without a display: structures, cases, annotating, proposals, what next."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.drafts import draft_lines  # noqa: E402
from mrml_makers import add_volume, random_ct  # noqa: E402
from screen_kit import Entry, click, draw, finish, menu_texts, ready_to_adapt, spin  # noqa: E402


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


def test_some_slices_are_suggested_and_counted(screen, scene):
    from FSEFTSegmentLib.mrml.grid import own_grid
    from FSEFTSegmentLib.mrml.segments import set_labels

    session, ui = screen.session, screen.support.ui
    session.support.add_structure("liver")
    volume = add_volume(scene, random_ct((30, 20, 20)))
    session.support.add_scans([volume])
    labels = np.zeros((30, 20, 20), np.uint8)
    labels[4:25:4, 5:15, 5:15] = 1
    set_labels(
        session.support.annotation_for(session.state.cases[0]), labels, own_grid(volume), session.state.structures
    )
    session.notify("cases")
    assert ui.caseTable.item(0, 1).text() == "Drawn on 6 single slice(s) only: the others count as empty."
    assert "Tick “Some slices”" in ui.caseTable.item(0, 1).toolTip()
    ui.caseTable.item(0, 2).setCheckState(qt.Qt.Checked)
    assert ui.caseTable.item(0, 1).text() == "6 slices: liver"


def test_all_loaded_cts_leaves_other_images_out(screen, scene):
    add_volume(scene, random_ct(seed=1), name="CT 1")
    add_volume(scene, np.ones((9, 9, 9), np.int16), name="an MR image")
    cases = screen.support.cases
    cases.fill_scan_menu()
    assert menu_texts(cases.scan_menu) == ["All loaded CTs", "", "CT 1", "an MR image"]
    cases.scan_menu.actions()[0].trigger()
    assert screen.support.ui.caseTable.rowCount == 1


def test_a_scan_that_looks_like_no_ct_is_told_before_it_is_annotated(screen, scene):
    screen.session.support.add_structure("liver")
    screen.session.support.add_scans([add_volume(scene, np.arange(900, dtype=np.int16).reshape(9, 10, 10))])
    item = screen.support.ui.caseTable.item(0, 1)
    assert item.text() == "not a CT?"
    assert "The values do not look like Hounsfield units. Choose a CT that was not windowed" in item.toolTip()


def test_structures_taken_out_leave_no_complaint_behind(screen, scene):
    ready_to_adapt(screen, scene)
    table = screen.support.ui.structureTable
    table.setCurrentCell(1, 1)
    click(screen.support.ui.removeStructureButton)
    item = screen.support.ui.caseTable.item(0, 1)
    assert item.text() == "structure 1"
    assert "Not in the structure list: structure 2." in item.toolTip()
    screen.session.support.add_structure("structure 3")
    assert screen.support.ui.caseTable.item(0, 1).text() == "Not in the structure list: structure 2."


def test_an_editor_that_was_put_away_leaves_the_scene_alone(screen, scene):
    from FSEFTSegmentLib.mrml.results import new_segmentation

    ready_to_adapt(screen, scene)
    editor = annotate_and_leave(screen)
    mine, views = editor.segmentation, len(slicer.views)
    other = add_volume(scene, random_ct(seed=7), name="another")
    new_segmentation(scene, other, "somebody's")
    assert editor.segmentation is mine
    assert len(slicer.views) == views
    # Another scene: what is in it may be taken by the hidden editor, as by Slicer's own, but not be brought to view.
    screen.scene_closing()
    scene.Clear(False)
    screen.refresh_all()
    assert editor.segmentation is None
    other = add_volume(scene, random_ct(seed=8), name="another")
    new_segmentation(scene, other, "somebody's")
    assert editor.segmentation is not None
    assert len(slicer.views) == views
    ready_to_adapt(screen, scene)
    assert annotate_and_leave(screen) is editor
    assert editor.volume.GetName() == "CT 0"
    assert editor.complaints == []


def annotate_and_leave(screen):
    """Open the editor on the first scan and put it away again."""
    screen.support.cases.select(screen.session.state.cases[0])
    click(screen.support.ui.annotateButton)
    editor = screen.support.annotator.editor
    assert editor.follows
    click(screen.support.ui.doneButton)
    return editor


def test_the_keyboard_goes_from_scan_to_scan(screen, scene, monkeypatch):
    window = qt.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    ready_to_adapt(screen, scene)
    annotator = screen.support.annotator
    click(screen.support.ui.annotateButton)
    back, forth = annotator._shortcuts
    assert (back.key.toString(), forth.key.toString()) == ("Ctrl+PgUp", "Ctrl+PgDown")
    forth.activated.emit()
    assert screen.support.ui.editorTitle.text == "2 of 2: CT 1"
    back.activated.emit()
    assert screen.support.ui.editorTitle.text == "1 of 2: CT 0"
    back.activated.emit()
    assert screen.support.ui.editorTitle.text == "1 of 2: CT 0"
    screen.leave()
    assert annotator._shortcuts == []
    assert ("uninstallKeyboardShortcuts",) in annotator.editor.calls
    click(screen.support.ui.doneButton)


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
    assert "model" in ui.draftNote.text
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
    note = ui.draftNote.text
    assert ui.draftNote.visible
    assert "Proposed in “new”" in note
    words = " ".join(re.sub(r"<[^>]*>", " ", note).replace("&nbsp;", " ").split())
    assert "structure 1 12.3 2 of 2 scans 0.82 structure 2 0.50 2 of 2 scans 0.41 &#9650; check all of it" in words
    assert "“CT 1” does not show" in note


def test_undoing_a_proposal_asks_when_it_was_corrected_since(screen, scene, dialogs):
    ready_to_adapt(screen, scene)
    session, ui = screen.session, screen.support.ui
    session.support.add_scans([add_volume(scene, random_ct(seed=7), name="new")])
    ui.caseTable.setCurrentCell(2, 0)
    screen.support.propose("atlas")
    finish(screen)
    annotation = session.state.annotation(session.state.cases[2])
    assert not session.drafts.was_changed_since(annotation)
    image = annotation.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap")
    image.Modified()
    dialogs.answer = False
    click(ui.undoProposalButton)
    assert "changed after the proposal" in dialogs.questions[-1]
    assert ui.caseTable.item(2, 1).text() == "structure 1, structure 2"
    dialogs.answer = True
    click(ui.undoProposalButton)
    assert ui.caseTable.item(2, 1).text() == "not annotated yet"
    assert not ui.draftNote.visible


def test_what_is_said_of_a_draft():
    def entry(name, **more):
        return {"name": name, "votes": 2, "of": 3, "agreement": 0.9, "volume_ml": 20.0} | more

    entries = [
        entry("Liver"), entry("spleen", votes=0, agreement=None, volume_ml=0.0),
        entry("stomach", votes=1, of=1, agreement=None), entry("aorta"), entry("of another model"),
    ]  # fmt: skip
    names = {name: name for name in ("liver", "spleen", "stomach", "aorta")}
    lines = draft_lines(entries, names, {"aorta"})
    assert [(line.name, line.source, line.advice) for line in lines] == [
        ("liver", "2 of 3 scans", ""),
        ("spleen", "0 of 3 scans", "not found: draw it"),
        ("stomach", "the only scan", "check all of it"),
        ("aorta", "you, left as it is", ""),
    ]
    model = {"votes": None, "of": None, "agreement": None}
    (line,) = draft_lines([entry("liver", **model)], names, set())
    assert (line.source, line.advice) == ("model", "")
    (line,) = draft_lines([entry("liver", **model | {"volume_ml": 0.0})], names, set())
    assert line.advice == "not found: draw it"


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


def test_a_standard_code_is_chosen_searched_for_and_taken_off(screen, scene):
    session, widget = screen.session, screen.support.ui.structureTable
    session.support.add_structure("target")
    session.support.add_scans([add_volume(scene)])
    draw(screen, session.state.cases[0], "target")

    def segment_of():
        from FSEFTSegmentLib.mrml.segments import list_segments

        return list_segments(session.state.annotation(session.state.cases[0]))[0]

    assert widget.item(0, 2).text() == "-"
    widget.cellDoubleClicked.emit(0, 2)
    dialog = screen.support.structures._terms
    assert dialog.dialog.visible
    assert "target" in dialog.title.text
    assert not dialog.choose_button.enabled
    assert not dialog.none_button.enabled
    dialog.search.text = "KIDNEY left"
    assert [dialog.list.item(row).text() for row in range(dialog.list.count)] == ["Kidney, Left"]
    click(dialog.choose_button)
    assert not dialog.dialog.visible
    assert widget.item(0, 2).text() == "Kidney, Left"
    assert session.state.structures[0].color == segment_of().color == (201 / 255, 121 / 255, 77 / 255)
    assert segment_of().terminology == session.state.structures[0].terminology
    session.support.change_structure(1, color=(0.0, 0.0, 1.0))
    widget.cellDoubleClicked.emit(0, 2)
    assert dialog.list.currentItem().text() == "Kidney, Left"
    dialog.search.text = "spleen"
    dialog.list.itemDoubleClicked.emit(dialog.list.item(0))
    assert widget.item(0, 2).text() == "Spleen"
    assert session.state.structures[0].color == (0.0, 0.0, 1.0)
    widget.cellDoubleClicked.emit(0, 2)
    dialog.search.text = "no such thing"
    assert not dialog.choose_button.enabled
    click(dialog.none_button)
    assert widget.item(0, 2).text() == "-"
    assert "Tissue" in segment_of().terminology
    session.support.take_over_appearance(session.state.annotation(session.state.cases[0]))
    assert session.state.structures[0].terminology == ""


def test_a_published_name_brings_its_code(screen):
    support = screen.session.support
    support.add_structure("target")
    support.change_structure(1, name="Left Kidney")
    assert screen.support.ui.structureTable.item(0, 2).text() == "Kidney, Left"
    support.change_structure(1, color=(0.0, 0.0, 1.0))
    support.change_structure(1, name="liver")
    assert screen.support.ui.structureTable.item(0, 2).text() == "Liver"
    assert screen.session.state.structures[0].color == (0.0, 0.0, 1.0)
    support.change_structure(1, name="Leber")
    assert screen.support.ui.structureTable.item(0, 2).text() == "Liver"

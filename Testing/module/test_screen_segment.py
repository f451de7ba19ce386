"""Sections 3 and 4 on real Qt without a display: segmenting, results, correcting, exporting."""

from __future__ import annotations

import dataclasses
import json

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.activity import Stage, in_own_names  # noqa: E402
from FSEFTSegmentLib.jobs.protocol import Failure  # noqa: E402
from FSEFTSegmentLib.panels import review_panel  # noqa: E402
from FSEFTSegmentLib.panels.common import WARNING_COLOR  # noqa: E402
from mrml_makers import add_volume, random_ct  # noqa: E402
from screen_kit import Entry, click, draw, finish, ready_to_adapt, segmented, spin  # noqa: E402

NOTE = "Note: cut by the scan's border; in 2 separate pieces"


def test_segment_fills_the_table_and_a_click_goes_there(screen, scene, models):
    ui = segmented(screen, scene, models)
    assert ui.scanCount.text == "2 of 2 ticked"
    table = ui.resultTable
    texts = [[table.item(row, 0).text(), table.columnSpan(row, 0)] for row in range(table.rowCount)]
    assert texts == [
        ["new 1", 4], ["structure 1", 1], ["▲ Larger than expected", 4], ["structure 2", 1], [NOTE, 4],
        ["new 2", 4], ["structure 1", 1], ["▲ Larger than expected", 4], ["structure 2", 1], [NOTE, 4],
    ]  # fmt: skip
    # What there is to look at is coloured, a note is not; neither takes the other's words.
    flagged, noted = table.item(2, 0), table.item(4, 0)
    assert flagged.foreground().color().name() == WARNING_COLOR
    assert noted.foreground().style() == qt.Qt.NoBrush
    assert (noted.font().italic(), flagged.font().italic()) == (True, False)
    assert table.item(3, 1).foreground().style() == qt.Qt.NoBrush
    assert "“mine”" in table.item(0, 0).toolTip()
    assert table.item(1, 1).text().startswith("52.1 → ")
    assert "below the expected range" in table.item(1, 1).toolTip()
    assert "→" not in table.item(3, 1).text()
    assert [table.item(1, column).text() for column in (2, 3)] == ["0.01–0.05", "0.84 (0.75–0.92)"]
    assert table.item(3, 3).text() == "-"
    assert ui.resultNote.text.startswith("2 structures to look at")
    jumps = len(slicer.jumps)
    table.cellClicked.emit(5, 0)
    assert len(slicer.jumps) == jumps
    assert slicer.views[-1]["background"].GetName() == "new 2"
    table.cellClicked.emit(1, 0)
    assert slicer.views[-1]["background"].GetName() == "new 1"
    table.cellClicked.emit(9, 0)
    assert len(slicer.jumps[-1]) == 4
    assert slicer.views[-1]["background"].GetName() == "new 2"
    assert ui.beforeCheck.enabled
    result = screen.session.state.results[0]

    def visible():
        nodes = [screen.session.state.result_node(result, role) for role in ("result", "before")]
        return [bool(node.GetDisplayNode().GetVisibility()) for node in nodes]

    click(ui.beforeCheck)
    assert visible() == [False, True]
    table.cellClicked.emit(6, 0)
    assert visible() == [False, False]
    table.cellClicked.emit(1, 1)
    assert visible() == [False, True]
    click(ui.beforeCheck)
    assert visible() == [True, False]


def test_the_scenes_undo_and_redo_are_followed(screen, scene, models):
    scene.SetUndoOn()
    ui = segmented(screen, scene, models)
    rows = ui.resultTable.rowCount
    assert rows > 0
    levels = scene.GetNumberOfUndoLevels()
    for _level in range(levels):
        scene.Undo()
    screen.scene_changed()
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert scene.GetFirstNodeByName("new 1") is not None
    assert ui.resultTable.rowCount == 0
    assert not ui.beforeCheck.enabled
    assert ui.segmentButton.enabled
    for _level in range(levels):
        scene.Redo()
    screen.scene_changed()
    assert ui.resultTable.rowCount == rows
    click(ui.segmentButton)
    finish(screen)
    assert ui.resultTable.rowCount == rows


def test_surfaces_stay_asked_for(screen, scene, models):
    ui = segmented(screen, scene, models)

    def surfaces():
        nodes = [screen.session.state.result_node(r, role) for role in ("result", "before")
                 for r in screen.session.state.results]  # fmt: skip
        return [node.GetSegmentation().ContainsRepresentation("Closed surface") for node in nodes]

    click(ui.surfaceCheck)
    assert surfaces() == [True, True, False, False]
    click(ui.beforeCheck)
    assert surfaces() == [True] * 4
    click(ui.segmentButton)
    finish(screen)
    assert ui.surfaceCheck.checked
    assert surfaces()[:2] == [True, True]
    screen.refresh_all()
    assert ui.surfaceCheck.checked
    click(ui.surfaceCheck)
    assert surfaces() == [False] * 4
    screen.refresh_all()
    assert not ui.surfaceCheck.checked


def test_a_result_made_again_without_refinement_is_the_one_shown(screen, scene, models):
    ui = segmented(screen, scene, models)
    click(ui.beforeCheck)
    click(ui.surfaceCheck)
    ui.refineCombo.currentIndex = ui.refineCombo.findData("off")
    click(ui.segmentButton)
    finish(screen)
    assert not ui.beforeCheck.checked
    assert not ui.beforeCheck.enabled
    state = screen.session.state
    for result in state.results:
        assert state.result_node(result, "before") is None
        node = state.result_node(result, "result")
        assert node.GetDisplayNode().GetVisibility()
        assert node.GetSegmentation().ContainsRepresentation("Closed surface")  # as was asked before
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


@pytest.mark.parametrize("by_hand", ["", "off"])
def test_location_is_preselected_while_it_can_be_used_and_a_choice_stays(screen, scene, models, by_hand):
    models.append(Entry)
    combo = screen.segment.ui.refineCombo
    screen.session.notify("models")
    assert combo.itemData(combo.currentIndex) == "default"
    ready_to_adapt(screen, scene)
    screen.session.notify("cases")
    assert combo.itemData(combo.currentIndex) == "location"
    if by_hand:
        combo.currentIndex = combo.findData(by_hand)
        combo.activated.emit(combo.currentIndex)
    screen.refresh_all()
    assert combo.itemData(combo.currentIndex) == (by_hand or "location")
    for case in list(screen.session.state.cases):
        screen.session.support.remove_case(case)
    screen.session.notify("cases")
    assert combo.itemData(combo.currentIndex) == (by_hand or "default")


@pytest.mark.parametrize(("mode", "tip"), [("location", "Carries"), ("paper", "Slow")])
def test_refinements_that_work_with_the_annotated_scans_need_them(screen, scene, models, mode, tip):
    models.append(Entry)
    ui, combo = screen.segment.ui, screen.segment.ui.refineCombo
    screen.session.notify("models")
    row = combo.findData(mode)
    assert combo.itemData(combo.currentIndex) == "default"
    assert not combo.model().item(row).isEnabled()
    assert "does not have the model's structures" in combo.itemData(row, qt.Qt.ToolTipRole)
    combo.currentIndex = row
    combo.activated.emit(row)
    add_volume(scene, random_ct(seed=9), name="query")
    screen.scene_changed()
    assert "needs the annotated scans" in ui.segmentButton.toolTip
    ready_to_adapt(screen, scene)
    screen.session.support.add_structure("not in the model")
    draw(screen, screen.session.state.cases[1], "structure 1", "not in the model")
    screen.session.notify("cases")
    assert combo.model().item(row).isEnabled()
    assert combo.itemData(row, qt.Qt.ToolTipRole).startswith(tip)
    click(ui.segmentButton)
    finish(screen)
    job = screen.session.activity("segment").job
    assert job.parameters["refine"] == mode
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
    late = add_volume(scene, random_ct(seed=11), name="late")
    screen.scene_changed()
    assert late in screen.segment.chosen_volumes
    screen.session.support.add_scans([late])
    assert [volume.GetName() for volume in screen.segment.chosen_volumes] == ["query"]
    screen.session.support.remove_case(screen.session.state.cases[-1])
    scene.RemoveNode(late)
    screen.scene_changed()
    click(screen.segment.ui.allScansButton)
    assert len(screen.segment.chosen_volumes) == 3
    click(screen.segment.ui.noScansButton)
    models.append(Entry)
    screen.session.notify("models")
    assert screen.segment.ui.segmentButton.toolTip == "Tick at least one scan."


def test_only_cts_are_ticked_by_themselves(screen, scene, models):
    models.append(Entry)
    add_volume(scene, name="CT")
    add_volume(scene, random_ct((1, 20, 20)), name="overview")
    add_volume(scene, abs(random_ct()), name="MR")
    screen.session.notify("models")
    screen.scene_changed()
    assert [volume.GetName() for volume in screen.segment.chosen_volumes] == ["CT"]
    click(screen.segment.ui.noScansButton)
    assert screen.segment.chosen_volumes == []
    click(screen.segment.ui.allScansButton)
    assert [volume.GetName() for volume in screen.segment.chosen_volumes] == ["CT"]


def test_a_failure_names_the_scan_as_the_scene_does(screen, scene, models):
    segmented(screen, scene, models)
    activity = screen.session.activity("segment")
    activity.failure = Failure("scan-not-ct", "scan2.nrrd is no CT.", "Look at scan 1.", "support-scan9.nrrd")
    activity.stage = Stage.FAILED
    assert activity.describe() == "“new 2” is no CT. Look at “new 1”."
    assert "“new 2” is no CT. (scan-not-ct)" in activity.log_text()
    assert "support-scan9.nrrd" in activity.log_text()


def test_a_model_that_went_is_told_and_leaves_the_list(screen, scene, models, dialogs):
    ui = segmented(screen, scene, models)
    models.clear()
    click(ui.segmentButton)
    assert dialogs.errors[-1].startswith("The library has no model “mine” any more.")
    assert ui.modelCombo.currentText == "none yet"
    assert not ui.segmentButton.enabled


def test_files_of_a_job_are_told_apart():
    names = {"scan 1": "new", "case 1": "old", "case 2": "older"}
    said = in_own_names("scan1.nrrd, support-scan1.nrrd, support-annotation2.seg.nrrd, case1.nrrd, scan3.nrrd", names)
    assert said == "“new”, “old”, The annotation of “older”, “old”, scan3.nrrd"


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


def test_correcting_twice_in_a_hurry_takes_one_result_only(screen, scene, models):
    ui, review = segmented(screen, scene, models), screen.review.ui
    review.contentCombo.currentIndex = review.contentCombo.findData("selected")
    review.contentCombo.activated.emit(review.contentCombo.currentIndex)
    assert review.exportButton.toolTip == "Select a result in the table above."
    ui.resultTable.setCurrentCell(3, 0)
    assert review.exportButton.enabled
    click(review.correctButton)
    assert ui.resultTable.item(0, 0).text() == "new 2"
    assert screen.segment.results.selected is None
    assert ui.resultTable.selectedItems() == []
    assert not review.correctButton.enabled
    review.correctButton.clicked.emit()
    assert len(screen.session.state.results) == 1


def test_a_result_whose_scan_went_cannot_be_corrected(screen, scene, models):
    ui = segmented(screen, scene, models)
    ui.resultTable.setCurrentCell(0, 0)
    assert screen.review.ui.correctButton.enabled
    scene.RemoveNode(scene.GetFirstNodeByName("new 1"))
    screen.scene_changed()
    assert screen.review.ui.correctButton.toolTip == "The scan of this result is no longer in the scene."
    content = screen.review.ui.contentCombo
    content.currentIndex = content.findData("selected")
    content.activated.emit(content.currentIndex)
    assert not screen.review.ui.exportButton.enabled


def test_results_of_two_models_are_told_apart(screen, scene, models):
    ui = segmented(screen, scene, models)
    state = screen.session.state
    first, second = state.results
    state.set_results((first, dataclasses.replace(second, model="other")))
    screen.session.notify("results")
    assert [ui.resultTable.item(row, 0).text() for row in (0, 5)] == ["new 1 - mine", "new 2 - other"]


def test_a_selected_result_stays_selected_where_rows_above_it_go(screen, scene, models):
    ui = segmented(screen, scene, models)
    ui.resultTable.setCurrentCell(8, 0)
    first, second = screen.session.state.results
    assert screen.segment.results.selected == second
    screen.session.state.set_results((second,))
    screen.session.notify("results")
    assert screen.segment.results.selected == second
    assert ui.resultTable.currentRow() == 3
    assert first not in screen.session.state.results


def test_a_result_takes_an_annotation_s_place_only_when_asked(screen, scene, models, dialogs):
    ready_to_adapt(screen, scene)
    ui = segmented(screen, scene, models)
    click(ui.noScansButton)
    ui.scanList.item(0).setCheckState(qt.Qt.Checked)
    click(ui.segmentButton)
    finish(screen)
    state = screen.session.state
    drawn = state.annotation(state.cases[0])
    row = next(n for n, row in enumerate(screen.segment.results.rows) if row.text == "CT 0")
    ui.resultTable.setCurrentCell(row, 0)
    dialogs.answer = False
    click(screen.review.ui.correctButton)
    assert "“CT 0” is annotated already" in dialogs.questions[-1]
    assert state.annotation(state.cases[0]) is drawn
    dialogs.answer = True
    click(screen.review.ui.correctButton)
    assert state.annotation(state.cases[0]) is not drawn
    assert drawn in screen.session.support.annotation_candidates()

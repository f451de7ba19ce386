"""The whole screen on real Qt without a display: reasons, the scene, other modules, the way out."""

from __future__ import annotations

import gc
import types
import weakref

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.activity import Activity, Stage  # noqa: E402
from FSEFTSegmentLib.panels import common, drops  # noqa: E402
from FSEFTSegmentLib.panels.card import millilitres  # noqa: E402
from FSEFTSegmentLib.panels.dependencies_panel import DependenciesPanel  # noqa: E402
from FSEFTSegmentLib.panels.loss_plot import thinned  # noqa: E402
from mrml_makers import STRAIGHT, add_segmentation, add_volume, structures  # noqa: E402
from screen_kit import click, finish, ready_to_adapt, spin  # noqa: E402


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


def test_leaving_and_entering_keeps_the_work(screen, scene, monkeypatch):
    window = qt.QMainWindow()
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: window)
    ready_to_adapt(screen, scene)
    click(screen.support.ui.annotateButton)
    screen.leave()
    screen.enter()
    assert screen.support.annotator.is_open
    assert screen.support.annotator.editor.calls.count(("installKeyboardShortcuts",)) == 2
    assert screen.adapt.ui.nameEdit.text == "mine"
    screen.leave()


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
    installers = Installers(None, lambda *_: versions.update(monai="9"), lambda *_: None)
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


class Drop:
    """A drag over a widget, or its end."""

    def __init__(self, kind, content=drops.TREE_ITEMS):
        self.kind = kind
        self.content = content
        self.answers = []

    def mimeData(self):
        return self

    def hasFormat(self, name):
        return name == self.content

    def type(self):
        return self.kind

    def acceptProposedAction(self):
        self.answers.append("accepted")

    def ignore(self):
        self.answers.append("ignored")


def test_dropped_scans_become_cases_and_stay_in_the_tree(screen, scene, monkeypatch):
    volume = add_volume(scene)
    monkeypatch.setattr(drops, "dragged_volumes", lambda _mime: [volume])
    assert not screen.support.drops.eventFilter(None, Drop(qt.QEvent.Drop, "text/uri-list"))
    assert not screen.support.drops.eventFilter(None, Drop(qt.QEvent.Paint))
    over, end = Drop(qt.QEvent.DragMove), Drop(qt.QEvent.Drop)
    assert screen.support.drops.eventFilter(None, over)
    assert over.answers == ["accepted"]
    assert screen.support.drops.eventFilter(None, end)
    # The data tree removes the rows of a move that somebody accepted.
    assert end.answers == ["ignored"]
    assert [screen.session.state.scan(case) for case in screen.session.state.cases] == [volume]


def test_what_is_dragged_is_told_by_its_addresses_first(scene, monkeypatch):
    dragged, selected = add_volume(scene, name="dragged"), add_volume(scene, name="selected")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = {node: hierarchy.CreateItem(hierarchy.GetSceneItemID(), node) for node in (dragged, selected)}

    class Handler:
        def currentItems(self, found):
            found.InsertNextId(items[selected])

        def subjectHierarchyNode(self):
            return hierarchy

    plugin = types.SimpleNamespace(instance=Handler)
    monkeypatch.setattr(slicer, "qSlicerSubjectHierarchyPluginHandler", plugin, raising=False)
    mime = qt.QMimeData()
    assert drops.dragged_volumes(mime) == [selected]
    addresses = ("file:///tmp/a", f"mrml://scene/subjecthierarchy/item?id={items[dragged]}")
    mime.setUrls([qt.QUrl(address) for address in addresses])
    assert drops.dragged_volumes(mime) == [dragged]


def test_a_closed_scene_leaves_nothing_alive(screen, scene):
    """Finished jobs and menus know the nodes that they worked on; a closed scene's scans must not stay in memory."""
    screen.session.support.add_scans([add_volume(scene, name="case")])
    screen.support.ui.caseTable.setCurrentCell(0, 0)
    volume = add_volume(scene, name="query")
    labels = np.zeros((3, 4, 5), dtype=np.uint8)
    labels[1, 1:3, 1:3] = 1
    annotation = add_segmentation(scene, 3 * labels, STRAIGHT, structures("liver"))
    screen.session.activities["segment"] = Activity("segment", "Segmenting", Stage.FINISHED, result=[volume])
    screen.support.structures.fill_menu()
    screen.support.cases.fill_scan_menu()
    screen.support.cases.fill_import_menu()
    alive = [weakref.ref(node) for node in (volume, annotation)]
    del volume, annotation
    screen.scene_closing()
    scene.Clear(False)
    screen.refresh_all()
    gc.collect()
    assert [node() for node in alive] == [None, None]


def test_questions_are_answered_with_yes_in_slicers_testing_mode(screen, monkeypatch, dialogs):
    dialogs.answer = False
    assert not common.confirm("Really?")
    monkeypatch.setattr(common.slicer.app, "testingEnabled", lambda: True)
    assert common.confirm("Really?")


def test_putting_the_module_away_ends_jobs_first_and_leaves_no_dialog(screen, scene, monkeypatch):
    screen.show_library()
    screen.show_storage()
    ended = []
    monkeypatch.setattr(screen.session, "shut_down", lambda: ended.append("jobs"))
    monkeypatch.setattr(screen.support, "clean_up", lambda: ended.append("widgets") or 1 / 0)
    screen.clean_up()
    assert ended == ["jobs", "widgets"]
    assert not screen._library.dialog.visible
    assert not screen._storage.dialog.visible


def test_a_tall_window_does_not_stretch_the_sections(screen):
    heights = []
    for height in (1800, 2800):
        screen.window.geometry = qt.QRect(0, 0, 480, height)
        for _ in range(5):
            slicer.app.processEvents()
        heights.append(
            [getattr(screen.ui, name).height for name in ("supportSection", "adaptSection", "segmentSection")]
        )
    assert heights[0] == heights[1]


def test_small_helpers():
    assert [millilitres(v) for v in (0.126, 12.34, 1234.5)] == ["0.13", "12.3", "1234"]
    assert thinned([1, 1, 3, 3], 2) == [1, 3]
    assert common.elided_names(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"


def test_a_long_name_does_not_widen_the_panel(screen):
    width = screen.root.minimumSizeHint.width()
    screen.session.support.add_structure("Lymph_node_station_" * 10)
    screen.adapt.ui.adaptReason.text = screen.segment.ui.segmentReason.text = "Annotate it: " + "x" * 300
    screen.adapt.ui.adaptReason.visible = screen.segment.ui.segmentReason.visible = True
    standins.application().processEvents()
    assert screen.root.minimumSizeHint.width() == width

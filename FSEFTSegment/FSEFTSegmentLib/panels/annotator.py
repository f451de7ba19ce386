"""Annotating inside the module: Slicer's Segment Editor with the scan and the structures already there."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.common import guarded
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case

EDITOR_TAG = "FSEFTSegmentEditor"


class Annotator:
    """Opens support cases one after another in an embedded Segment Editor.

    Args:
        ui: widgets ``editorFrame``, ``editorHost``, ``editorTitle``, ``editorHint``, ``previousButton``,
            ``nextButton``, ``doneButton``.
        session: whose cases.
    """

    def __init__(self, ui: Any, session: Session) -> None:
        self.ui = ui
        self.session = session
        self.case: Case | None = None
        self.editor: Any = None
        self._shortcuts: list[Any] = []
        ui.previousButton.clicked.connect(guarded(lambda: self.step(-1)))
        ui.nextButton.clicked.connect(guarded(lambda: self.step(1)))
        ui.doneButton.clicked.connect(guarded(self.close))

    @property
    def is_open(self) -> bool:
        """True while a case is being annotated."""
        return self.case is not None

    def open(self, case: Case) -> None:
        """Show a case in the editor and in the views.

        Raises:
            InputError: "scan-missing".
        """
        annotation = self.session.support.annotation_for(case)
        volume: Any = self.session.state.scan(case)
        self._make_editor()
        self._follow_source(True)
        self.case = case
        annotation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        self.editor.setSegmentationNode(annotation)
        set_source = getattr(self.editor, "setSourceVolumeNode", None) or self.editor.setMasterVolumeNode
        set_source(volume)
        # One made by a script may not be displayed yet.
        annotation.CreateDefaultDisplayNodes()
        annotation.GetDisplayNode().SetVisibility(True)
        slicer.util.setSliceViewerLayers(background=volume, fit=True)
        cases = self.session.state.cases
        position = [other.key for other in cases].index(case.key)
        self.ui.editorTitle.text = _("{number} of {count}: {name}").format(
            number=position + 1, count=len(cases), name=volume.GetName()
        )
        self.ui.editorHint.text = (
            _("Only the slices you draw on count in this scan; draw a structure completely on each of them.")
            if case.sparse
            else _("Draw each structure on all slices, or tick “Some slices” for this scan and draw on a few.")
        )
        self.ui.previousButton.enabled = position > 0
        self.ui.nextButton.enabled = position + 1 < len(cases)
        self.ui.editorFrame.visible = True
        self.enter()

    def step(self, by: int) -> None:
        """Go to another case."""
        cases = self.session.state.cases
        keys = [case.key for case in cases]
        if self.case is None or self.case.key not in keys:
            return
        position = keys.index(self.case.key) + by
        if 0 <= position < len(cases):
            self.open(cases[position])
            self.session.notify("selection")

    def close(self) -> None:
        """Put the editor away; colours and codes chosen in it are taken over."""
        if self.case is None:
            return
        annotation = self.session.state.annotation(self.case)
        # The editor keeps its segmentation: without one it takes the next best of the scene, hidden as it is.
        self.leave()
        self._follow_source(False)
        self.case = None
        self.ui.editorFrame.visible = False
        if annotation is not None:
            self.session.support.take_over_appearance(annotation)
        self.session.notify("cases")

    def enter(self) -> None:
        """The module is on the screen: keyboard shortcuts work."""
        if self.case is None or self._shortcuts:
            return
        self.editor.setupViewObservations()
        window = slicer.util.mainWindow()
        if window is None:
            # Shortcuts belong to a window.
            return
        self.editor.installKeyboardShortcuts()
        for keys, by in (("Ctrl+PgUp", -1), ("Ctrl+PgDown", 1)):
            shortcut = qt.QShortcut(qt.QKeySequence(keys), window)
            shortcut.activated.connect(guarded(lambda by=by: self.step(by)))
            self._shortcuts.append(shortcut)

    def leave(self) -> None:
        """Another module is on the screen: no shortcut and no effect stays behind."""
        if self.editor is None:
            return
        self.editor.setActiveEffect(None)
        self.editor.uninstallKeyboardShortcuts()
        self.editor.removeViewObservations()
        for shortcut in self._shortcuts:
            # At the program's exit they went with the main window.
            if shortcut:
                shortcut.enabled = False
                shortcut.deleteLater()
        self._shortcuts = []

    def forget_scene(self) -> None:
        """The scene is closing: let go of its nodes.

        The editor's parameter node stays, as it does in Slicer's own module: it is a singleton, which outlives the
        scene, and without it the editor complains of every segmentation that is added.
        """
        self.leave()
        self._follow_source(False)
        self.case = None
        self.ui.editorFrame.visible = False
        if self.editor is not None:
            self.editor.setSegmentationNode(None)

    def clean_up(self) -> None:
        """The module is going away."""
        self.forget_scene()

    def _follow_source(self, on: bool) -> None:
        """Whether the editor puts its scan into the views; when it is put away it must leave them alone."""
        follow = getattr(self.editor, "setAutoShowSourceVolumeNode", None)
        if follow is not None:
            follow(on)

    def _make_editor(self) -> None:
        node = self.session.scene.GetSingletonNode(EDITOR_TAG, "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.vtkMRMLSegmentEditorNode()
            node.SetSingletonTag(EDITOR_TAG)
            node = self.session.scene.AddNode(node)
        if self.editor is None:
            # Made on first use: it is the heaviest widget of the module.
            self.editor = slicer.qMRMLSegmentEditorWidget()
            self.editor.setMaximumNumberOfUndoStates(10)
            for hide in ("setSegmentationNodeSelectorVisible", "setSwitchToSegmentationsButtonVisible"):
                getattr(self.editor, hide)(False)
            hide_source = getattr(self.editor, "setSourceVolumeNodeSelectorVisible", None)
            (hide_source or self.editor.setMasterVolumeNodeSelectorVisible)(False)
            # In this order, as in Slicer's own module: choices the editor makes with the scene go into its node.
            self.editor.setMRMLSegmentEditorNode(node)
            self.editor.setMRMLScene(self.session.scene)
            self.ui.editorHost.layout().addWidget(self.editor)
        self.editor.setMRMLSegmentEditorNode(node)

"""Thin stand-ins for what only the running application has: ``qt``, ``ctk``, the qMRML widgets, ``slicer.app``.

The widgets underneath are real Qt (PySide6 with properties spelled as PythonQt spells them), the data model is
Slicer's own (slicer-core), so that panels run as they are, without a screen.
"""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

# PySide6 must come first: it makes ``__feature__`` importable.
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets  # isort: skip
from shiboken6 import isValid  # isort: skip
from __feature__ import true_property  # isort: skip  # noqa: F401

MODULE = Path(__file__).resolve().parents[2] / "FSEFTSegment"


class CollapsibleButton(QtWidgets.QGroupBox):
    """ctkCollapsibleButton: a title that folds what is below it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False

    def _get_text(self):
        return self.title

    def _set_text(self, text):
        self.title = text

    text = QtCore.Property(str, _get_text, _set_text)

    def _get_collapsed(self):
        return self._collapsed

    def _set_collapsed(self, collapsed):
        self._collapsed = bool(collapsed)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.visible = not collapsed

    collapsed = QtCore.Property(bool, _get_collapsed, _set_collapsed)


class MRMLWidget(QtWidgets.QWidget):
    """qMRMLWidget: knows its scene."""

    def setMRMLScene(self, scene):
        self.scene = scene


class Timer(QtCore.QTimer):
    """QTimer as PythonQt shows it: ``singleShot`` is the static function, and no property."""

    def setSingleShot(self, once):
        self.setProperty("singleShot", once)

    @staticmethod
    def singleShot(msec, action):
        QtCore.QTimer.singleShot(msec, action)

    def __setattr__(self, name, value):
        if name == "singleShot":
            raise AttributeError("Slot 'singleShot' can not be overwritten on QTimer object")
        super().__setattr__(name, value)


class InputDialog:
    """QInputDialog as PythonQt shows it: what is typed, "" when cancelled, and no tuple."""

    answer = ""

    @classmethod
    def getText(cls, _parent, _title, _label, _mode, _text):
        return cls.answer


class FileDialog:
    """QFileDialog as PythonQt shows it: a path, "" when cancelled, and no tuple."""

    answer = ""

    @classmethod
    def getSaveFileName(cls, _parent, _title, _name, _kinds):
        return cls.answer

    @classmethod
    def getOpenFileName(cls, _parent, _title, _folder, _kinds):
        return cls.answer

    @classmethod
    def getExistingDirectory(cls, _parent, _title):
        return cls.answer


#: What the panels may call on the segment editor: the names that qMRMLSegmentEditorWidget has.
EDITOR_METHODS = frozenset(
    [
        "installKeyboardShortcuts",
        "removeViewObservations",
        "setActiveEffect",
        "setMaximumNumberOfUndoStates",
        "setSegmentationNodeSelectorVisible",
        "setSourceVolumeNodeSelectorVisible",
        "setSwitchToSegmentationsButtonVisible",
        "setupViewObservations",
        "uninstallKeyboardShortcuts",
    ]
)


class SegmentEditor(QtWidgets.QWidget):
    """qMRMLSegmentEditorWidget: remembers what it was told, and looks a little like an editor.

    Its list of segmentations has no entry "none": where nothing is chosen it takes the first segmentation that comes,
    and puts that one's scan into the views, unless told not to. Without a parameter node it complains.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self.calls: list[tuple] = []
        self.segmentation = self.volume = self.node = self.scene = None
        self.follows = True
        self.complaints: list[str] = []
        self._tag = 0
        layout = QtWidgets.QVBoxLayout(self)
        layout.contentsMargins = QtCore.QMargins(0, 0, 0, 0)
        self.table = QtWidgets.QTableWidget(0, 1)
        self.table.horizontalHeader().visible = False
        self.table.horizontalHeader().stretchLastSection = True
        self.table.minimumHeight = 90
        layout.addWidget(self.table)
        row = QtWidgets.QHBoxLayout()
        layout.addLayout(row)
        for name in ("Threshold", "Paint", "Draw", "Erase", "Islands", "Undo"):
            button = QtWidgets.QToolButton()
            button.text = name
            row.addWidget(button)

    def setMRMLSegmentEditorNode(self, node):
        self.calls.append(("setMRMLSegmentEditorNode", node))
        self.node = node

    def setMRMLScene(self, scene):
        if self.scene is not None:
            self.scene.RemoveObserver(self._tag)
        self.scene = scene
        if scene is not None:
            # The wrapper may outlive the widget, as it does in PythonQt.
            self._tag = scene.AddObserver(scene.NodeAddedEvent, lambda *_: isValid(self) and self._choose_first())

    def setAutoShowSourceVolumeNode(self, follows):
        self.follows = follows

    def _choose_first(self):
        first = self.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
        if self.segmentation is not None or first is None or self.scene.IsClosing():
            return
        if self.node is None:
            self.complaints.append("SetSegmentationNode: need to set segment editor node first")
            return
        self.segmentation = first
        if self.follows:
            volume = first.GetNodeReference(first.GetReferenceImageGeometryReferenceRole())
            sys.modules["slicer"].util.setSliceViewerLayers(background=volume)

    def setSegmentationNode(self, node):
        if node is not None and self.node is None:
            raise RuntimeError("need to set segment editor node first")
        self.segmentation = node
        self.calls.append(("setSegmentationNode", node))
        self.table.rowCount = 0
        if node is not None:
            segmentation = node.GetSegmentation()
            for row in range(segmentation.GetNumberOfSegments()):
                self.table.insertRow(row)
                name = segmentation.GetSegment(segmentation.GetNthSegmentID(row)).GetName()
                self.table.setItem(row, 0, QtWidgets.QTableWidgetItem(name))

    def setSourceVolumeNode(self, node):
        self.volume = node

    def __getattr__(self, name):
        if name in EDITOR_METHODS:
            return lambda *arguments: self.calls.append((name, *arguments))
        raise AttributeError(name)


class UiLoader(QtUiTools.QUiLoader):
    """Knows the widgets that Slicer's loader knows."""

    #: PySide lets go of Python widgets with the loader that made them.
    kept: list[UiLoader] = []  # noqa: RUF012

    def __init__(self, parent=None):
        super().__init__(parent)
        self.kept.append(self)
        for name, kind in (("ctkCollapsibleButton", CollapsibleButton), ("qMRMLWidget", MRMLWidget)):
            registered = type(name, (kind,), {})
            self.registerCustomWidget(registered)
            setattr(self, name, registered)


class Dialogs:
    """What the user was told and asked, and what he answers."""

    def __init__(self):
        self.errors: list[str] = []
        self.infos: list[str] = []
        self.questions: list[str] = []
        self.answer = True

    def error(self, text, **_):
        self.errors.append(text)

    def info(self, text, **options):
        self.infos.append(text + str(options.get("detailedText", "")))

    def ask(self, text, **_):
        self.questions.append(text)
        return self.answer


DIALOGS = Dialogs()


def _qt_module() -> types.ModuleType:
    module = types.ModuleType("qt")
    for source in (QtCore, QtGui, QtWidgets, QtUiTools):
        # Not vars(): some names are made when they are first asked for.
        module.__dict__.update({name: getattr(source, name) for name in dir(source) if not name.startswith("_")})
    module.QUiLoader = UiLoader
    module.QTimer, module.QInputDialog, module.QFileDialog = Timer, InputDialog, FileDialog
    return module


def application():
    """The one application, with a font that is there."""
    app = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["tests"])
    app.setStyle("Fusion")
    font = QtGui.QFont("DejaVu Sans")
    font.setPixelSize(12)
    app.setFont(font)
    return app


def with_properties(name: str) -> None:
    """Let a module see Qt's properties as PythonQt shows them."""
    exec("from __feature__ import true_property", {"__name__": name})


def install() -> None:
    """Put the stand-ins in place; once is enough."""
    if "qt" in sys.modules:
        return
    import slicer
    import slicer.util

    app = application()
    for path in [*MODULE.glob("*.py"), *(MODULE / "FSEFTSegmentLib" / "panels").glob("*.py")]:
        name = path.relative_to(MODULE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
        with_properties(name)
    with_properties("slicer.util")
    sys.modules["qt"] = _qt_module()
    sys.modules["ctk"] = types.ModuleType("ctk")
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda _context, text: text
    sys.modules["slicer.i18n"] = i18n
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    for name in ("Module", "ModuleWidget", "ModuleLogic", "ModuleTest"):
        kind = type("ScriptedLoadable" + name, (), {"__init__": lambda self, *_: None, "setup": lambda self: None})
        setattr(scripted, kind.__name__, kind)
    sys.modules["slicer.ScriptedLoadableModule"] = scripted
    slicer.app = types.SimpleNamespace(
        processEvents=lambda: app.processEvents(),
        connect=lambda *_: None,
        applicationName="Slicer",
        applicationVersion="test",
        testingEnabled=lambda: False,
        setOverrideCursor=lambda *_: None,
        restoreOverrideCursor=lambda *_: None,
        slicerUserSettingsFilePath="",
    )
    slicer.qMRMLSegmentEditorWidget = SegmentEditor
    slicer.views = []
    slicer.jumps = []
    markups = types.SimpleNamespace(JumpSlicesToLocation=lambda *place: slicer.jumps.append(place))
    slicer.modules = types.SimpleNamespace(markups=types.SimpleNamespace(logic=lambda: markups))
    slicer.util.mainWindow = lambda: None
    slicer.util.setSliceViewerLayers = lambda **layers: slicer.views.append(layers)
    slicer.util.errorDisplay = DIALOGS.error
    slicer.util.infoDisplay = DIALOGS.info
    slicer.util.confirmYesNoDisplay = DIALOGS.ask

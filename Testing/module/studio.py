"""A window to photograph the module's panel in, in Slicer's light and dark colours."""

from __future__ import annotations

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "FSEFTSegment")]

import slicer_standins as standins  # noqa: E402

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.jobs.queue import JobQueue  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402
from FSEFTSegmentLib.session import Session  # noqa: E402

#: What Slicer's panel and its height are on a screen of 1366 x 768.
WIDTH, HEIGHT = 470, 690

#: Slicer's own colours (qSlicerStyle) in its light and its dark theme.
_LIGHT = (
    ("Window", "#ffffff"), ("WindowText", "#000000"), ("Base", "#ffffff"), ("AlternateBase", "#e4e4fe"),
    ("ToolTipBase", "#ffffdc"), ("ToolTipText", "#000000"), ("Text", "#000000"), ("Button", "#fcfcfc"),
    ("ButtonText", "#000000"), ("Light", "#c8c8c8"), ("Midlight", "#e6e6e6"), ("Dark", "#aaaaaa"), ("Mid", "#c8c8c8"),
    ("Shadow", "#5a5a5a"), ("Highlight", "#308cc6"), ("HighlightedText", "#ffffff"),
)  # fmt: skip
_DARK = (
    ("Window", "#323232"), ("WindowText", "#ffffff"), ("Base", "#1e1e1e"), ("AlternateBase", "#323232"),
    ("ToolTipBase", "#ffffff"), ("ToolTipText", "#323232"), ("Text", "#ffffff"), ("Button", "#323232"),
    ("ButtonText", "#ffffff"), ("Light", "#828284"), ("Midlight", "#5a5a5b"), ("Dark", "#232323"), ("Mid", "#2b2b2b"),
    ("Shadow", "#141414"), ("Highlight", "#3ca4ff"), ("HighlightedText", "#ffffff"),
)  # fmt: skip
#: What cannot be pressed: text, button text.
_DISABLED = {"": ("#bebebe", "#bebebe"), "-dark": ("#6d6d6d", "#b4b4b4")}


def palette_of(theme: str) -> object:
    """The colours of one of Slicer's themes: "" is the light one, "-dark" the dark one."""
    palette = qt.QPalette()
    for role, color in _DARK if theme else _LIGHT:
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(color))
    text, button = (qt.QColor(color) for color in _DISABLED[theme])
    for role, color in (("Text", text), ("WindowText", text), ("ButtonText", button)):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), color)
    # Qt follows the text; Slicer's Qt 5 draws it half transparent.
    faint = qt.QColor(palette.color(qt.QPalette.Text))
    faint.setAlpha(128)
    palette.setColor(qt.QPalette.PlaceholderText, faint)
    return palette


class Studio:
    """A screen over a scene of its own.

    Args:
        folder: where pictures go.
        queue: runs the worker.
        work: where job folders go.
    """

    def __init__(self, folder: Path, queue: JobQueue, work: Path) -> None:
        self.folder = folder
        self.app = standins.application()
        self.palettes = {theme: palette_of(theme) for theme in ("", "-dark")}
        self.app.setPalette(self.palettes[""])
        self.scene = slicer.vtkMRMLScene()
        self.logics = [
            slicer.vtkSlicerSegmentationsModuleLogic(),
            slicer.vtkSlicerSubjectHierarchyModuleLogic(),
            slicer.vtkSlicerVolumesLogic(),
        ]
        for logic in self.logics:
            logic.SetMRMLScene(self.scene)
        slicer.mrmlScene = self.scene
        self.session = Session(self.scene, queue, run_soon, None, work)
        self.window = qt.QScrollArea()
        self.window.widgetResizable = True
        inner = qt.QWidget()
        self.window.setWidget(inner)
        self.screen = Screen(self.session, qt.QVBoxLayout(inner))
        self.window.geometry = qt.QRect(0, 0, WIDTH, HEIGHT)
        self.window.show()

    def settle(self, seconds: float = 0.2) -> None:
        """Let everything be shown."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.01)

    def wait(self) -> None:
        """Wait for what is under way."""
        while self.session.is_busy:
            slicer.app.processEvents()
            time.sleep(0.01)
        for activity in self.session.activities.values():
            if activity.failure is not None:
                raise RuntimeError(activity.log_text())

    def shoot(self, name: str, widget: object | None = None, scroll_to: object | None = None) -> None:
        """Write a light and a dark picture of what is seen now."""
        for suffix, palette in self.palettes.items():
            self.app.setPalette(palette)
            self.session.notify("cases")
            self.settle()
            # The curve is drawn once, in the colours of that moment.
            self.screen.adapt.job_view._points = 0
            self.screen.adapt.job_view.refresh()
            self.settle()
            if scroll_to is not None:
                top = scroll_to.mapTo(self.window.widget(), qt.QPoint(0, 0)).y()
                self.window.verticalScrollBar().value = top - 4
                slicer.app.processEvents()
            (widget or self.window).grab().save(str(self.folder / f"{name}{suffix}.png"))
        self.app.setPalette(self.palettes[""])

    def shoot_whole(self, name: str, section: object) -> None:
        """Write a light and a dark picture of one section, as high as it is."""
        self.shoot(name, section)

    def close(self) -> None:
        """Put everything away."""
        self.screen.clean_up()
        self.window.close()

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

_DARK = (
    ("Window", "#323232"), ("WindowText", "#e6e6e6"), ("Base", "#262626"), ("AlternateBase", "#2e2e2e"),
    ("Text", "#e6e6e6"), ("Button", "#3c3c3c"), ("ButtonText", "#e6e6e6"), ("Highlight", "#2d6cb0"),
    ("PlaceholderText", "#999999"), ("ToolTipBase", "#3c3c3c"), ("ToolTipText", "#e6e6e6"), ("Mid", "#505050"),
    ("Dark", "#262626"), ("Light", "#505050"), ("Shadow", "#141414"), ("HighlightedText", "#ffffff"),
)  # fmt: skip


def dark_palette() -> object:
    """The colours of Slicer's dark theme, roughly."""
    palette = qt.QPalette()
    for role, color in _DARK:
        palette.setColor(getattr(qt.QPalette, role), qt.QColor(color))
    for role in ("Text", "WindowText", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
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
        self.palettes = {"": self.app.palette(), "-dark": dark_palette()}
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

"""The whole screen: the four sections and what binds them to the scene and the clock."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from fseft.errors import InputError
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.activity import Stage
from FSEFTSegmentLib.panels.adapt_panel import AdaptPanel
from FSEFTSegmentLib.panels.common import confirm, guarded, load_ui, make_timer
from FSEFTSegmentLib.panels.dependencies_panel import DependenciesPanel
from FSEFTSegmentLib.panels.library_dialog import LibraryDialog
from FSEFTSegmentLib.panels.review_panel import ReviewPanel
from FSEFTSegmentLib.panels.segment_panel import SegmentPanel
from FSEFTSegmentLib.panels.storage_dialog import StorageDialog
from FSEFTSegmentLib.panels.support_panel import SupportPanel
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case
from FSEFTSegmentLib.state_import import KeptState, join_imported, keep_state

TICK_MS = 100
LOGGER = logging.getLogger(__name__)


class Screen:
    """Builds the panels into a layout and keeps them up to date.

    Args:
        session: what is shown.
        layout: takes the module's widget.
        new_dependencies: makes the strip at the top; the real one by default.
    """

    def __init__(
        self, session: Session, layout: Any, new_dependencies: Callable[..., DependenciesPanel] = DependenciesPanel
    ) -> None:
        self.session = session
        self._kept: KeptState | None = None
        self.root, self.ui = load_ui("FSEFTSegment")
        layout.addWidget(self.root)
        self.root.setMRMLScene(session.scene)
        self.dependencies = new_dependencies(self.ui.dependenciesHost, self._dependencies_changed, log_file=_log_file())
        self.support = SupportPanel(session, self.ui.supportHost, self._missing)
        self.adapt = AdaptPanel(session, self.ui.adaptHost, self._missing, self.show_storage)
        self.segment = SegmentPanel(session, self.ui.segmentHost, self._missing, self.show_library)
        self.review = ReviewPanel(
            session, self.ui.reviewHost, lambda: self.segment.results.selected, self.annotate, run_soon
        )
        self._library: LibraryDialog | None = None
        self._storage: StorageDialog | None = None
        self._doctor_told = False
        self.ui.checkButton.clicked.connect(guarded(self.check_system))
        self.ui.cacheButton.clicked.connect(guarded(self.show_storage))
        self.ui.footerText.text = _("Your scans stay on this computer.")
        session.listeners.append(self.refresh)
        self.clock = make_timer(TICK_MS, self.tick)
        # Loading many nodes tells of each of them; one look at the end is enough.
        self.soon = make_timer(150, self.scene_changed, once=True)
        self.refresh_all()

    def refresh(self, topic: str) -> None:
        """Hand a change to the panels."""
        for panel in (self.support, self.adapt, self.segment, self.review):
            panel.refresh(topic)
        if topic == "doctor":
            self._tell_doctor()
        if self._storage is not None and topic == "backbone":
            self._storage.show_job()
        if self._storage is not None and topic == "models":
            self._storage.refresh()
        if self._storage is not None and topic in self.session.activities:
            self._storage.show_cache_button()
        if self.session.is_busy and not self.clock.active:
            self.clock.start()

    def refresh_all(self) -> None:
        """Show everything anew."""
        for topic in (
            "structures",
            "cases",
            "models",
            "scans",
            "results",
            "adapt",
            "segment",
            "propose",
            "suggest",
            "selection",
        ):
            self.refresh(topic)

    def tick(self) -> None:
        """Let the jobs go on; the clock stops when there are none."""
        self.session.queue.tick()
        if not self.session.is_busy and not self.session.queue.is_busy:
            self.clock.stop()
            if self._storage is not None:
                self._storage.show_cache_button()

    def scene_changed(self) -> None:
        """Nodes came or went."""
        self.refresh("scans")
        self.refresh("cases")
        self.refresh("results")

    def annotate(self, case: Case) -> None:
        """Open a case in section 1."""
        self.ui.supportSection.collapsed = False
        self.support.cases.select(case)
        self.support.annotator.open(case)

    def show_library(self) -> None:
        """Open the model library."""
        self._require_dependencies()
        if self._library is None:
            self._library = LibraryDialog(self._library_changed)
        self._library.show()

    def show_storage(self) -> None:
        """Open the list of backbones and the cache."""
        self._require_dependencies()
        if self._storage is None:
            self._storage = StorageDialog(self.session, lambda: self.session.notify("models"))
        self._storage.show()

    def check_system(self) -> None:
        """Run the system check in the worker and show what it finds."""
        self._doctor_told = False
        self.session.doctor()

    def enter(self) -> None:
        """The module is on the screen."""
        self.dependencies.refresh()
        self.support.annotator.enter()
        self.refresh_all()

    def leave(self) -> None:
        """Another module is on the screen; jobs go on."""
        self.support.annotator.leave()

    def scene_closing(self) -> None:
        """The scene is about to go: jobs that need its nodes end, a model being made may go on."""
        self.support.forget_scene()
        self.session.drafts.forget()
        for kind in list(self.session.activities):
            activity = self.session.activities[kind]
            keep = kind in ("doctor", "backbone") or (
                kind == "adapt"
                and activity.stage in (Stage.WAITING, Stage.RUNNING)
                and confirm(_("A model is being made. Let it go on while the scene is closed?"))
            )
            if not keep:
                self.session.cancel_activity(kind)
        # What is over would keep the closed scene's scans and results in memory.
        self.session.forget_finished(kept=("doctor", "backbone"))

    def scene_importing(self) -> None:
        """Another scene is about to be loaded into this one."""
        self._kept = keep_state(self.session.state)

    def scene_imported(self) -> None:
        """Another scene was loaded into this one: what it knows joins what is there."""
        if self._kept is not None:
            join_imported(self.session.state, self._kept)
            self._kept = None
        self.refresh_all()

    def may_close(self) -> bool:
        """Ask before the program's exit ends a job."""
        return not self.session.is_busy or confirm(_("A job is running and would be cancelled. Exit anyway?"))

    def clean_up(self) -> None:
        """The module is going away."""
        # First what must not outlive the program; at its exit the widgets may be gone already.
        self.session.shut_down()
        self.clock.stop()
        self.soon.stop()
        if not self.root:
            return
        for step in (self.support.clean_up, self._put_away):
            try:
                step()
            except Exception:
                LOGGER.exception("The module could not be put away as it should.")

    def _put_away(self) -> None:
        """Let go of the widgets: a reload would otherwise keep the old ones, hidden, with all that they hold."""
        for dialog in (self._library, self._storage):
            if dialog is not None:
                dialog.dialog.close()
                dialog.dialog.deleteLater()
        self.root.setMRMLScene(None)
        self.root.deleteLater()

    def _library_changed(self) -> None:
        state = self.session.state
        state.choose("card", library.renewed_card(state.choice("card", None)))
        self.session.notify("models")

    def _missing(self) -> str:
        return self.dependencies.reason

    def _require_dependencies(self) -> None:
        if self._missing():
            raise InputError("dependencies-missing", self._missing(), _("Then try again."))

    def _dependencies_changed(self) -> None:
        self.session.notify("dependencies")
        self.session.notify("models")

    def _tell_doctor(self) -> None:
        activity = self.session.activity("doctor")
        self.ui.checkButton.enabled = activity is None or not activity.is_active
        if activity is None or activity.is_active or self._doctor_told:
            return
        self._doctor_told = True
        text = str((activity.result or {}).get("text") or activity.describe())
        viewer = "Slicer " + str(getattr(slicer.app, "applicationVersion", "")) + ", " + platform.platform()
        slicer.util.infoDisplay(_("System check"), windowTitle="FSEFT", detailedText=f"{viewer}\n\n{text}")


class CloseGuard(qt.QObject):  # type: ignore[misc]
    """Asks before the main window closes while a job runs.

    Args:
        window: the main window.
        may_close: asked; False keeps the window open.
    """

    def __init__(self, window: Any, may_close: Callable[[], bool]) -> None:
        qt.QObject.__init__(self)
        self._window = window
        self._may_close = may_close
        window.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Stop the close event when the user wants to stay."""
        if event.type() == qt.QEvent.Close and not self._may_close():
            event.ignore()
            return True
        return False

    def remove(self) -> None:
        """Stop hearing."""
        # At the program's exit the window may be gone already.
        if self._window:
            self._window.removeEventFilter(self)


def run_soon(action: Callable[[], None]) -> None:
    """Run a function when the event loop is next idle."""
    qt.QTimer.singleShot(0, action)


def _log_file() -> Path | None:
    from fseft.files import home

    try:
        return home() / "logs" / "installation.log"
    except ImportError:
        folder = getattr(slicer.app, "slicerUserSettingsFilePath", "")
        return Path(folder).parent / "FSEFT-installation.log" if folder else None

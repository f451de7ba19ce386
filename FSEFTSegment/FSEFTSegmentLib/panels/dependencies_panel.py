"""The strip at the top that tells what is missing and installs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from FSEFTSegmentLib.dependencies import (
    Installers,
    describe_missing,
    install,
    installed_version,
    missing_requirements,
    slicer_installers,
)
from FSEFTSegmentLib.panels.common import ask_folder, guarded, load_ui


class DependenciesPanel:
    """Hidden while everything is there.

    Args:
        host: takes the panel.
        on_change: called after an installation.
        version_of: looks up installed versions.
        installers: how packages get in; Slicer's own by default.
        log_file: where the log is kept.
    """

    def __init__(
        self,
        host: Any,
        on_change: Callable[[], None],
        version_of: Callable[[str], str | None] = installed_version,
        installers: Installers | None = None,
        log_file: Path | None = None,
    ) -> None:
        self.root, self.ui = load_ui("DependenciesPanel", host)
        self._on_change = on_change
        self._version_of = version_of
        self._installers = installers
        self._log_file = log_file
        self._reason = ""
        self.ui.installButton.clicked.connect(guarded(lambda: self.install(None)))
        self.ui.wheelsButton.clicked.connect(guarded(self._install_wheels))
        self.ui.logButton.clicked.connect(lambda *_: self._show_log())
        self.refresh()

    @property
    def reason(self) -> str:
        """Why the worker cannot run, "" when it can; remembered, since it is asked often."""
        return self._reason

    def refresh(self) -> None:
        """Look again at what is missing."""
        missing = missing_requirements(self._version_of)
        self.root.visible = bool(missing)
        self._reason = _("Install the missing packages first (see the top of the module).") if missing else ""
        self.ui.message.text = describe_missing(missing)

    def install(self, wheels: Path | None) -> None:
        """Install what is missing, on this thread, as Slicer's own installers want it."""
        self.ui.installButton.enabled = self.ui.wheelsButton.enabled = False
        try:
            installers = self._installers or slicer_installers(slicer)
            outcome = install(installers, wheels, self._version_of, self._log_file)
        finally:
            self.ui.installButton.enabled = self.ui.wheelsButton.enabled = True
        self.refresh()
        self.ui.log.plainText = "\n".join(outcome.log)
        self._on_change()
        if not outcome.ok:
            self.ui.message.text = outcome.message
            self.ui.installButton.text = _("Try again")

    def _show_log(self) -> None:
        self.ui.log.visible = self.ui.logButton.checked

    def _install_wheels(self) -> None:
        folder = ask_folder(_("Folder with wheel files"))
        if folder:
            self.install(Path(folder))

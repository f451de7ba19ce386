"""What FSEFT keeps on the disk: backbones and the feature cache, with their sizes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from fseft.files import cache_home, home
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.panels.common import (
    ask_file_to_read,
    confirm,
    guarded,
    read_only_item,
    set_columns,
    set_reason,
)
from FSEFTSegmentLib.panels.job_view import JobView
from FSEFTSegmentLib.session import Session


def folder_megabytes(folder: Path) -> float:
    """Size of a folder's files in MB; 0 when it is not there."""
    if not folder.is_dir():
        return 0.0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


class StorageDialog:
    """A dialog over backbones and the feature cache.

    Args:
        session: downloads and imports; its jobs may be reading what would be deleted.
        on_change: called after a change.
    """

    def __init__(self, session: Session, on_change: Callable[[], None]) -> None:
        self.session = session
        self._on_change = on_change
        self.choices: list[library.BackboneChoice] = []
        self._size = 0.0
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.windowTitle = _("Backbones and storage")
        self.dialog.minimumWidth, self.dialog.minimumHeight = 640, 400
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(qt.QLabel(_("Backbones: the pretrained networks that models are adapted from")))
        self.table = qt.QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels([_("Backbone"), _("State"), _("MB"), _("Licence")])
        self.table.selectionBehavior = qt.QAbstractItemView.SelectRows
        set_columns(self.table, 0, (1, 2))
        self.table.setColumnWidth(3, 170)
        self.table.itemSelectionChanged.connect(lambda *_: self._show_buttons())
        layout.addWidget(self.table)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.download_button = qt.QPushButton(_("Download"))
        self.download_button.clicked.connect(guarded(self.download_backbone))
        row.addWidget(self.download_button)
        self.import_button = qt.QPushButton(_("Import file…"))
        self.import_button.clicked.connect(guarded(self.import_backbone))
        row.addWidget(self.import_button)
        self.remove_button = qt.QPushButton(_("Remove"))
        self.remove_button.clicked.connect(guarded(self.remove_backbone))
        row.addWidget(self.remove_button)
        row.addStretch(1)
        job_host = qt.QWidget()
        qt.QVBoxLayout(job_host)
        layout.addWidget(job_host)
        self.job_view = JobView(session, "backbone", job_host)
        self.cache_label = qt.QLabel()
        self.cache_label.wordWrap = True
        layout.addWidget(self.cache_label)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.clear_button = qt.QPushButton(_("Clear the feature cache"))
        self.clear_button.clicked.connect(guarded(self.clear_cache))
        row.addWidget(self.clear_button)
        row.addStretch(1)
        close = qt.QPushButton(_("Close"))
        close.clicked.connect(lambda *_: self.dialog.accept())
        row.addWidget(close)

    def show(self) -> None:
        """Open the dialog without blocking the views."""
        self.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def refresh(self) -> None:
        """Look at the disk again."""
        self.choices = library.list_backbones()
        self.table.rowCount = len(self.choices)
        for position, choice in enumerate(self.choices):
            state = _("bundled") if choice.bundled else _("installed") if choice.installed else _("not installed")
            texts = (choice.title or choice.id, state, str(choice.megabytes or "-"), choice.licence or "-")
            for column, text in enumerate(texts):
                self.table.setItem(position, column, read_only_item(text, f"{text}\n{choice.source}"))
        size = self._size = folder_megabytes(cache_home())
        self.cache_label.text = _(
            "Feature cache: {size:.0f} MB in {folder}. It makes work on known scans fast; clear it any time."
        ).format(size=size, folder=str(cache_home()))
        self.show_cache_button()
        self._show_buttons()

    def show_cache_button(self) -> None:
        """A job began or ended: the cache is cleared between jobs only."""
        busy = self.session.is_busy or self.session.queue.is_busy
        set_reason(self.clear_button, _("A job is using it.") if busy else "" if self._size > 0 else _("It is empty."))

    def download_backbone(self) -> None:
        """Download the selected backbone, after telling its licence."""
        choice = self._selected()
        if choice is not None and confirm(
            _("Download “{name}” ({size} MB) from {source}?\n\nLicence: {licence}").format(
                name=choice.id, size=choice.megabytes, source=choice.source, licence=choice.licence
            )
        ):
            self.session.install_backbone(choice.id)

    def import_backbone(self) -> None:
        """Import the selected backbone from a file its publisher gave."""
        choice = self._selected()
        if choice is not None:
            name = ask_file_to_read(_("Weights of {name}").format(name=choice.id), "(*.pth *.pt *.safetensors)")
            if name:
                self.session.install_backbone(choice.id, name)

    def show_job(self) -> None:
        """The installation went on, or ended."""
        self.job_view.refresh()
        self._show_buttons()

    def remove_backbone(self) -> None:
        """Remove the selected backbone, after asking."""
        choice = self._selected()
        if choice is not None and confirm(
            _("Remove “{name}”? Models made with it cannot be used until it is installed again.").format(name=choice.id)
        ):
            shutil.rmtree(home() / "backbones" / choice.id)
            self.refresh()
            self._on_change()

    def clear_cache(self) -> None:
        """Remove all feature volumes."""
        self.show_cache_button()
        if self.clear_button.enabled:
            shutil.rmtree(cache_home(), ignore_errors=True)
        self.refresh()

    def _selected(self) -> library.BackboneChoice | None:
        row = self.table.currentRow()
        return self.choices[row] if 0 <= row < len(self.choices) else None

    def _show_buttons(self) -> None:
        choice: Any = self._selected()
        reason = _("Select a backbone first.") if choice is None else ""
        here = reason
        if not here and choice.installed:
            here = _("It is installed.")
        if not here and self.session.is_active("backbone"):
            here = _("Another backbone is being installed.")
        set_reason(self.import_button, here, _("Use the weight file that its publisher offers"))
        if not here and not choice.can_download:
            here = _("There is no verified address: get the file from its publisher, then import it.")
        set_reason(self.download_button, here)
        if choice is not None and (choice.bundled or not choice.installed):
            reason = _("It came with FSEFT.") if choice.bundled else _("It is not installed.")
        set_reason(self.remove_button, reason or (_("A job is running.") if self.session.queue.is_busy else ""))

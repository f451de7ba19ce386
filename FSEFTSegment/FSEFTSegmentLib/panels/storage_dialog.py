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
from FSEFTSegmentLib.panels.common import confirm, guarded, read_only_item, set_columns, set_reason


def folder_megabytes(folder: Path) -> float:
    """Size of a folder's files in MB; 0 when it is not there."""
    if not folder.is_dir():
        return 0.0
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


class StorageDialog:
    """A dialog over backbones and the feature cache.

    Args:
        on_change: called after a change.
        is_busy: whether a job is running, which may be reading what would be deleted.
    """

    def __init__(self, on_change: Callable[[], None], is_busy: Callable[[], bool]) -> None:
        self._on_change = on_change
        self._is_busy = is_busy
        self.choices: list[library.BackboneChoice] = []
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
        self.remove_button = qt.QPushButton(_("Remove"))
        self.remove_button.clicked.connect(guarded(self.remove_backbone))
        row.addWidget(self.remove_button)
        row.addStretch(1)
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
        size = folder_megabytes(cache_home())
        self.cache_label.text = _(
            "Feature cache: {size:.0f} MB in {folder}. It makes work on known scans fast; clear it any time."
        ).format(size=size, folder=str(cache_home()))
        set_reason(
            self.clear_button,
            _("A job is using it.") if self._is_busy() else "" if size > 0 else _("It is empty."),
        )
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
        if not self._is_busy():
            shutil.rmtree(cache_home(), ignore_errors=True)
            self.refresh()

    def _selected(self) -> library.BackboneChoice | None:
        row = self.table.currentRow()
        return self.choices[row] if 0 <= row < len(self.choices) else None

    def _show_buttons(self) -> None:
        choice: Any = self._selected()
        reason = _("Select a backbone first.") if choice is None else ""
        if choice is not None and (choice.bundled or not choice.installed):
            reason = _("It came with FSEFT.") if choice.bundled else _("It is not installed.")
        set_reason(self.remove_button, reason or (_("A job is running.") if self._is_busy() else ""))

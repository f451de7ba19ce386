"""The model library: what there is, and renaming, exporting, importing and deleting it, and going back in time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from fseft.errors import ModelError
from fseft.models.library import export_model, import_model, remove_model
from fseft.models.versions import ModelVersion, list_versions, roll_back
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.panels.card import card_html
from FSEFTSegmentLib.panels.common import (
    ask_file_to_read,
    ask_file_to_write,
    ask_text,
    confirm,
    guarded,
    read_only_item,
    set_columns,
    set_reason,
)


class LibraryDialog:
    """A dialog over the adapted models.

    Args:
        on_change: called after a change, so that lists elsewhere follow.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.entries: list[Any] = []
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.windowTitle = _("Model library")
        self.dialog.minimumWidth, self.dialog.minimumHeight = 640, 420
        layout = qt.QVBoxLayout(self.dialog)
        self.table = qt.QTableWidget(0, 4)
        self.table.setHorizontalHeaderLabels([_("Model"), _("Structures"), _("Method"), _("Made")])
        self.table.selectionBehavior = qt.QAbstractItemView.SelectRows
        self.table.selectionMode = qt.QAbstractItemView.SingleSelection
        set_columns(self.table, 1, (0, 2, 3))
        self.table.itemSelectionChanged.connect(lambda *_: self._show_details())
        layout.addWidget(self.table)
        self.details = qt.QLabel()
        self.details.wordWrap = True
        self.details.textFormat = qt.Qt.RichText
        layout.addWidget(self.details)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.buttons: dict[str, Any] = {}
        for name, text, action in (
            ("import", _("Import…"), self.import_model),
            ("export", _("Export…"), self.export_model),
            ("rename", _("Rename…"), self.rename_model),
            ("delete", _("Delete"), self.delete_model),
        ):
            button = qt.QPushButton(text)
            button.clicked.connect(guarded(action))
            row.addWidget(button)
            self.buttons[name] = button
        self.buttons["roll back"] = qt.QPushButton(_("Roll back…"))
        self.versions_menu = qt.QMenu(self.buttons["roll back"])
        self.versions_menu.aboutToShow.connect(lambda *_: self.fill_versions())
        self.buttons["roll back"].setMenu(self.versions_menu)
        row.addWidget(self.buttons["roll back"])
        row.addStretch(1)
        close = qt.QPushButton(_("Close"))
        close.clicked.connect(lambda *_: self.dialog.accept())
        row.addWidget(close)
        self.refresh()

    def show(self) -> None:
        """Open the dialog without blocking the views."""
        self.refresh()
        self.dialog.show()
        self.dialog.raise_()

    def refresh(self) -> None:
        """List the models anew."""
        self.entries = library.models()
        row = self.table.currentRow()
        self.table.rowCount = len(self.entries)
        for position, entry in enumerate(self.entries):
            description = entry.description or {}
            names = ", ".join(structure["name"] for structure in description.get("structures", []))
            texts = (
                entry.name,
                names or entry.problem,
                str(description.get("method", "")),
                str(description.get("created", ""))[:10],
            )
            for column, text in enumerate(texts):
                self.table.setItem(position, column, read_only_item(text))
        if self.entries:
            self.table.setCurrentCell(min(max(row, 0), len(self.entries) - 1), 0)
        self._show_details()

    @property
    def selected(self) -> Any | None:
        """The selected entry."""
        row = self.table.currentRow()
        return self.entries[row] if 0 <= row < len(self.entries) else None

    def import_model(self) -> None:
        """Add a model from a file."""
        name = ask_file_to_read(_("Import a model"), _("Adapted models (*.zip)"))
        if name:
            try:
                import_model(Path(name))
            except ModelError as problem:
                if problem.code != "model-exists":
                    raise
                other = ask_text(
                    _("Import a model"), _("{problem} Name for the imported one:").format(problem=problem.message)
                ).strip()
                if not other:
                    return
                import_model(Path(name), other)
            self._changed()

    def export_model(self) -> None:
        """Write the selected model to a file."""
        entry = self.selected
        if entry is not None:
            name = ask_file_to_write(_("Export the model"), f"{entry.name}.zip", _("Adapted models (*.zip)"))
            if name:
                export_model(entry.name, Path(name))

    def rename_model(self) -> None:
        """Ask for another name."""
        entry = self.selected
        if entry is not None:
            name = ask_text(_("Rename the model"), _("New name:"), entry.name).strip()
            if name and name != entry.name:
                library.rename_model(entry.name, name)
                self._changed()

    def delete_model(self) -> None:
        """Delete the selected model, after asking."""
        entry = self.selected
        if entry is not None and confirm(_("Delete the model “{name}” for good?").format(name=entry.name)):
            remove_model(entry.name)
            self._changed()

    def fill_versions(self) -> None:
        """List the earlier versions of the selected model, the most recently replaced first."""
        self.versions_menu.clear()
        entry = self.selected
        for version in list_versions(entry.folder) if entry is not None else []:
            action = self.versions_menu.addAction(library.version_line(version))
            action.enabled = version.description is not None
            action.triggered.connect(guarded(lambda v=version: self.roll_back(entry, v)))

    def roll_back(self, entry: Any, version: ModelVersion) -> None:
        """Put an earlier version in the model's place, after asking."""
        if confirm(
            _("Use “{name}” again as it was: {version}?\n\nThe present one is kept as an earlier version.").format(
                name=entry.name, version=library.version_line(version)
            )
        ):
            roll_back(entry.folder, version.id)
            self._changed()

    def _changed(self) -> None:
        self.refresh()
        self._on_change()

    def _show_details(self) -> None:
        entry = self.selected
        none = "" if entry is not None else _("There is no model selected.")
        for name in ("export", "rename", "delete"):
            set_reason(self.buttons[name], none)
        reason = none
        if entry is not None and not list_versions(entry.folder):
            reason = _("There is no earlier version: one is kept whenever Adapt replaces a model.")
        set_reason(self.buttons["roll back"], reason, _("Go back to the model as it was before Adapt replaced it"))
        if entry is None:
            self.details.text = _("No model yet: press Adapt, or import one.")
        elif entry.description is None:
            self.details.text = entry.problem
        else:
            # The library goes by the folder's name; a model that was renamed keeps inside what it was made as.
            self.details.text = card_html({**entry.description, "name": entry.name}, wide=True)

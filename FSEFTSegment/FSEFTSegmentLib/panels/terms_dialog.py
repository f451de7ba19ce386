"""Choosing a structure's standard code among those that Slicer knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.terms import Term, list_names, list_terms, terminologies_logic
from FSEFTSegmentLib.panels.common import guarded, icon_of_color, on_chosen, set_reason, silenced


class TermsDialog:
    """A searchable list of codes.

    Slicer has a dialog for this, but what is chosen in it cannot be read from Python; the codes themselves can.

    Args:
        on_term: called with the structure's label value and the chosen term, None for "no code".
    """

    def __init__(self, on_term: Callable[[int, Term | None], None]) -> None:
        self._on_term = on_term
        self._value = 0
        self._shown: list[Term] = []
        self.logic = terminologies_logic()
        self.dialog = qt.QDialog(slicer.util.mainWindow())
        self.dialog.windowTitle = _("Standard code")
        self.dialog.minimumWidth, self.dialog.minimumHeight = 420, 460
        layout = qt.QVBoxLayout(self.dialog)
        self.title = qt.QLabel()
        layout.addWidget(self.title)
        self.lists = qt.QComboBox()
        self.lists.toolTip = _("The list of codes to choose from")
        layout.addWidget(self.lists)
        self.search = qt.QLineEdit()
        self.search.placeholderText = _("Search, for example: kidney right")
        self.search.clearButtonEnabled = True
        layout.addWidget(self.search)
        self.list = qt.QListWidget()
        self.list.alternatingRowColors = True
        layout.addWidget(self.list)
        row = qt.QHBoxLayout()
        layout.addLayout(row)
        self.none_button = qt.QPushButton(_("No code"))
        self.choose_button = qt.QPushButton(_("Choose"))
        self.choose_button.default = True
        cancel = qt.QPushButton(_("Cancel"))
        row.addWidget(self.none_button)
        row.addStretch(1)
        for button in (self.choose_button, cancel):
            row.addWidget(button)
        self.search.textChanged.connect(lambda *_: self.fill())
        on_chosen(self.lists, self.fill)
        self.list.itemSelectionChanged.connect(lambda *_: self._show_button())
        self.list.itemDoubleClicked.connect(guarded(self.choose))
        self.choose_button.clicked.connect(guarded(self.choose))
        self.none_button.clicked.connect(guarded(self.choose_none))
        cancel.clicked.connect(lambda *_: self.dialog.reject())

    def open(self, structure: Any) -> None:
        """Ask for the code of a structure, without blocking the views."""
        self._value = structure.value
        self.title.text = _("Standard code of “{name}”").format(name=structure.name)
        names = list_names(self.logic)
        with silenced(self.lists, self.search):
            self.lists.clear()
            for name in names:
                self.lists.addItem(name.rsplit(" - ", 1)[-1], name)
            self.lists.visible = len(names) > 1
            self.lists.currentIndex = max(0, self.lists.findData(structure.terminology.split("~")[0]))
            self.search.text = ""
        self.fill()
        self._select(structure.terminology)
        self.none_button.enabled = bool(structure.terminology)
        self.dialog.show()
        self.dialog.raise_()
        self.search.setFocus()

    def fill(self) -> None:
        """List what is searched for, in any order of words."""
        words = str(self.search.text).lower().replace(",", " ").split()
        name = str(self.lists.itemData(self.lists.currentIndex) or "")
        terms = list_terms(self.logic, name)
        self._shown = [t for t in terms if all(word in f"{t.label} {t.category}".lower() for word in words)]
        with silenced(self.list):
            self.list.clear()
            for term in self._shown:
                item = qt.QListWidgetItem(term.label)
                item.setToolTip(f"{term.category}: {term.label}")
                if term.color is not None:
                    item.setIcon(icon_of_color(term.color))
                self.list.addItem(item)
        if words and self._shown:
            self.list.currentRow = 0
        self._show_button()

    def choose(self) -> None:
        """Take the selected code."""
        row = self.list.currentRow
        if 0 <= row < len(self._shown):
            self.dialog.accept()
            self._on_term(self._value, self._shown[row])

    def choose_none(self) -> None:
        """Take the code off."""
        self.dialog.accept()
        self._on_term(self._value, None)

    def _select(self, entry: str) -> None:
        """Select an entry, whatever is said of the region."""
        for row, term in enumerate(self._shown):
            if entry and term.entry.split("~")[1:4] == entry.split("~")[1:4]:
                self.list.currentRow = row
                return

    def _show_button(self) -> None:
        chosen = 0 <= self.list.currentRow < len(self._shown)
        set_reason(self.choose_button, "" if chosen else _("Select a code in the list first."))

"""The table of structures: add, rename, recolour, give standard codes, remove."""

from __future__ import annotations

from functools import partial
from typing import Any

import qt
from fseft.structures import Structure
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.results import nodes_of_class
from FSEFTSegmentLib.mrml.segments import list_segments
from FSEFTSegmentLib.mrml.terms import Term
from FSEFTSegmentLib.panels.common import (
    ask_text,
    errors_shown,
    fit_height,
    guarded,
    icon_of_color,
    read_only_item,
    set_columns,
    set_reason,
    silenced,
)
from FSEFTSegmentLib.panels.terms_dialog import TermsDialog
from FSEFTSegmentLib.presets import preset_names, terminology_label
from FSEFTSegmentLib.session import Session


class StructureTable:
    """Shows the session's structures in a table widget.

    Args:
        ui: widgets ``structureTable``, ``addStructureButton``, ``removeStructureButton``.
        session: whose structures.
    """

    def __init__(self, ui: Any, session: Session) -> None:
        self.ui = ui
        self.session = session
        set_columns(ui.structureTable, 1, (0, 2))
        ui.structureTable.cellChanged.connect(self._edited)
        ui.structureTable.cellDoubleClicked.connect(self._double_clicked)
        ui.structureTable.itemSelectionChanged.connect(lambda *_: self._show_buttons())
        ui.removeStructureButton.clicked.connect(guarded(self._remove))
        self._terms: TermsDialog | None = None
        self.menu = qt.QMenu(ui.addStructureButton)
        # Made once: a submenu that its menu made would stay, hidden, at every filling, with all that its actions hold.
        self.presets_menu = qt.QMenu(_("Standard structure"), self.menu)
        self.sources_menu = qt.QMenu(_("From a segmentation"), self.menu)
        self.menu.aboutToShow.connect(lambda *_: self.fill_menu())
        ui.addStructureButton.setMenu(self.menu)
        self.refresh()

    def fill_menu(self) -> None:
        """Make the menu anew: what can be added depends on the scene."""
        menu = self.menu
        menu.clear()
        self.presets_menu.clear()
        self.sources_menu.clear()
        menu.addAction(_("New…")).triggered.connect(guarded(self._add_new))
        taken = {structure.canonical for structure in self.session.state.structures}
        menu.addMenu(self.presets_menu)
        for name in preset_names():
            if name not in taken:
                action = self.presets_menu.addAction(name)
                action.triggered.connect(guarded(lambda n=name: self.session.support.add_structure(n)))
        nodes = [n for n in nodes_of_class(self.session.scene, "vtkMRMLSegmentationNode") if list_segments(n)]
        if nodes:
            menu.addMenu(self.sources_menu)
            for node in nodes:
                action = self.sources_menu.addAction(node.GetName())
                action.triggered.connect(guarded(partial(self._add_structures_of, node.GetID())))

    def _add_structures_of(self, identifier: str) -> None:
        # By identifier: an action lives until the menu is made anew, and would keep the node alive for so long.
        node = self.session.scene.GetNodeByID(identifier)
        if node is not None:
            self.session.support.add_structures_of(node)

    def refresh(self) -> None:
        """Show the structures."""
        table, structures = self.ui.structureTable, self.session.state.structures
        row = table.currentRow()
        with silenced(table):
            table.rowCount = len(structures)
            for position, structure in enumerate(structures):
                color = read_only_item("", _("Double-click to change the colour"))
                color.setIcon(icon_of_color(structure.color))
                name = qt.QTableWidgetItem(structure.name)
                name.setToolTip(
                    _("Double-click to rename; the annotations follow. Label value: {value}").format(
                        value=structure.value
                    )
                )
                code = terminology_label(structure.terminology)
                tip = _("Double-click to choose the standard code; results and exported files carry it")
                table.setItem(position, 0, color)
                table.setItem(position, 1, name)
                table.setItem(position, 2, read_only_item(code or "-", tip))
            if 0 <= row < len(structures):
                table.setCurrentCell(row, 1)
        fit_height(table, 3, 7)
        self._show_buttons()

    def clean_up(self) -> None:
        """The module is going away."""
        if self._terms is not None:
            self._terms.dialog.close()
            self._terms.dialog.deleteLater()

    def _show_buttons(self) -> None:
        reason = "" if self._selected() is not None else _("Select a structure first.")
        set_reason(
            self.ui.removeStructureButton, reason, _("Take it out of the list; what was drawn stays in the annotations")
        )

    def _selected(self) -> Any | None:
        structures, row = self.session.state.structures, self.ui.structureTable.currentRow()
        return structures[row] if 0 <= row < len(structures) else None

    def _add_new(self) -> None:
        name = ask_text(_("Add structure"), _("Name of the structure:"))
        if name:
            self.session.support.add_structure(name)

    def _remove(self) -> None:
        structure = self._selected()
        if structure is not None:
            self.session.support.remove_structure(structure.value)

    def _edited(self, row: int, column: int) -> None:
        structures = self.session.state.structures
        if column != 1 or row >= len(structures):
            return
        with errors_shown():
            self.session.support.change_structure(
                structures[row].value, name=self.ui.structureTable.item(row, 1).text()
            )
        self.refresh()

    def _double_clicked(self, row: int, column: int) -> None:
        structures = self.session.state.structures
        if row >= len(structures):
            return
        if column == 2:
            self.choose_term(structures[row])
        elif column == 0:
            self._choose_color(row)

    def choose_term(self, structure: Structure) -> None:
        """Open the list of standard codes for a structure."""
        if self._terms is None:
            self._terms = TermsDialog(self._term_chosen)
        self._terms.open(structure)

    def _term_chosen(self, value: int, term: Term | None) -> None:
        # The structure may have gone while the dialog was open.
        if any(structure.value == value for structure in self.session.state.structures):
            self.session.support.set_terminology(
                value, term.entry if term is not None else "", term.color if term is not None else None
            )

    def _choose_color(self, row: int) -> None:
        structures = self.session.state.structures
        before = structures[row].color
        color = qt.QColorDialog.getColor(qt.QColor(*(round(255 * channel) for channel in before)))
        if color.isValid():
            channels = (color.red() / 255, color.green() / 255, color.blue() / 255)
            self.session.support.change_structure(structures[row].value, color=channels)

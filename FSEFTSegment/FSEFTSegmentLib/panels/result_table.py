"""The table of results: volume, expected range, predicted Dice and flags per structure and scan."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.centres import centre_of_segment
from FSEFTSegmentLib.mrml.results import show_before
from FSEFTSegmentLib.panels.card import millilitres
from FSEFTSegmentLib.panels.common import WARNING_COLOR, fit_height, read_only_item, set_columns, silenced
from FSEFTSegmentLib.segmentation import flag_text, refinement_of
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Result


def volume_text(entry: dict[str, Any]) -> str:
    """A structure's volume in ml, with the one before where refinement changed it ("52.1 → 61.0")."""
    if entry.get("volume_ml") is None:
        return "-"
    refined, now = refinement_of(entry), millilitres(entry["volume_ml"])
    return f"{millilitres(refined['before_ml'])} → {now}" if refined.get("action") == "refined" else now


def predicted_text(dice: dict[str, float] | None) -> str:
    """Predicted Dice with its interval ("0.84 (0.75-0.92)")."""
    return f"{dice['value']:.2f} ({dice['low']:.2f}–{dice['high']:.2f})" if dice else "-"


class ResultTable:
    """Shows the session's results; a click sends the views to the structure.

    Args:
        table: six columns: scan, structure, ml, expected, Dice, flags.
        session: whose results.
    """

    def __init__(self, table: Any, session: Session) -> None:
        self.table = table
        self.session = session
        self.rows: list[tuple[Result, str]] = []
        self._flags: list[list[str]] = []
        #: Whether results are shown as they were before refinement.
        self.before = False
        set_columns(table, 0, (1, 2, 3, 4, 5))
        table.horizontalHeaderItem(5).setToolTip(_("Something to look at"))
        table.cellClicked.connect(lambda row, _column: self.jump(row))
        table.itemSelectionChanged.connect(lambda *_: session.notify("selection"))

    @property
    def selected(self) -> Result | None:
        """The result of the selected row."""
        row = self.table.currentRow()
        return self.rows[row][0] if 0 <= row < len(self.rows) else None

    def refresh(self) -> None:
        """Show the results as they stand."""
        self.rows, self._flags = [], []
        cells = []
        for result in self.session.state.results:
            scan = self.session.state.result_node(result, "scan")
            name = scan.GetName() if scan is not None else _("(removed)")
            for entry in result.report.get("structures", []):
                self.rows.append((result, str(entry["name"])))
                flags = [flag_text(flag) for flag in [*result.report.get("flags", []), *entry.get("flags", [])]]
                self._flags.append(flags)
                cells.append((name, entry, flags))
        row = self.table.currentRow()
        with silenced(self.table):
            self.table.rowCount = len(cells)
            for position, (name, entry, flags) in enumerate(cells):
                self._fill_row(position, name, entry, flags)
            if 0 <= row < len(cells):
                self.table.setCurrentCell(row, 0)
        # With one scan its name says nothing, and the room is better used.
        self.table.setColumnHidden(0, len(self.session.state.results) < 2)
        header = self.table.horizontalHeader()
        several = len(self.session.state.results) > 1
        mode = qt.QHeaderView.ResizeToContents if several else qt.QHeaderView.Stretch
        header.setSectionResizeMode(1, mode)
        fit_height(self.table, 2, 9)

    def _fill_row(self, position: int, scan: str, entry: dict[str, Any], flags: list[str]) -> None:
        expected = entry.get("expected_ml")
        texts = (
            scan,
            str(entry["name"]),
            volume_text(entry),
            f"{millilitres(expected[0])}–{millilitres(expected[1])}" if expected else "-",
            predicted_text(entry.get("predicted_dice")),
            "!" if flags else "",
        )
        refined = refinement_of(entry)
        tips = {2: f"{texts[2]} ml\n{refined['why']}" if refined.get("why") else texts[2], 5: "\n".join(flags)}
        for column, text in enumerate(texts):
            item = read_only_item(text, tips.get(column, text))
            if flags and column in (2, 5):
                item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)))
            if column in (2, 3, 4):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            self.table.setItem(position, column, item)

    def note(self) -> str:
        """What there is to look at: for the selected row, else how much there is at all."""
        flagged = [(result, name, flags) for (result, name), flags in zip(self.rows, self._flags, strict=True) if flags]
        row = self.table.currentRow()
        if 0 <= row < len(self.rows) and self._flags[row]:
            return f"{self.rows[row][1]}: " + "; ".join(self._flags[row])
        if flagged:
            return _("{count} structure(s) to look at; click a red row.").format(count=len(flagged))
        return ""

    def jump(self, row: int) -> None:
        """Show a row's scan and send the views to its structure."""
        if not 0 <= row < len(self.rows):
            return
        result, name = self.rows[row]
        state = self.session.state
        scan, node = state.result_node(result, "scan"), state.result_node(result, "result")
        if scan is None or node is None:
            return
        for other in state.results:
            for role in ("result", "before"):
                shown = state.result_node(other, role)
                if shown is not None and shown.GetDisplayNode() is not None and other.key != result.key:
                    shown.GetDisplayNode().SetVisibility(False)
        before = state.result_node(result, "before")
        show_before(node, before, self.before and before is not None)
        slicer.util.setSliceViewerLayers(background=scan)
        centre = centre_of_segment(node, name)
        if centre is not None:
            slicer.modules.markups.logic().JumpSlicesToLocation(*centre, True)

"""The table of results: volume, expected range, predicted Dice and what to look at, per scan and structure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.centres import centre_of_segment
from FSEFTSegmentLib.mrml.results import show_before
from FSEFTSegmentLib.panels.card import millilitres
from FSEFTSegmentLib.panels.common import WARNING_COLOR, read_only_item, set_columns, silenced
from FSEFTSegmentLib.segmentation import flag_text, refinement_of
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Result

#: Before what there is to look at.
MARK = "▲ "


def _marked(flags: Sequence[str]) -> str:
    text = "; ".join(flags)
    return f"{MARK}{text[:1].upper()}{text[1:]}"


def notes_text(notes: Sequence[Any]) -> str:
    """What is worth knowing without being a reason for doubt, in one line."""
    return _("Note: {notes}").format(notes="; ".join(map(str, notes)))


def volume_text(entry: dict[str, Any]) -> str:
    """A structure's volume in ml, with the one before where refinement changed it ("52.1 → 61.0")."""
    if entry.get("volume_ml") is None:
        return "-"
    refined, now = refinement_of(entry), millilitres(entry["volume_ml"])
    return f"{millilitres(refined['before_ml'])} → {now}" if refined.get("changed_ml") else now


def expected_text(expected: Sequence[float] | None) -> str:
    """The range that the annotations suggest ("1180–1720")."""
    return f"{millilitres(expected[0])}–{millilitres(expected[1])}" if expected else "-"


def predicted_text(dice: dict[str, float] | None) -> str:
    """Predicted Dice with its interval ("0.84 (0.75-0.92)")."""
    return f"{dice['value']:.2f} ({dice['low']:.2f}–{dice['high']:.2f})" if dice else "-"


@dataclass(frozen=True)
class _Row:
    """A row of the table.

    Attributes:
        result: whose.
        name: the structure's; "" for the row that names the scan and for what is to be looked at in the whole scan.
        entry: the report's on the structure, where its figures are shown.
        text: what spans the row instead, where there are no figures.
        flags: what is to be looked at, for the rows with figures.
        is_note: whether the text is a mere note.
    """

    result: Result
    name: str
    entry: dict[str, Any] | None = None
    text: str = ""
    flags: tuple[str, ...] = ()
    is_note: bool = False


class ResultTable:
    """Shows the session's results, scan by scan; a click sends the views to the structure.

    Below the figures of a structure stands in words what there is to look at, marked and coloured; notes, which are no
    reason for doubt, stand below that, plain and in italics.

    Args:
        table: four columns: structure, ml, expected, Dice.
        session: whose results.
    """

    def __init__(self, table: Any, session: Session) -> None:
        self.table = table
        self.session = session
        self.rows: list[_Row] = []
        #: Whether results are shown as they were before refinement.
        self.before = False
        set_columns(table, 0, (1, 2, 3))
        table.cellClicked.connect(lambda row, _column: self.jump(row))
        table.itemSelectionChanged.connect(lambda *_: session.notify("selection"))

    @property
    def selected(self) -> Result | None:
        """The result of the selected row."""
        row = self.table.currentRow()
        return self.rows[row].result if 0 <= row < len(self.rows) else None

    def refresh(self) -> None:
        """Show the results as they stand; what was selected stays selected, wherever it is now."""
        before = self.table.currentRow()
        chosen = self.rows[before] if 0 <= before < len(self.rows) else None
        self.rows = [row for result in self.session.state.results for row in self._rows_of(result)]
        with silenced(self.table):
            self.table.clearSpans()
            self.table.rowCount = len(self.rows)
            for position, content in enumerate(self.rows):
                self._fill_row(position, content)
            # By its number it would be another result's row once one above it is gone.
            self.table.setCurrentCell(self._row_of(chosen), 0)
        self._fit()

    def _row_of(self, chosen: _Row | None) -> int:
        """Where a row is now, or its scan's first one; -1 when its result is gone."""
        found = -1
        for position, row in enumerate(self.rows if chosen is not None else ()):
            if chosen is not None and row.result.key == chosen.result.key:
                if (row.name, row.entry is None, row.is_note) == (chosen.name, chosen.entry is None, chosen.is_note):
                    return position
                found = position if found < 0 else found
        return found

    def _fit(self) -> None:
        """Long words get more lines; the table is as high as its rows, within limits."""
        metrics, width = self.table.fontMetrics(), max(300, self.table.viewport().width)
        height = 28
        for position, row in enumerate(self.rows):
            # Bold letters are wider than those measured.
            lines = 1 + int(1.12 * metrics.boundingRect(row.text).width() / (width - 12))
            self.table.setRowHeight(position, 8 + 16 * min(lines, 4))
            height += self.table.rowHeight(position)
        self.table.minimumHeight = self.table.maximumHeight = min(max(height, 100), 320)

    def _rows_of(self, result: Result) -> list[_Row]:
        scan = self.session.state.result_node(result, "scan")
        title = scan.GetName() if scan is not None else _("(removed)")
        if len({other.model for other in self.session.state.results}) > 1:
            # The same scan may stand here once for each model.
            title = _("{scan} - {model}").format(scan=title, model=result.model)
        rows = [_Row(result, "", text=title)]
        whole = tuple(flag_text(flag) for flag in result.report.get("flags", []))
        rows += [_Row(result, "", text=_marked(whole))] if whole else []
        for entry in result.report.get("structures", []):
            name, flags = str(entry["name"]), tuple(flag_text(flag) for flag in entry.get("flags", []))
            rows.append(_Row(result, name, entry, flags=flags))
            rows += [_Row(result, name, text=_marked(flags))] if flags else []
            notes = entry.get("notes") or []
            rows += [_Row(result, name, text=notes_text(notes), is_note=True)] if notes else []
        return rows

    def _fill_row(self, position: int, row: _Row) -> None:
        if row.entry is None:
            item, font = read_only_item(row.text), self.table.font
            if row.is_note:
                font.setItalic(True)
            elif row.text.startswith(MARK):
                item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)))
            else:
                font.setBold(True)
                item.setToolTip(_("{scan}\nSegmented with “{model}”").format(scan=row.text, model=row.result.model))
            item.setFont(font)
            self.table.setItem(position, 0, item)
            self.table.setSpan(position, 0, 1, self.table.columnCount)
            return
        texts = (
            row.name,
            volume_text(row.entry),
            expected_text(row.entry.get("expected_ml")),
            predicted_text(row.entry.get("predicted_dice")),
        )
        refined = refinement_of(row.entry)
        why = "\n".join([f"{texts[1]} ml", *([str(refined["why"])] if refined.get("why") else [])])
        tips = {1: why}
        if refined.get("changed_ml") and texts[3] != "-":
            tips[3] = _("{dice}\nPredicted for the result before refinement").format(dice=texts[3])
        for column, text in enumerate(texts):
            item = read_only_item(text, tips.get(column, text))
            if row.flags and column == 1:
                item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)))
            if column:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            self.table.setItem(position, column, item)

    def note(self) -> str:
        """How much there is to look at, "" for nothing."""
        flagged = sum(bool(row.flags) for row in self.rows)
        if flagged == 1:
            return _("1 structure to look at; click it and the views go there.")
        if flagged:
            return _("{count} structures to look at; click one and the views go there.").format(count=flagged)
        return ""

    def jump(self, row: int) -> None:
        """Show a row's scan and send the views to its structure."""
        if not 0 <= row < len(self.rows):
            return
        result, name = self.rows[row].result, self.rows[row].name
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
        centre = centre_of_segment(node, name) if name else None
        if centre is not None:
            slicer.modules.markups.logic().JumpSlicesToLocation(*centre, True)

"""The expected volumes of the chosen model, editable before segmenting."""

from __future__ import annotations

from typing import Any

import qt
from fseft.priors.presets import Preset, preset_for
from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.card import millilitres
from FSEFTSegmentLib.panels.common import (
    WARNING_COLOR,
    fit_height,
    guarded,
    read_only_item,
    set_columns,
    set_reason,
    silenced,
)


class PriorsTable:
    """Shows priors and remembers those that were edited.

    Args:
        table: three columns: structure, from, to.
        preset_button: puts the normal adult volume into the selected row, when it is pressed and never by itself.
    """

    def __init__(self, table: Any, preset_button: Any) -> None:
        self.table = table
        self.preset_button = preset_button
        self._given: dict[str, tuple[float, float] | None] = {}
        set_columns(table, 0)
        table.cellChanged.connect(lambda *_: self._check())
        table.itemSelectionChanged.connect(lambda *_: self._show_preset())
        preset_button.clicked.connect(guarded(self.use_preset))
        self._show_preset()

    def show(self, description: dict[str, Any] | None) -> None:
        """Show a model's priors; edits of another model's are dropped."""
        structures = [s["name"] for s in (description or {}).get("structures", [])]
        priors = (description or {}).get("priors") or {}
        self._given = {}
        with silenced(self.table):
            self.table.rowCount = len(structures)
            for row, name in enumerate(structures):
                prior = priors.get(name)
                self._given[name] = None
                if prior and prior.get("low_ml") is not None:
                    self._given[name] = (float(prior["low_ml"]), float(prior["high_ml"]))
                source = str(prior.get("source", "")) if prior else _("unknown: no whole annotation")
                self.table.setItem(row, 0, read_only_item(name, source))
                for column, position in ((1, 0), (2, 1)):
                    given = self._given[name]
                    item = qt.QTableWidgetItem(millilitres(given[position]) if given else "")
                    item.setToolTip(_("Millilitres; edit it where you know better. Source: {s}").format(s=source))
                    self.table.setItem(row, column, item)
        fit_height(self.table, 1, 8)
        self._show_preset()

    def use_preset(self) -> None:
        """Put the normal adult volume into the selected row."""
        row, preset = self._selected()
        if preset is None:
            return
        for column, value in ((1, preset.low_ml), (2, preset.high_ml)):
            self.table.item(row, column).setText(millilitres(value))
            self.table.item(row, column).setToolTip(_describe(preset))

    def edited(self) -> dict[str, dict[str, Any]]:
        """Priors that differ from the model's, as a job has them."""
        changed: dict[str, dict[str, Any]] = {}
        for row, name in enumerate(self._given):
            numbers = self._numbers(row)
            given = self._given[name]
            shown = _rounded(given) if given else None
            if numbers is None or numbers == shown:
                continue
            preset = preset_for(name)
            if preset is not None and numbers == _rounded((preset.low_ml, preset.high_ml)):
                # Asked for as a preset, so that the report names its source.
                changed[name] = {"preset": True}
            else:
                changed[name] = {"low_ml": numbers[0], "high_ml": numbers[1]}
        return changed

    def problem(self) -> str:
        """What is wrong with an entry, "" when nothing is."""
        for row, name in enumerate(self._given):
            texts = [self.table.item(row, column).text().strip() for column in (1, 2)]
            if any(texts) and self._numbers(row) is None:
                return _("The expected volume of “{name}” needs two numbers, the smaller first.").format(name=name)
        return ""

    def _numbers(self, row: int) -> tuple[float, float] | None:
        try:
            low, high = (float(self.table.item(row, column).text().replace(",", ".")) for column in (1, 2))
        except ValueError:
            return None
        return (low, high) if 0 <= low <= high else None

    def _selected(self) -> tuple[int, Preset | None]:
        """The selected row and the preset of its structure."""
        row, names = self.table.currentRow(), list(self._given)
        return row, preset_for(names[row]) if 0 <= row < len(names) else None

    def _show_preset(self) -> None:
        row, preset = self._selected()
        reason = ""
        if not 0 <= row < len(self._given):
            reason = _("Select a structure in the table first.")
        elif preset is None:
            name = list(self._given)[row]
            reason = _("No volume of “{name}” in normal adults could be verified in the literature.").format(name=name)
        set_reason(self.preset_button, reason, _describe(preset) if preset is not None else "")

    def _check(self) -> None:
        with silenced(self.table):
            for row in range(len(self._given)):
                texts = [self.table.item(row, column).text().strip() for column in (1, 2)]
                wrong = any(texts) and self._numbers(row) is None
                for column in (1, 2):
                    item = self.table.item(row, column)
                    item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)) if wrong else qt.QBrush())


def _rounded(values: tuple[float, float]) -> tuple[float, ...]:
    """A range as it is shown."""
    return tuple(float(millilitres(value)) for value in values)


def _describe(preset: Preset) -> str:
    return _("{low} - {high} ml. {citation}. {basis}.").format(
        low=millilitres(preset.low_ml),
        high=millilitres(preset.high_ml),
        citation=preset.citation,
        basis=preset.basis,
    )

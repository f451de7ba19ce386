"""The expected volumes of the chosen model, editable before segmenting."""

from __future__ import annotations

from typing import Any

import qt
from slicer.i18n import tr as _

from FSEFTSegmentLib.panels.card import millilitres
from FSEFTSegmentLib.panels.common import WARNING_COLOR, fit_height, read_only_item, set_columns, silenced


class PriorsTable:
    """Shows priors and remembers those that were edited.

    Args:
        table: three columns: structure, from, to.
    """

    def __init__(self, table: Any) -> None:
        self.table = table
        self._given: dict[str, tuple[float, float] | None] = {}
        set_columns(table, 0)
        table.cellChanged.connect(lambda *_: self._check())

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

    def edited(self) -> dict[str, dict[str, float]]:
        """Priors that differ from the model's, as a job has them."""
        changed = {}
        for row, name in enumerate(self._given):
            numbers = self._numbers(row)
            given = self._given[name]
            shown = tuple(float(millilitres(v)) for v in given) if given else None
            if numbers is not None and numbers != shown:
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

    def _check(self) -> None:
        with silenced(self.table):
            for row in range(len(self._given)):
                texts = [self.table.item(row, column).text().strip() for column in (1, 2)]
                wrong = any(texts) and self._numbers(row) is None
                for column in (1, 2):
                    item = self.table.item(row, column)
                    item.setForeground(qt.QBrush(qt.QColor(WARNING_COLOR)) if wrong else qt.QBrush())

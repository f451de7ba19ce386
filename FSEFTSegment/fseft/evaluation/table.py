"""Evaluation results as rows, and as text, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from fseft.evaluation.metrics import StructureMetrics
from fseft.files import replace_whole

METRICS: tuple[str, ...] = tuple(field.name for field in fields(StructureMetrics))
_CSV_COLUMNS = ("case", "structure", *METRICS, "tolerance_mm")
#: By which files are known for tables of FSEFT's.
CSV_START, JSON_FORMAT = ",".join(_CSV_COLUMNS), "fseft-evaluation"


@dataclass(frozen=True)
class EvaluationRow:
    """One structure in one case; ``case`` is what the user's file is called."""

    case: str
    structure: str
    metrics: StructureMetrics


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of the finite values of a column; nan where there are too few."""

    mean: float
    sd: float


@dataclass(frozen=True)
class StructureSummary:
    """One structure over all cases.

    Attributes:
        structure: its name.
        cases: cases that count, those where prediction and reference are both empty left out.
        missed: cases in which the structure is there and nothing was predicted.
        invented: cases in which something was predicted and the structure is not there.
        spreads: by the name of a field of StructureMetrics. Distances are infinite where a structure was missed
            or invented, and such cases are not in the distance's mean: read it together with ``missed``.
    """

    structure: str
    cases: int
    missed: int
    invented: int
    spreads: dict[str, Spread]


@dataclass(frozen=True)
class EvaluationTable:
    """Rows in the order of cases, and the tolerance of their surface Dice in mm."""

    rows: tuple[EvaluationRow, ...]
    tolerance_mm: float

    @property
    def structures(self) -> tuple[str, ...]:
        """Structure names in order of appearance."""
        return tuple(dict.fromkeys(row.structure for row in self.rows))

    def of_structure(self, structure: str) -> list[EvaluationRow]:
        """The rows of one structure that count."""
        return [row for row in self.rows if row.structure == structure and not math.isnan(row.metrics.dice)]

    def summaries(self) -> list[StructureSummary]:
        """One summary per structure, in order of appearance."""
        return [_summarise(structure, self.of_structure(structure)) for structure in self.structures]

    def mean_dice(self) -> float:
        """Mean over structures of their mean Dice; nan when nothing counts."""
        means = [summary.spreads["dice"].mean for summary in self.summaries()]
        means = [mean for mean in means if not math.isnan(mean)]
        return float(np.mean(means)) if means else math.nan

    def to_text(self, cases: bool = False) -> str:
        """A table for people: one line per structure, or one per case and structure."""
        head = ["structure", "n", "Dice", f"surface Dice ({self.tolerance_mm:g} mm)", "HD95 mm", "volume error ml", "%"]
        if cases:
            head[1] = "case"
            lines = [[row.structure, row.case, *_figures(row.metrics)] for row in self.rows]
        else:
            lines = [_summary_line(summary) for summary in self.summaries()]
        return aligned([head, *lines], text_columns=2 if cases else 1)

    def to_csv(self) -> str:
        """Every row; nan is an empty cell, infinite is "inf"."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_CSV_COLUMNS)
        for row in self.rows:
            values = [_cell(getattr(row.metrics, name)) for name in METRICS]
            writer.writerow([_safe(row.case), _safe(row.structure), *values, self.tolerance_mm])
        return stream.getvalue()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; figures that are nan or infinite are null."""
        return {
            "format": JSON_FORMAT,
            "version": 1,
            "tolerance_mm": self.tolerance_mm,
            "rows": [
                {"case": row.case, "structure": row.structure, **_finite(asdict(row.metrics))} for row in self.rows
            ],
            "summary": [
                {
                    "structure": summary.structure,
                    "cases": summary.cases,
                    "missed": summary.missed,
                    "invented": summary.invented,
                    **{name: _finite(asdict(spread)) for name, spread in summary.spreads.items()},
                }
                for summary in self.summaries()
            ],
        }

    def write(self, path: Path) -> None:
        """Write CSV, JSON or text, by the path's ending.

        Raises:
            ResourceError: "disk-full" or "cannot-write".
        """
        ending = path.suffix.lower()
        if ending == ".csv":
            text = self.to_csv()
        elif ending == ".json":
            text = json.dumps(self.to_json(), indent=1, allow_nan=False) + "\n"
        else:
            text = self.to_text() + "\n"
        with replace_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")


def aligned(rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Rows as text with straight columns: the first ``text_columns`` to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _summarise(structure: str, rows: Sequence[EvaluationRow]) -> StructureSummary:
    spreads = {}
    for name in METRICS:
        values = np.array([getattr(row.metrics, name) for row in rows], dtype=np.float64)
        values = values[np.isfinite(values)]
        spreads[name] = Spread(
            float(values.mean()) if len(values) else math.nan,
            float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        )
    missed = sum(row.metrics.predicted_ml == 0 for row in rows)
    invented = sum(row.metrics.reference_ml == 0 for row in rows)
    return StructureSummary(structure, len(rows), missed, invented, spreads)


def _figures(metrics: StructureMetrics) -> list[str]:
    shown = (("dice", 3), ("surface_dice", 3), ("hd95_mm", 1), ("volume_error_ml", 1), ("volume_error_percent", 1))
    return [_number(getattr(metrics, name), digits, "volume_error" in name) for name, digits in shown]


def _summary_line(summary: StructureSummary) -> list[str]:
    shown = (("dice", 3), ("surface_dice", 3), ("hd95_mm", 1), ("volume_error_ml", 1), ("volume_error_percent", 1))
    cells = []
    for name, digits in shown:
        spread = summary.spreads[name]
        text = _number(spread.mean, digits, "volume_error" in name)
        cells.append(text if math.isnan(spread.sd) else f"{text} ± {spread.sd:.{digits}f}")
    count = str(summary.cases)
    notes = [f"{n} {word}" for n, word in ((summary.missed, "missed"), (summary.invented, "invented")) if n]
    return [summary.structure, f"{count} ({', '.join(notes)})" if notes else count, *cells]


def _number(value: float, digits: int, signed: bool) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞"
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _safe(text: str) -> str:
    """A spreadsheet takes cells that start like a formula for one; a quote in front keeps them text."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}

"""How long work tells the outside how it is going, and hears that it should stop."""

from __future__ import annotations

from typing import Any


class Reporter:
    """Receives progress, metrics and messages; this base class is silent.

    Long loops call :meth:`check_cancelled` at least every two seconds; it raises
    :class:`fseft.errors.Cancelled` when the work should stop.
    """

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        """``done`` of ``total`` units of ``phase`` ("features", "training", ...) are finished."""

    def metric(self, name: str, step: int, value: float, **labels: Any) -> None:
        """One point of a curve, for example ``metric("loss", 12, 0.31, structure="liver")``."""

    def log(self, message: str, level: str = "info") -> None:
        """A sentence for the log; ``level`` is "info" or "warning"."""

    def check_cancelled(self) -> None:
        """Raise :class:`fseft.errors.Cancelled` when the work should stop."""


SILENT = Reporter()

"""Progress on a terminal: one line per phase, redrawn in place, with the time left."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any, TextIO

from fseft.jobs.cancellation import CancelWatch
from fseft.jobs.events import PhaseClock
from fseft.reporting import Reporter

_TITLES = {
    "cases": "Reading cases",
    "features": "Features",
    "training": "Training",
    "pretraining": "Pretraining",
    "segmentation": "Segmenting",
    "scans": "Scans",
    "validation": "Leave-one-out",
    "evaluation": "Evaluating",
}


class TerminalReporter(Reporter):
    """Draws progress on standard error; plain lines where that is not a terminal, nothing when quiet."""

    def __init__(self, quiet: bool = False, stream: TextIO | None = None, watch: CancelWatch | None = None) -> None:
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._clock = PhaseClock()
        self._drawn = 0.0
        self._open = ""
        self._watch = watch

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        left = self._clock.time_left(phase, done, total)
        finished = done >= total
        now = time.monotonic()
        if self._quiet or (not finished and now - self._drawn < (0.1 if self._live else 10.0)):
            return
        self._drawn = now
        share = done / total if total else 1.0
        text = f"{_TITLES.get(phase, phase.capitalize()):<14} {share:4.0%}"
        if self._live:
            filled = round(20 * share)
            text += f" [{'#' * filled}{'.' * (20 - filled)}]"
        if left:
            text += f" {_duration(left)} left"
        self._line(f"{text}  {detail}".rstrip(), phase, finished)

    def metric(self, name: str, step: int, value: float, **labels: Any) -> None:
        """Curves are drawn by the report, not on the terminal."""

    def log(self, message: str, level: str = "info") -> None:
        if self._quiet and level == "info":
            return
        self._close()
        print(("Warning: " if level == "warning" else "") + message, file=self._stream, flush=True)

    def check_cancelled(self) -> None:
        if self._watch is not None:
            self._watch.check()

    def _line(self, text: str, phase: str, finished: bool) -> None:
        if not self._live:
            print(text, file=self._stream, flush=True)
            return
        if self._open and self._open != phase:
            self._close()
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r" + text[:width].ljust(width))
        self._open = phase
        if finished:
            self._close()
        self._stream.flush()

    def _close(self) -> None:
        if self._open:
            self._stream.write("\n")
            self._open = ""


def _duration(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d} min" if whole >= 60 else f"{whole} s"

"""The worker's voice: one JSON line per event on standard output."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, TextIO

from fseft.jobs.cancellation import CancelWatch
from fseft.reporting import Reporter


class EventWriter:
    """Writes events as JSON lines; safe to use from several threads."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()

    def write(self, event: str, **content: Any) -> None:
        """Write one event; NaN and infinity become null, since JSON has neither."""
        line = json.dumps({"event": event, **_finite(content)}, ensure_ascii=True, allow_nan=False)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class EventReporter(Reporter):
    """Reports as events, with an estimate of the time left, at most ten progress lines a second per phase."""

    def __init__(self, writer: EventWriter, watch: CancelWatch | None = None) -> None:
        self._writer = writer
        self._watch = watch
        self._clock = PhaseClock()
        self._last: dict[str, float] = {}

    def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
        eta = self._clock.time_left(phase, done, total)
        now = time.monotonic()
        if 0 < done < total and now - self._last.get(phase, -1.0) < 0.1:
            return
        self._last[phase] = now
        self._writer.write("progress", phase=phase, done=done, total=total, eta_s=eta, detail=detail)

    def metric(self, name: str, step: int, value: float, **labels: Any) -> None:
        self._writer.write("metric", name=name, step=step, value=value, **labels)

    def log(self, message: str, level: str = "info") -> None:
        self._writer.write("log", level=level, message=message)

    def check_cancelled(self) -> None:
        if self._watch is not None:
            self._watch.check()


class PhaseClock:
    """Seconds left of a phase, from the pace since it began."""

    def __init__(self) -> None:
        self._began: dict[str, tuple[float, float]] = {}

    def time_left(self, phase: str, done: float, total: float) -> float | None:
        """Estimated seconds until ``done`` reaches ``total``; None before there is a pace."""
        now = time.monotonic()
        start = self._began.get(phase)
        if start is None or done < start[1]:
            self._began[phase] = (now, done)
            return None
        began, first = start
        if done >= total:
            self._began.pop(phase)
            return 0.0
        if done <= first or now - began < 0.2:
            return None
        return round((now - began) / (done - first) * (total - done), 1)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value

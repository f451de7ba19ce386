"""What the worker says: one JSON object per line of standard output, and an exit code at the end."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

EXIT_OK = 0
EXIT_INTERNAL = 1
EXIT_INPUT = 2
EXIT_RESOURCE = 3
EXIT_CANCELLED = 4

EVENT_KINDS = frozenset({"started", "progress", "metric", "log", "result", "error"})


@dataclass(frozen=True)
class Event:
    """One line of the worker.

    Attributes:
        kind: one of :data:`EVENT_KINDS`.
        content: the line's other members.
    """

    kind: str
    content: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why a job did not end well, for a person.

    Attributes:
        code: stable identifier in kebab case.
        message: one sentence on what is wrong.
        hint: one sentence on what to do.
        details: traceback or last lines, shown on demand only.
    """

    code: str
    message: str
    hint: str
    details: str = ""


def read_event(line: str) -> Event | None:
    """The event in a line, or None for anything else a library printed."""
    text = line.strip()
    if not text.startswith("{"):
        return None
    try:
        content = json.loads(text)
    except ValueError:
        return None
    if not isinstance(content, dict) or content.get("event") not in EVENT_KINDS:
        return None
    kind = content.pop("event")
    return Event(kind, content)


def failure_of_event(event: Event) -> Failure:
    """The failure an "error" event describes; missing members become plain sentences."""
    content = event.content
    return Failure(
        str(content.get("code") or "unknown"),
        str(content.get("message") or "The job failed."),
        str(content.get("hint") or "Open the details for the cause."),
        str(content.get("details") or ""),
    )


#: Words in the last lines of a process that died without an error event, and what they mean. The first match counts.
_TELLTALES: tuple[tuple[str, str, str, str], ...] = (
    (
        "No module named",
        "dependencies-missing",
        "A Python package that the engine needs is not installed.",
        "Open Dependencies, press Install, and start the job again.",
    ),
    (
        "out of memory",
        "out-of-memory",
        "The computer ran out of memory.",
        "Close other programs or scans, choose the CPU as device, and start the job again.",
    ),
    (
        "MemoryError",
        "out-of-memory",
        "The computer ran out of memory.",
        "Close other programs or scans, or crop the scan, and start the job again.",
    ),
    (
        "No space left on device",
        "disk-full",
        "The disk is full.",
        "Free some space, or clear the feature cache, and start the job again.",
    ),
    (
        "DLL load failed",
        "library-broken",
        "A library of the engine cannot be loaded.",
        "Open Dependencies, reinstall PyTorch, and restart Slicer.",
    ),
)


def failure_of_exit(exit_code: int, last_lines: Sequence[str]) -> Failure:
    """The failure of a process that ended without saying why.

    Args:
        exit_code: as the operating system gave it; negative for a signal.
        last_lines: the end of its output, kept as the details.
    """
    details = "\n".join(last_lines)
    for words, code, message, hint in _TELLTALES:
        if words.lower() in details.lower():
            return Failure(code, message, hint, details)
    if exit_code < 0 or exit_code in (137, 139):
        number = -exit_code if exit_code < 0 else exit_code - 128
        name = _signal_name(number)
        if number == 9:
            return Failure(
                "killed",
                "The job was ended by the operating system, most often because memory ran out.",
                "Close other programs or scans, or crop the scan, and start the job again.",
                details,
            )
        return Failure(
            "crashed",
            f"The job's process crashed ({name}).",
            "Start it again; if it crashes again, run the system check and keep the log.",
            details,
        )
    return Failure(
        "unexpected-exit",
        f"The job ended unexpectedly (exit code {exit_code}).",
        "Open the details for its last lines, and run the system check.",
        details,
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

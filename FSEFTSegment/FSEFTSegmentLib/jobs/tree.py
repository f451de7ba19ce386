"""Ending a process with everything it started.

Slicer's Python is started by a launcher, so the process one knows is not the one that works: killing it alone
would leave the work running.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def descendants(pid: int) -> list[int]:
    """Identifiers of all processes below ``pid``, children before grandchildren; empty where it cannot be told."""
    parents = _parents()
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level and child not in found]
        found.extend(level)
    return found


def _parents() -> dict[int, int]:
    """Process identifier -> its parent's."""
    parents: dict[int, int] = {}
    if os.path.isdir("/proc/self"):
        for name in os.listdir("/proc"):
            if not name.isdigit():
                continue
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stream:
                    # The command's name is in parentheses and may hold anything, also spaces and parentheses.
                    parents[int(name)] = int(stream.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                continue
        return parents
    for line in (_output(["ps", "-A", "-o", "pid=,ppid="]) or "").splitlines():
        numbers = line.split()
        if len(numbers) == 2:
            parents[int(numbers[0])] = int(numbers[1])
    return parents


def kill_tree(pid: int) -> None:
    """End a process and everything below it at once. Quiet when it is gone already."""
    if pid <= 0 or pid == os.getpid():
        return
    if sys.platform == "win32":
        _output(["taskkill", "/PID", str(pid), "/T", "/F"])
        return
    # The parent first, so that it starts no further children while they are being ended.
    for victim in [pid, *descendants(pid)]:
        try:
            os.kill(victim, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def _output(command: list[str]) -> str | None:
    flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        done = subprocess.run(  # noqa: S603  fixed programs, numbers as arguments
            command, capture_output=True, text=True, errors="replace", timeout=20, check=False, creationflags=flags
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout

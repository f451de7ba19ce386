"""How much memory the machine has left, asked before something large is read."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fseft.errors import ResourceError

#: Gives the bytes of memory that can still be used, or None when the system does not say.
AvailableBytes = Callable[[], "int | None"]

_CGROUP_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def available_bytes() -> int | None:
    """Bytes of memory a new task may use, or None when it cannot be found out.

    Linux: MemAvailable, or what a container's limit leaves, whichever is smaller. Windows: free physical memory.
    Elsewhere: half of the physical memory, since the free part is not told without further packages.
    """
    if sys.platform == "win32":
        return _windows_available()
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
        told = next((line for line in lines if line.startswith("MemAvailable:")), None)
        if told is not None:
            free = int(told.split()[1]) * 1024
            left = _container_left()
            return free if left is None else min(free, left)
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def require_memory(needed: int, what: str, available: AvailableBytes | None = None) -> None:
    """Refuse a task that cannot fit.

    Args:
        needed: bytes at the peak.
        what: the subject of the message, for example "Reading scan.nrrd".
        available: asked for the free bytes; the machine by default.

    Raises:
        ResourceError: "scan-too-large".
    """
    free = (available or available_bytes)()
    if free is not None and needed > free:
        raise ResourceError(
            "scan-too-large",
            f"{what} needs about {_gigabytes(needed)} of memory, and {_gigabytes(free)} is free.",
            "Close other programs, crop the scan to the region of interest, or use a machine with more memory.",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _container_left() -> int | None:
    """What a control group's limit leaves, or None without one; a container's limit does not show in meminfo."""
    for limit_file, used_file in _CGROUP_FILES:
        try:
            limit = int(limit_file.read_text(encoding="ascii"))
            used = int(used_file.read_text(encoding="ascii"))
        except (OSError, ValueError):  # absent, or the word "max"
            continue
        if limit < 1 << 60:  # the older interface writes a huge number for "no limit"
            # Pages of files that were read count as used though they can be dropped; so never less than a third.
            return max(limit - used, limit // 3)
    return None


def _windows_available() -> int | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            ("total_physical", ctypes.c_ulonglong),
            ("available_physical", ctypes.c_ulonglong),
            ("total_page_file", ctypes.c_ulonglong),
            ("available_page_file", ctypes.c_ulonglong),
            ("total_virtual", ctypes.c_ulonglong),
            ("available_virtual", ctypes.c_ulonglong),
            ("available_extended_virtual", ctypes.c_ulonglong),
        ]

    status = MemoryStatus()
    status.length = ctypes.sizeof(status)
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  (the attribute exists on Windows only)
    return int(status.available_physical) if kernel.GlobalMemoryStatusEx(ctypes.byref(status)) else None

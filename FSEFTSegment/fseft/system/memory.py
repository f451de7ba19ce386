"""How much memory the machine has and what of it a task may still use, without further packages."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUPS = Path("/sys/fs/cgroup")
#: Older control groups write a huge number where there is no limit.
_NO_LIMIT = 1 << 60


def available_memory_bytes() -> int | None:
    """Bytes that a new task may use, or None when the system does not tell.

    Linux: MemAvailable, or what the container's limit leaves, whichever is smaller. macOS: free, inactive,
    speculative and purgeable pages. Windows: free physical memory.
    """
    if sys.platform == "win32":
        status = _windows_status()
        return status[1] if status else None
    if sys.platform == "darwin":
        return parse_vm_stat(_output("vm_stat"))
    available = _meminfo("MemAvailable")
    left = container_left(_CGROUPS, _read(Path("/proc/self/cgroup")))
    told = [number for number in (available, left) if number is not None]
    return min(told) if told else None


def total_memory_bytes() -> int | None:
    """Physical memory in bytes, or the container's limit where that is smaller; None when the system does not tell."""
    if sys.platform == "win32":
        status = _windows_status()
        return status[0] if status else None
    if sys.platform == "darwin":
        text = _output("sysctl", "-n", "hw.memsize").strip()
        return int(text) if text.isdigit() else None
    told = [_meminfo("MemTotal"), container_limit(_CGROUPS, _read(Path("/proc/self/cgroup")))]
    known = [number for number in told if number is not None]
    return min(known) if known else None


def _meminfo(field: str) -> int | None:
    match = re.search(rf"^{field}:\s*(\d+) kB", _read(_MEMINFO), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None


def parse_vm_stat(text: str) -> int | None:
    """Usable bytes in the output of macOS' ``vm_stat``, None when it is something else."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = dict(re.findall(r"^Pages ([a-z]+):\s+(\d+)\.", text, re.MULTILINE))
    if size is None or "free" not in pages:
        return None
    count = sum(int(pages.get(kind, 0)) for kind in ("free", "inactive", "speculative", "purgeable"))
    return count * int(size.group(1))


def container_limit(root: Path, membership: str) -> int | None:
    """The smallest memory limit of this process's control groups, None without one.

    Args:
        root: where control groups are mounted.
        membership: the text of ``/proc/self/cgroup``.
    """
    limits = [limit for folder in _groups(root, membership) if (limit := _limit(folder)) is not None]
    return min(limits) if limits else None


def container_left(root: Path, membership: str) -> int | None:
    """What the limits of this process's control groups leave, None without one; cached file pages do not count as used.

    Args:
        root: where control groups are mounted.
        membership: the text of ``/proc/self/cgroup``.
    """
    left = []
    for folder in _groups(root, membership):
        limit = _limit(folder)
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is None or used is None:
            continue
        cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
        left.append(max(0, limit - used + (int(cached.group(1)) if cached else 0)))
    return min(left) if left else None


def _groups(root: Path, membership: str) -> list[Path]:
    """Folders of this process's memory groups, its own first, up to the root; both interface versions."""
    folders = []
    for line in membership.splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            base = root
        elif "memory" in controllers.split(","):
            base = root / "memory"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        # A container sees its own group as the root, whatever the host calls it.
        folders += [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
    return [folder for folder in folders or [root] if folder.is_dir()]


def _limit(folder: Path) -> int | None:
    for name in ("memory.max", "memory.limit_in_bytes"):
        number = _number(folder / name)
        if number is not None and number < _NO_LIMIT:
            return number
    return None


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 (fixed)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _windows_status() -> tuple[int, int] | None:
    """Total and available physical bytes on Windows."""

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
    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009 (the attribute exists on Windows only)
    if not kernel.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status.total_physical), int(status.available_physical)


def processor_count() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not offered on Windows and macOS
        return os.cpu_count() or 1

"""Paths as image libraries can open them."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def native_path(path: Path) -> str:
    """A path for SimpleITK, whose C++ code opens files by the system's code page on Windows.

    A folder such as ``C:\\Users\\Zoë`` cannot be opened that way outside of programs that ask for UTF-8, which Python
    does not. Windows knows a short name in plain letters for most folders; where it knows none, the path stays as it
    is. The file's own name stays in any case: its short name would lose the ending that tells the format.

    Args:
        path: of a file in a folder that is there.
    """
    if sys.platform != "win32" or str(path).isascii():
        return str(path)
    return os.path.join(short_name(str(path.parent)) or str(path.parent), path.name)


def short_name(path: str) -> str:
    """Windows' short name of a folder; "" where there is none."""
    import ctypes

    library = getattr(ctypes, "windll", None)
    if library is None:
        return ""
    buffer = ctypes.create_unicode_buffer(32768)
    return buffer.value if library.kernel32.GetShortPathNameW(path, buffer, len(buffer)) else ""

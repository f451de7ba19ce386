"""Refusing to read what cannot fit, before it is read."""

from __future__ import annotations

from collections.abc import Callable

from fseft.errors import ResourceError
from fseft.system.memory import available_memory_bytes

#: Gives the bytes of memory that can still be used, or None when the system does not say.
AvailableBytes = Callable[[], "int | None"]


def require_memory(needed: int, what: str, available: AvailableBytes | None = None) -> None:
    """Refuse a task that cannot fit.

    Args:
        needed: bytes at the peak.
        what: the subject of the message, for example "Reading scan.nrrd".
        available: asked for the free bytes; the machine by default.

    Raises:
        ResourceError: "scan-too-large".
    """
    free = (available or available_memory_bytes)()
    if free is not None and needed > free:
        raise ResourceError(
            "scan-too-large",
            f"{what} needs about {_gigabytes(needed)} of memory, and {_gigabytes(free)} is free.",
            "Close other programs, crop the scan to the region of interest, or use a machine with more memory.",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

"""One process at a time replaces a model: what it keeps as a version must be what it replaces. No torch.

The operating system holds the lock and lets go of it when the process ends, however it ends: a lock file that a killed
process left behind locks nothing, and the next process that replaces this model removes it.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: Seconds to wait for another process. Replacing takes part of a second; whoever takes longer hangs or was paused.
PATIENCE_S = 30.0
_POLL_S = 0.02
_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK}


@contextmanager
def replacing(folder: Path) -> Iterator[None]:
    """Keep other processes from replacing the model in a folder meanwhile; they wait. Not to be nested.

    A file ``.lock-NAME`` lies beside the folder as long. Where the file system knows no locks, or another process keeps
    this one waiting too long, the block runs all the same: it could cost an earlier version, waiting on would cost the
    new model.
    """
    whole = Path(os.path.abspath(folder))
    path = whole.parent / f".lock-{whole.name}"
    stream = _lock(path, time.monotonic() + PATIENCE_S)
    try:
        yield
    finally:
        if stream is not None:
            _release(stream, path)


def _lock(path: Path, deadline: float) -> BinaryIO | None:
    """The locked file, None where that cannot be had."""
    while True:
        stream: BinaryIO | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = path.open("ab")
            _take(stream)
            if _is_still(stream, path):
                return stream
        except OSError as problem:
            if problem.errno not in _TAKEN or time.monotonic() > deadline:
                if stream is not None:
                    stream.close()
                return None
            time.sleep(_POLL_S)
        if stream is not None:
            stream.close()


def _is_still(stream: BinaryIO, path: Path) -> bool:
    """Whether the path still names the locked file: who had it before may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _take(stream: BinaryIO) -> None:
    """Lock a file or raise OSError at once."""
    if sys.platform == "win32":
        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _release(stream: BinaryIO, path: Path) -> None:
    if sys.platform == "win32":  # an open file cannot be removed there, and one that another process has open neither
        with suppress(OSError):
            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)
        stream.close()
        with suppress(OSError):
            path.unlink()
    else:  # removed while still locked: nobody can have locked this name in between
        with suppress(OSError):
            path.unlink()
        stream.close()

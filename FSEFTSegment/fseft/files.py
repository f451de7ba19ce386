"""Files that appear whole or not at all, and the folders FSEFT keeps."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fseft.errors import ResourceError
from fseft.processes import process_is_alive


@contextmanager
def replace_whole(target: Path) -> Iterator[Path]:
    """A temporary path in the target's folder; renamed to ``target`` when the block ends well.

    The temporary name keeps the target's suffixes, since image writers choose the format by them. What killed
    processes left behind in the folder is swept away.

    Raises:
        ResourceError: "disk-full" or "cannot-write" instead of a bare OSError.
    """
    suffix = "".join(target.suffixes[-2:])
    if target.is_dir():
        raise _is_a_folder(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        handle, name = tempfile.mkstemp(prefix=_partial_prefix(), suffix=suffix, dir=target.parent)
        os.close(handle)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb+") as stream:
            os.fsync(stream.fileno())
        _ordinary_permissions(partial)
        os.replace(partial, target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target``; takes its place when the block ends well, the old one is removed after.

    A folder cannot be replaced in one step: the old one first steps aside under a known name, from which
    :func:`recover_folder` brings it back should the process die in between.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    target = Path(os.path.abspath(target))  # "." has no name to step aside under
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent)
        recover_folder(target)
        partial = Path(tempfile.mkdtemp(prefix=_partial_prefix(), dir=target.parent))
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    try:
        yield partial
        _exchange(partial, target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _exchange(partial: Path, target: Path) -> None:
    """Put a complete folder in the target's place. Another process may be doing the same: then one waits for it."""
    previous = _previous(target)
    for last in (False,) * _EXCHANGE_TRIES + (True,):
        try:
            if target.exists():
                os.rename(target, previous)
            os.rename(partial, target)
            break
        except OSError:
            if last:
                recover_folder(target)
                raise
            time.sleep(0.05)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder in ``parent`` for work in progress, removed afterwards; :func:`sweep` removes it if the process dies.

    Raises:
        ResourceError: "disk-full" or "cannot-write" when it cannot be made.
    """
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=_partial_prefix(), dir=parent))
    except OSError as problem:
        raise cannot_write(parent, problem) from problem
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_writable(target: Path) -> None:
    """Refuse an output that cannot be written, before the work for it begins. Leaves no trace.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    if target.is_dir():
        raise _is_a_folder(target)
    require_writable_folder(target)


def require_writable_folder(target: Path) -> None:
    """:func:`require_writable` for a folder that :func:`replace_folder` will make or replace."""
    folder = Path(os.path.abspath(target)).parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise cannot_write(target, problem) from problem


def recover_folder(target: Path) -> None:
    """Finish what a killed :func:`replace_folder` left: the old folder returns if no new one took its place."""
    previous = _previous(target)
    if previous.is_dir():
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
        else:
            os.rename(previous, target)


def recover_folders(parent: Path) -> None:
    """:func:`recover_folder` for every folder in ``parent``."""
    for previous in parent.glob(f"{_PREVIOUS}*"):
        recover_folder(parent / previous.name.removeprefix(_PREVIOUS))


def sweep(folder: Path) -> None:
    """Remove what processes of this machine that no longer run left unfinished in a folder."""
    for leftover in folder.glob(f"{_PARTIAL}{_machine()}-*"):
        owner = leftover.name.removeprefix(f"{_PARTIAL}{_machine()}-").split("-")[0]
        if owner.isdigit() and not process_is_alive(int(owner)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


#: No space, and over the user's quota (which Windows does not have).
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_EXCHANGE_TRIES = 5
_PARTIAL = ".partial-"
_PREVIOUS = ".previous-"


def _partial_prefix() -> str:
    return f"{_PARTIAL}{_machine()}-{os.getpid()}-"


def _machine() -> str:
    """Tells machines apart that share a folder: process ids mean nothing on another one."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _previous(target: Path) -> Path:
    whole = Path(os.path.abspath(target))  # "." and ".." have no name
    return whole.parent / (_PREVIOUS + whole.name)


def cannot_write(target: Path, problem: OSError) -> ResourceError:
    """The error for a failed write, told apart by its cause."""
    name = target.name or str(target)
    if problem.errno in _FULL:
        return ResourceError(
            "disk-full",
            f"The disk is full: {name} could not be written.",
            "Free some space, or choose another folder, and run it again.",
        )
    return ResourceError(
        "cannot-write",
        f"{name} could not be written: {problem.strerror or problem}.",
        "Choose a folder you may write to.",
    )


def _is_a_folder(target: Path) -> ResourceError:
    name = target.name or str(target)
    return ResourceError("cannot-write", f"{name} is a folder, not a file.", "Name a file in it.")


def _ordinary_permissions(path: Path) -> None:
    """mkstemp makes files private; what the user asked for gets the permissions the user's umask gives."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def home() -> Path:
    """Where FSEFT keeps what it makes: ``FSEFT_HOME``, or the operating system's place for user data."""
    chosen = os.environ.get("FSEFT_HOME")
    if chosen:
        return Path(chosen)
    # Imported late: the viewer's own process uses this module before the dependencies are installed.
    import platformdirs

    return Path(platformdirs.user_data_dir("fseft", appauthor=False))


def cache_home() -> Path:
    """Where feature volumes go: ``FSEFT_CACHE``, or ``FSEFT_HOME``/cache, or the system's place for caches."""
    chosen = os.environ.get("FSEFT_CACHE")
    if chosen:
        return Path(chosen)
    if os.environ.get("FSEFT_HOME"):
        return home() / "cache"
    import platformdirs

    return Path(platformdirs.user_cache_dir("fseft", appauthor=False))

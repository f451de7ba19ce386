"""Files that appear whole or not at all, and the folders FSEFT keeps."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fseft.errors import ResourceError


@contextmanager
def replace_whole(target: Path) -> Iterator[Path]:
    """A temporary path in the target's folder; renamed to ``target`` when the block ends well.

    The temporary name keeps the target's suffixes, since image writers choose the format by them.

    Raises:
        ResourceError: "disk-full" or "cannot-write" instead of a bare OSError.
    """
    suffix = "".join(target.suffixes[-2:])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".partial-", suffix=suffix, dir=target.parent)
        os.close(handle)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    partial = Path(name)
    try:
        yield partial
        if not os.environ.get("FSEFT_SKIP_FSYNC"):
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
    """A temporary folder beside ``target``; swapped in when the block ends well, the old one removed after.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    try:
        yield partial
        if target.exists():
            # A folder cannot be replaced in one step; the old one steps aside first and comes back on failure.
            aside = Path(tempfile.mkdtemp(prefix=".replaced-", dir=target.parent))
            os.rename(target, aside / "old")
            try:
                os.rename(partial, target)
            except OSError:
                os.rename(aside / "old", target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(partial, target)
    except OSError as problem:
        raise cannot_write(target, problem) from problem
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def cannot_write(target: Path, problem: OSError) -> ResourceError:
    """The error for a failed write, told apart by its cause."""
    if problem.errno == 28:
        return ResourceError(
            "disk-full",
            f"The disk is full: {target.name} could not be written.",
            "Free some space, or choose another folder, and run it again.",
        )
    return ResourceError(
        "cannot-write",
        f"{target.name} could not be written: {problem.strerror or problem}.",
        "Choose a folder you may write to.",
    )


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

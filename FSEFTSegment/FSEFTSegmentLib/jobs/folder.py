"""The private folder of a job: its scans, its job file and its results, gone when the job is done with."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from fseft.processes import process_is_alive

_PREFIX = "fseft-job-"


def new_job_folder(base: Path | None = None) -> Path:
    """A fresh folder that only this user can read.

    Args:
        base: where to make it; the system's temporary folder by default.

    Raises:
        OSError: when the disk is full or the folder cannot be written.
    """
    # The name carries our process identifier, so that a later session can tell what a crashed one left behind.
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base))


def remove_job_folder(folder: Path) -> None:
    """Remove a job's folder; quiet when a virus scanner holds a file, the next start tries again."""
    if folder.name.startswith(_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned_folders(base: Path | None = None) -> list[Path]:
    """Remove folders of programs that no longer run: patient data must not stay behind after a crash."""
    removed = []
    for folder in Path(base or tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = folder.name[len(_PREFIX) :].partition("-")[0]
        if folder.is_dir() and owner.isdigit() and not process_is_alive(int(owner)) and _is_ours(folder):
            remove_job_folder(folder)
            removed.append(folder)
    return removed


def _is_ours(folder: Path) -> bool:
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()

"""Slicer's own ways to run the worker and to wait a little, chosen by what the version offers."""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from FSEFTSegmentLib.jobs.processes import ConsoleProcess, Process, QtProcess, SubprocessProcess
from FSEFTSegmentLib.jobs.queue import JobQueue

#: The folder that holds the packages ``fseft`` and ``FSEFTSegmentLib``.
MODULE_FOLDER = Path(__file__).resolve().parents[1]


def python_interpreter() -> str:
    """Slicer's Python interpreter: ``sys.executable`` is the application itself there."""
    return shutil.which("PythonSlicer") or sys.executable


def worker_command() -> list[str]:
    """The interpreter and its arguments before the job file."""
    return [python_interpreter(), "-m", "fseft.worker"]


def worker_environment() -> dict[str, str]:
    """Variables by which the worker finds the engine, and the user's own settings of FSEFT.

    Slicer starts other programs with the environment it was started with itself: what was set since must be told.
    """
    path = os.environ.get("PYTHONPATH", "")
    settings = {name: value for name, value in os.environ.items() if name.startswith("FSEFT_")}
    return {**settings, "PYTHONPATH": os.pathsep.join(part for part in (str(MODULE_FOLDER), path) if part)}


def new_process_factory(slicer: Any, qt: Any) -> Callable[[], Process]:
    """How this version of Slicer runs a process without waiting for it."""
    launch = getattr(slicer.util, "launchConsoleProcess", None)
    if launch is not None and "completedCallback" in inspect.signature(launch).parameters:
        return lambda: ConsoleProcess(launch)
    return lambda: QtProcess(qt, slicer.util.startupEnvironment())


def make_queue(slicer: Any, qt: Any) -> JobQueue:
    """The job queue of a running Slicer."""
    return JobQueue(worker_command(), new_process_factory(slicer, qt), worker_environment, str(MODULE_FOLDER))


def make_plain_queue() -> JobQueue:
    """A job queue for scripts without an event loop."""
    return JobQueue(worker_command(), SubprocessProcess, worker_environment, str(MODULE_FOLDER))

"""The background worker: ``python -m fseft.worker JOB.json``.

One JSON line per event on standard output: ``started``, ``progress`` (phase, done, total, eta_s, detail),
``metric`` (name, step, value), ``log`` (level, message), ``result`` and ``error`` (code, message, hint, details).
Exit codes: 0 done, 1 unexpected error, 2 unusable input, 3 the machine lacks something, 4 cancelled.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TextIO

import fseft
from fseft.errors import Cancelled, FseftError, JobError, ResourceError
from fseft.jobs.cancellation import CancelWatch
from fseft.jobs.events import EventReporter, EventWriter
from fseft.jobs.job import Job


def main(arguments: list[str]) -> int:
    """Run the job file named on the command line; returns the exit code."""
    writer = EventWriter(_private_stdout())
    try:
        if len(arguments) != 1:
            raise JobError("job-missing", "The worker takes one job file.", "Run: python -m fseft.worker JOB.json")
        job = Job.read(Path(arguments[0]))
        writer.write("started", kind=job.kind, pid=os.getpid(), version=fseft.__version__)
        return _run(job, writer)
    except Exception as problem:
        return report_error(writer, problem)


def _run(job: Job, writer: EventWriter) -> int:
    watch = CancelWatch(job.cancel_file, job.parent_pid, last_words=lambda: _say(writer, Cancelled()))
    try:
        _be_considerate()
        # Imported late: the watch must already be running while torch takes its seconds to load.
        from fseft.jobs.kinds import run_job

        result = run_job(job, EventReporter(writer, watch))
        writer.write("result", result=result)
        return 0
    finally:
        watch.close()


def report_error(writer: EventWriter, problem: BaseException) -> int:
    """Write an exception as an error event; returns the exit code."""
    details = "".join(traceback.format_exception(problem))
    known = as_fseft_error(problem)
    _say(writer, known, details)
    return known.exit_code


def _say(writer: EventWriter, known: FseftError, details: str = "") -> None:
    writer.write("error", code=known.code, message=known.message, hint=known.hint, details=details)


def as_fseft_error(problem: BaseException) -> FseftError:
    """Any exception as an error a person can read."""
    if isinstance(problem, FseftError):
        return problem
    if isinstance(problem, ImportError):
        return ResourceError(
            "package-missing",
            f"A package is missing: {problem.name or problem}.",
            "Install FSEFT's dependencies again.",
        )
    from fseft.compute import is_out_of_memory

    if is_out_of_memory(problem):
        return ResourceError(
            "out-of-memory",
            "The computer ran out of memory.",
            "Close other programs, or compute on the CPU where it was a GPU's memory.",
        )
    return FseftError(
        "unexpected",
        f"Something unexpected went wrong: {type(problem).__name__}: {problem}.",
        "Please report it with the details; your data is unchanged.",
    )


def _be_considerate() -> None:
    """Give way to the viewer: lowest priority that still runs, one core left free where there are more than two."""
    from fseft.compute import use_threads

    if hasattr(os, "nice"):
        os.nice(5)
    use_threads(spare=1 if (os.cpu_count() or 1) > 2 else 0)


def _private_stdout() -> TextIO:
    """Keep standard output for events: whatever libraries print goes to standard error instead."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def _leave(code: int) -> None:
    """End the process; a cancelled one at once, since unloading the libraries takes them part of a second."""
    if code == Cancelled.exit_code:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _leave(main(sys.argv[1:]))

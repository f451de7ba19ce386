"""Runs jobs: one at a time per device, cancelled for certain, never waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from FSEFTSegmentLib.jobs.job import Job, JobState
from FSEFTSegmentLib.jobs.processes import Process
from FSEFTSegmentLib.jobs.protocol import Failure, read_event

GRACE_S = 8.0
LOGGER = logging.getLogger(__name__)


class JobQueue:
    """Starts jobs in order, hands their output to them, and ends those that are cancelled.

    The owner calls :meth:`tick` a few times a second from a timer while :attr:`is_busy`; nothing here blocks.

    Args:
        command: the interpreter and its arguments before the job file, for example ``[python, "-m", "fseft.worker"]``.
        new_process: makes a process, see :mod:`FSEFTSegmentLib.jobs.processes`.
        environment: variables to add, or what gives them when a job starts.
        folder: working folder of the processes.
        grace_s: seconds a cancelled worker gets before its process tree is ended.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        command: Sequence[str],
        new_process: Callable[[], Process],
        environment: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        folder: str = ".",
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = list(command)
        self._new_process = new_process
        self._more_environment = environment or {}
        self._folder = folder
        self._grace_s = grace_s
        self._clock = clock
        self._waiting: list[Job] = []
        self._running: dict[int, tuple[Job, Process]] = {}
        self._deadlines: dict[int, float] = {}

    @property
    def waiting(self) -> list[Job]:
        """Jobs not started yet, in order."""
        return list(self._waiting)

    @property
    def running(self) -> list[Job]:
        """Jobs whose process is alive, also those being cancelled."""
        return [job for job, _ in self._running.values()]

    @property
    def is_busy(self) -> bool:
        """True while anything runs or waits."""
        return bool(self._waiting or self._running)

    def submit(self, job: Job) -> None:
        """Add a job; it starts at once when its device is free."""
        self._waiting.append(job)
        self._start_what_can()

    def cancel(self, job: Job) -> None:
        """Ask a job to stop; a waiting one is dropped, a running one gets the sentinel file and then no mercy."""
        if job in self._waiting:
            self._waiting.remove(job)
            job.move_to(JobState.CANCELLED)
        elif job.state is JobState.RUNNING and id(job) in self._running:
            self._deadlines[id(job)] = self._clock() + self._grace_s
            try:
                job.cancel_file.touch()
            except OSError:
                # A full disk must not keep a job alive.
                self._deadlines[id(job)] = self._clock()
            job.move_to(JobState.CANCELLING)

    def cancel_all(self) -> None:
        """Ask every job to stop."""
        for job in [*self._waiting, *self.running]:
            self.cancel(job)

    def end_now(self) -> None:
        """End every process tree at once, for the program's exit; folders are removed too."""
        for job in list(self._waiting):
            self.cancel(job)
            job.release()
        for job, process in list(self._running.values()):
            job.on_change = None
            process.terminate_tree()
            job.release()
        self._running.clear()

    def tick(self) -> None:
        """Deliver output, end cancelled jobs whose time is up, start what can start."""
        for job, process in list(self._running.values()):
            process.poll()
            deadline = self._deadlines.get(id(job))
            if deadline is not None and self._clock() >= deadline and id(job) in self._running:
                process.terminate_tree()
                # Once is enough in practice; once a grace period in case a process was just being born.
                self._deadlines[id(job)] = self._clock() + self._grace_s
        self._start_what_can()

    def _start_what_can(self) -> None:
        for job in list(self._waiting):
            blocked = job.waits and any(
                other.waits and devices_conflict(job.device, other.device) for other in self._ahead_of(job)
            )
            if not blocked and job in self._waiting:
                self._waiting.remove(job)
                self._start(job)

    def _ahead_of(self, job: Job) -> list[Job]:
        position = self._waiting.index(job) if job in self._waiting else 0
        return self.running + self._waiting[:position]

    def _start(self, job: Job) -> None:
        process = self._new_process()
        self._running[id(job)] = (job, process)
        job.move_to(JobState.RUNNING)
        try:
            job.write_job_file()
            process.start(
                [*self._command, str(job.job_file)],
                self._environment(),
                self._folder,
                lambda line: self._take_line(job, line),
                lambda exit_code: self._take_end(job, exit_code),
            )
        except Exception as problem:
            self._forget(job)
            job.fail(
                Failure(
                    "cannot-start",
                    f"The job could not be started: {problem}.",
                    "Check the free disk space and the installation, then try again.",
                    str(problem),
                )
            )

    def _environment(self) -> dict[str, str]:
        more = self._more_environment
        return {"PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **(more() if callable(more) else more)}

    def _take_line(self, job: Job, line: str) -> None:
        event = read_event(line)
        try:
            if event is None:
                job.take_line(line)
            else:
                job.take_event(event)
        except Exception:
            # A fault in a listener must not lose the job: it still has to end and to be told.
            LOGGER.exception("The event %s could not be shown.", event.kind if event else "line")

    def _take_end(self, job: Job, exit_code: int) -> None:
        self._forget(job)
        try:
            job.take_end(exit_code)
        finally:
            self._start_what_can()

    def _forget(self, job: Job) -> None:
        self._running.pop(id(job), None)
        self._deadlines.pop(id(job), None)


def devices_conflict(one: str, other: str) -> bool:
    """True when two jobs may land on the same device; "auto" may land on any."""
    names = {"cuda:0" if name == "cuda" else name for name in (one, other)}
    return "auto" in names or len(names) == 1

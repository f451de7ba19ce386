"""One job: what it was asked, how far it is, how it ended."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from FSEFTSegmentLib.jobs.folder import remove_job_folder
from FSEFTSegmentLib.jobs.protocol import EXIT_CANCELLED, EXIT_OK, Event, Failure, failure_of_event, failure_of_exit

LAST_LINES = 60


class JobState(Enum):
    """Where a job stands."""

    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True when nothing more will come."""
        return self in (JobState.FINISHED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        phase: what is being done.
        done, total: in units of the phase.
        eta_s: seconds left, None when unknown.
        detail: a few words more.
    """

    phase: str = ""
    done: float = 0.0
    total: float = 0.0
    eta_s: float | None = None
    detail: str = ""

    @property
    def fraction(self) -> float:
        """0..1."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else 0.0


@dataclass
class Job:
    """A piece of work for the worker.

    Attributes:
        kind: "adapt", "segment", "validate", "suggest", "propose" or "doctor".
        parameters: as the worker reads them; paths absolute.
        folder: private folder; removed by :meth:`release`.
        title: what to call it on the screen.
        device: "auto", "cpu", "cuda:0"...; jobs for the same device wait for each other.
        waits: False for jobs so light that they may run beside others.
        context: anything the caller wants back with the job (node identifiers).
        on_change: called with the job and the event (None for a change of state).
    """

    kind: str
    parameters: dict[str, Any]
    folder: Path
    title: str = ""
    device: str = "auto"
    waits: bool = True
    context: dict[str, Any] = field(default_factory=dict)
    on_change: Callable[[Job, Event | None], None] | None = None
    state: JobState = JobState.IDLE
    progress: Progress = field(default_factory=Progress)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    log: list[tuple[str, str]] = field(default_factory=list)
    result: dict[str, Any] | None = None
    failure: Failure | None = None
    last_lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))

    @property
    def cancel_file(self) -> Path:
        """The worker stops when this file appears."""
        return self.folder / "cancel"

    @property
    def job_file(self) -> Path:
        """What the worker reads."""
        return self.folder / "job.json"

    def write_job_file(self) -> None:
        """Write the job file.

        Raises:
            OSError: when the disk is full.
        """
        content = {
            "format": "fseft-job",
            "version": 1,
            "kind": self.kind,
            "parameters": self.parameters,
            "cancel_file": str(self.cancel_file),
            "parent_pid": os.getpid(),
        }
        self.job_file.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")

    def take_event(self, event: Event) -> None:
        """Keep what an event says and tell the listener."""
        content = event.content
        if event.kind == "progress":
            self.progress = Progress(
                str(content.get("phase", "")),
                float(content.get("done") or 0),
                float(content.get("total") or 0),
                content.get("eta_s"),
                str(content.get("detail") or ""),
            )
        elif event.kind == "metric":
            self.metrics.append(content)
        elif event.kind == "log":
            self.log.append((str(content.get("level", "info")), str(content.get("message", ""))))
        elif event.kind == "result":
            result = content.get("result")
            self.result = result if isinstance(result, dict) else content
        elif event.kind == "error":
            self.failure = failure_of_event(event)
        self._tell(event)

    def take_line(self, line: str) -> None:
        """Keep a line that is no event: the last ones explain an unexpected end."""
        if line.strip():
            self.last_lines.append(line)

    def take_end(self, exit_code: int) -> None:
        """Settle the final state from the exit code and what was said before."""
        if self.state.is_over:
            return
        if exit_code == EXIT_OK and self.result is not None and self.failure is None:
            self.move_to(JobState.FINISHED)
        elif exit_code == EXIT_CANCELLED or self.state is JobState.CANCELLING:
            # A worker killed in the middle of being cancelled did what was asked of it.
            self.failure = None
            self.move_to(JobState.CANCELLED)
        else:
            if self.failure is None:
                self.failure = failure_of_exit(exit_code, list(self.last_lines))
            self.move_to(JobState.FAILED)

    def fail(self, failure: Failure) -> None:
        """End the job with a failure that happened outside the worker."""
        self.failure = failure
        self.move_to(JobState.FAILED)

    def move_to(self, state: JobState) -> None:
        """Change the state and tell the listener."""
        self.state = state
        self._tell(None)

    def release(self) -> None:
        """Remove the private folder; to be called once the results are loaded, or the job is over without any."""
        remove_job_folder(self.folder)

    def _tell(self, event: Event | None) -> None:
        if self.on_change is not None:
            self.on_change(self, event)

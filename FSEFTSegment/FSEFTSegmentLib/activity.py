"""Something long that the user started, from writing its inputs to showing its results."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from fseft.errors import FseftError

from FSEFTSegmentLib.jobs.job import Job, JobState
from FSEFTSegmentLib.jobs.protocol import Failure


class Stage(Enum):
    """Where an activity stands."""

    PREPARING = "preparing"
    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    LOADING = "loading"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """True when nothing more will come."""
        return self in (Stage.FINISHED, Stage.FAILED, Stage.CANCELLED)


_STAGES = {
    JobState.IDLE: Stage.WAITING,
    JobState.RUNNING: Stage.RUNNING,
    JobState.CANCELLING: Stage.CANCELLING,
    JobState.FAILED: Stage.FAILED,
    JobState.CANCELLED: Stage.CANCELLED,
}

#: What the worker calls its phases, for people.
PHASES = {
    "reading": "Reading the scans",
    "features": "Computing features",
    "training": "Training",
    "validation": "Checking by leaving cases out",
    "cases": "Reading the annotated scans",
    "segmentation": "Segmenting",
    "refinement": "Refining",
    "scans": "Scans",
    "registration": "Registering",
    "download": "Downloading",
    "evaluation": "Comparing with the truth",
    "report": "Writing the report",
    "phantoms": "Making synthetic scans",
}
#: The same where a kind of activity means something else by it.
PHASES_OF = {("adapt", "registration"): "Registering the annotated scans to each other"}

#: Names that the worker knows scans by, and the files that it reads them from.
_NAME = re.compile(r"\b(scan|case) (\d+)\b")
_FILE = re.compile(r"\b(support-)?(scan|case|annotation)(\d+)(?:\.seg)?\.nrrd\b")


def names_in_job(scans: Sequence[Any], cases: Sequence[Any]) -> dict[str, str]:
    """What the scene calls the nodes that a job knows as "scan 1", "case 2" and so on."""
    nodes = (("scan", scans), ("case", cases))
    return {f"{word} {number}": node.GetName() for word, found in nodes for number, node in enumerate(found, start=1)}


def in_own_names(text: str, names: Mapping[str, str]) -> str:
    """What the worker says, with the names of the scene instead of "scan 1", "case 2" and the files of these."""

    def of_file(found: re.Match[str]) -> str:
        word = "scan" if found[2] == "scan" and not found[1] else "case"
        name = names.get(f"{word} {found[3]}")
        if name is None:
            return found[0]
        return f"The annotation of “{name}”" if found[2] == "annotation" else f"“{name}”"

    text = _FILE.sub(of_file, text)
    return _NAME.sub(lambda found: f"“{names[found[0]]}”" if found[0] in names else found[0], text)


@dataclass
class Activity:
    """One thing under way.

    Attributes:
        kind: "adapt", "segment", "propose" or "doctor".
        title: for the screen.
        stage: where it stands.
        fraction: 0..1 of the present stage.
        job: the worker's job, once there is one.
        failure: why it failed.
        warnings: sentences for the log.
        lacking: what is missing although it finished, in a sentence or two; "" when all went well.
        result: what came out; depends on the kind.
    """

    kind: str
    title: str
    stage: Stage = Stage.PREPARING
    fraction: float = 0.0
    job: Job | None = None
    failure: Failure | None = None
    warnings: list[str] = field(default_factory=list)
    lacking: str = ""
    result: Any = None

    @property
    def is_active(self) -> bool:
        """True until it is over."""
        return not self.stage.is_over

    def follow_job(self) -> None:
        """Take stage and progress from the job."""
        job = self.job
        if job is None or self.stage in (Stage.LOADING, Stage.FINISHED):
            return
        self.stage = _STAGES.get(job.state, self.stage)
        self.fraction = job.progress.fraction
        self.failure = job.failure

    def describe(self) -> str:
        """One line on what is happening."""
        if self.stage is Stage.PREPARING:
            return "Preparing the scans…"
        if self.stage is Stage.WAITING:
            return "Waiting for another job on this device…"
        if self.stage is Stage.CANCELLING:
            return "Cancelling…"
        if self.stage is Stage.LOADING:
            return "Loading the results…"
        if self.stage is Stage.FINISHED:
            return f"Done, but {self._in_own_names(self.lacking)}" if self.lacking else "Done."
        if self.stage is Stage.CANCELLED:
            return "Cancelled; nothing was changed."
        if self.stage is Stage.FAILED:
            return self._in_own_names(f"{self.failure.message} {self.failure.hint}") if self.failure else "It failed."
        progress = self.job.progress if self.job else None
        if progress is None or not progress.phase:
            return "Starting…"
        words = PHASES_OF.get((self.kind, progress.phase)) or PHASES.get(progress.phase, progress.phase.capitalize())
        text = f"{words} - {self._in_own_names(progress.detail)}" if progress.detail else words
        return f"{text} - {time_left(progress.eta_s)}" if progress.eta_s is not None else text

    def log_text(self) -> str:
        """Everything that was said, for the log drawer."""
        lines = [f"Warning: {sentence}" for sentence in self.warnings]
        if self.job is not None:
            lines += [message if level == "info" else f"Warning: {message}" for level, message in self.job.log]
            lines += list(self.job.last_lines)
        if self.failure is not None:
            lines += [f"{self.failure.message} ({self.failure.code})", self.failure.hint, self.failure.details]
        return self._in_own_names("\n".join(line for line in lines if line))

    def _in_own_names(self, text: str) -> str:
        return in_own_names(text, self.job.context.get("names", {}) if self.job is not None else {})


def time_left(seconds: float) -> str:
    """Seconds that are left as a person says them."""
    return f"{about(seconds)} left"


def about(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"{round(seconds / 10) * 10:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def failure_of_exception(problem: Exception) -> Failure:
    """An exception as a failure for the screen."""
    details = "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))
    if isinstance(problem, FseftError):
        return Failure(problem.code, problem.message, problem.hint, details)
    return Failure(
        "unexpected",
        f"Something unexpected went wrong: {problem}.",
        "Please report it with the details; your data is unchanged.",
        details,
    )

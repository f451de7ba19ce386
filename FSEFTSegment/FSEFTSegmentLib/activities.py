"""What runs in the background: from writing a job's inputs to taking its results, and ending it early."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fseft.errors import FseftError, InputError

from FSEFTSegmentLib.activity import Activity, Stage, failure_of_exception
from FSEFTSegmentLib.jobs.folder import new_job_folder, remove_abandoned_folders, remove_job_folder
from FSEFTSegmentLib.jobs.job import Job, JobState
from FSEFTSegmentLib.jobs.protocol import Event
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.steps import StepRunner, Steps

LOGGER = logging.getLogger(__name__)


class Activities:
    """One activity of each kind at a time; listeners hear of every change.

    What a finished job means is told by :meth:`_loading` and :meth:`_take`.

    Args:
        queue: runs the worker.
        schedule: runs a function soon, on this thread.
        job_base: where job folders go; the system's temporary folder by default.
    """

    def __init__(
        self, queue: JobQueue, schedule: Callable[[Callable[[], None]], None], job_base: Path | None = None
    ) -> None:
        self.queue = queue
        self.listeners: list[Callable[[str], None]] = []
        self.activities: dict[str, Activity] = {}
        self._runners: dict[str, StepRunner] = {}
        self._schedule = schedule
        self._job_base = job_base
        remove_abandoned_folders(job_base)

    def notify(self, topic: str) -> None:
        """Tell listeners that something changed: "structures", "cases", "results", "models" or an activity's kind."""
        for listener in list(self.listeners):
            try:
                listener(topic)
            except Exception:
                # One panel's fault must not keep the others, or a running job, from hearing.
                LOGGER.exception("A panel could not show the change of %s.", topic)

    # What is under way

    def activity(self, kind: str) -> Activity | None:
        """The latest activity of a kind, None when there was none."""
        return self.activities.get(kind)

    def is_active(self, kind: str) -> bool:
        """True while an activity of that kind is under way."""
        activity = self.activities.get(kind)
        return activity is not None and activity.is_active

    @property
    def is_busy(self) -> bool:
        """True while anything is under way."""
        return any(activity.is_active for activity in self.activities.values())

    def cancel(self, kind: str) -> None:
        """Cancel the activity of a kind; results that are being loaded are loaded to the end."""
        activity = self.activities.get(kind)
        if activity is None or not activity.is_active:
            return
        if activity.stage is Stage.PREPARING:
            self._runners[kind].stop()
            self._discard(activity)
            activity.stage = Stage.CANCELLED
            self.notify(kind)
        elif activity.job is not None:
            self.queue.cancel(activity.job)

    def cancel_activity(self, kind: str) -> None:
        """Cancel an activity even while its results are being loaded, for a closing scene."""
        self.cancel(kind)
        activity = self.activities[kind]
        if activity.stage is Stage.LOADING:
            self._runners[kind].stop()
            self._discard(activity)
            activity.stage = Stage.CANCELLED
            self.notify(kind)

    def forget_finished(self, kept: Collection[str] = ()) -> None:
        """Let go of activities that are over, and with them of the nodes that they worked on.

        Args:
            kept: kinds that stay.
        """
        for kind in [kind for kind, activity in self.activities.items() if not activity.is_active]:
            if kind not in kept:
                del self.activities[kind]
                self._runners.pop(kind, None)
                self.notify(kind)

    def cancel_all(self) -> None:
        """Cancel everything."""
        for kind in list(self.activities):
            self.cancel_activity(kind)

    def shut_down(self) -> None:
        """End everything at once, for the program's exit or a reload."""
        for runner in self._runners.values():
            runner.stop()
        for activity in self.activities.values():
            if activity.is_active:
                self._discard(activity)
        self.queue.end_now()
        self.listeners.clear()

    # What a job's result means

    def _loading(self, activity: Activity, job: Job) -> Steps[Any] | None:
        """Steps that bring a finished job's files into the scene, None when there are none to load."""
        return None

    def _take(self, activity: Activity, job: Job, result: Any) -> None:
        """Remember what an activity came to; its job's folder is still there."""

    # From writing the inputs to the worker's end

    def _begin(
        self,
        kind: str,
        title: str,
        options: Mapping[str, Any],
        steps: Callable[[Path], Steps[dict[str, Any]]],
        context: dict[str, Any],
        waits: bool = True,
    ) -> Activity:
        if self.is_active(kind):
            raise InputError("not-ready", f"{self.activities[kind].title} is still under way.", "Wait or cancel it.")
        activity = Activity(kind, title)
        self.activities[kind] = activity
        try:
            folder = new_job_folder(self._job_base)
        except OSError as problem:
            self._fail(activity, problem)
            return activity
        job = Job(kind, {}, folder, title, str(options.get("device", "auto")), waits, context)
        activity.job = job

        def submit(parameters: dict[str, Any]) -> None:
            job.parameters = parameters
            job.on_change = lambda _, event: self._job_changed(activity, event)
            activity.stage = Stage.WAITING
            self.queue.submit(job)
            self.notify(kind)

        def show(fraction: float) -> None:
            activity.fraction = fraction
            self.notify(kind)

        runner = self._runners[kind] = StepRunner(self._schedule)
        runner.start(steps(folder), submit, lambda problem: self._fail(activity, problem), show)
        self.notify(kind)
        return activity

    def _job_changed(self, activity: Activity, event: Event | None) -> None:
        job = activity.job
        assert job is not None
        activity.follow_job()
        if event is None and job.state is JobState.FINISHED:
            try:
                self._finish(activity, job)
            except Exception as problem:
                self._fail(activity, problem)
        elif event is None and job.state.is_over:
            job.release()
            if job.state is JobState.CANCELLED:
                job.context.clear()  # nobody asks any more, and it holds nodes
        self.notify(activity.kind)

    def _finish(self, activity: Activity, job: Job) -> None:
        steps = self._loading(activity, job)
        if steps is None:
            self._close(activity, job, job.result)
            return
        activity.stage = Stage.LOADING
        activity.fraction = 0.0
        runner = self._runners[activity.kind] = StepRunner(self._schedule)
        runner.start(
            steps, lambda result: self._loaded(activity, job, result), lambda problem: self._fail(activity, problem)
        )

    def _loaded(self, activity: Activity, job: Job, result: Any) -> None:
        try:
            self._close(activity, job, result)
        except Exception as problem:
            self._fail(activity, problem)
            return
        self.notify(activity.kind)
        self.notify("results")
        self.notify("cases")

    def _close(self, activity: Activity, job: Job, result: Any) -> None:
        activity.result = result
        activity.stage = Stage.FINISHED
        self._take(activity, job, result)
        job.release()

    def _fail(self, activity: Activity, problem: Exception) -> None:
        activity.failure = failure_of_exception(problem)
        activity.stage = Stage.FAILED
        self._discard(activity)
        if not isinstance(problem, FseftError):
            LOGGER.error("%s failed: %s", activity.title, activity.failure.details)
        self.notify(activity.kind)

    def _discard(self, activity: Activity) -> None:
        if activity.job is not None:
            remove_job_folder(activity.job.folder)

"""What the module does, without any widget: the panels show it and call it, scripts and tests drive it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.errors import FseftError, InputError

from FSEFTSegmentLib.activity import Activity, Stage, failure_of_exception
from FSEFTSegmentLib.adaptation import CaseNodes, adapt_parameters_steps, structure_entry, why_not_ready
from FSEFTSegmentLib.jobs.folder import new_job_folder, remove_abandoned_folders, remove_job_folder
from FSEFTSegmentLib.jobs.job import Job, JobState
from FSEFTSegmentLib.jobs.protocol import Event
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.mrml.cases import CaseStatus
from FSEFTSegmentLib.mrml.results import structures_of_report
from FSEFTSegmentLib.proposal import ATLAS, MODEL, propose_parameters_steps
from FSEFTSegmentLib.segmentation import (
    LoadedResult,
    Refinement,
    WrittenScan,
    load_results_steps,
    segment_parameters_steps,
)
from FSEFTSegmentLib.state import ModuleState
from FSEFTSegmentLib.steps import StepRunner, Steps
from FSEFTSegmentLib.suggestion import can_be_suggested, suggest_parameters_steps
from FSEFTSegmentLib.support import SupportSet

LOGGER = logging.getLogger(__name__)


class Session:
    """State, jobs and activities of the module for one scene.

    Args:
        scene: the MRML scene.
        queue: runs the worker.
        schedule: runs a function soon, on this thread.
        sequences: Slicer's sequences logic, or None.
        job_base: where job folders go; the system's temporary folder by default.
    """

    def __init__(
        self,
        scene: Any,
        queue: JobQueue,
        schedule: Callable[[Callable[[], None]], None],
        sequences: Any | None = None,
        job_base: Path | None = None,
    ) -> None:
        self.scene = scene
        self.queue = queue
        self.sequences = sequences
        self.state = ModuleState(scene)
        self.support = SupportSet(self.state, self.notify)
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

    # Adapt

    def adapt_reason(self, statuses: Sequence[CaseStatus] | None = None) -> str:
        """Why Adapt cannot start, "" when it can."""
        if self.is_active("adapt"):
            return "A model is being made."
        known = self.support.statuses() if statuses is None else statuses
        return why_not_ready(self.state.structures, known)

    def adapt(self, options: Mapping[str, Any]) -> Activity:
        """Start making a model from the support set.

        Args:
            options: "name", "backbone", "method", "device", "seed", "output".

        Raises:
            InputError: "not-ready" with the reason.
        """
        statuses = self.support.statuses()
        reason = self.adapt_reason(statuses)
        if reason:
            raise InputError("not-ready", reason, "Then press Adapt again.")
        cases = [
            CaseNodes(self.state.scan(case), self.state.annotation(case), case.sparse)
            for case, status in zip(self.state.cases, statuses, strict=True)
            if status.is_usable
        ]
        names = [case.volume.GetName() for case in cases]
        structures = self.state.structures

        def steps(folder: Path) -> Steps[dict[str, Any]]:
            parameters, warnings = yield from adapt_parameters_steps(cases, structures, options, folder)
            self.activities["adapt"].warnings += warnings
            return parameters

        return self._begin("adapt", f"Adapting {options['name']}", options, steps, {"case_names": names})

    # Segment

    def segment_reason(self, volumes: Sequence[Any], model: str) -> str:
        """Why Segment cannot start, "" when it can."""
        if self.is_active("segment"):
            return "Scans are being segmented."
        if not model:
            return "Make a model first (Adapt), or import one."
        return "" if volumes else "Tick at least one scan."

    def segment(self, volumes: Sequence[Any], options: Mapping[str, Any]) -> Activity:
        """Start segmenting volumes.

        Args:
            volumes: volume nodes.
            options: "model", "structures" (the model's own, as in its description), "refine", "priors",
                "keep_largest", "device".

        Raises:
            InputError: "not-ready" with the reason.
        """
        reason = self.segment_reason(volumes, str(options.get("model") or ""))
        if reason:
            raise InputError("not-ready", reason, "Then press Segment again.")
        written: list[WrittenScan] = []
        refinement = self._refinement(str(options.get("refine", "off")), options["structures"])

        def steps(folder: Path) -> Steps[dict[str, Any]]:
            parameters, scans = yield from segment_parameters_steps(
                volumes, options, folder, self.sequences, refinement
            )
            written.extend(scans)
            return parameters

        count = f"{len(volumes)} scans" if len(volumes) > 1 else volumes[0].GetName()
        context = {"written": written, "options": dict(options)}
        return self._begin("segment", f"Segmenting {count}", options, steps, context)

    def _refinement(self, mode: str, entries: Sequence[Mapping[str, Any]]) -> Refinement:
        if mode == "off":
            return Refinement()
        cases, reason = self.support.refinement_support(entries)
        if mode == "paper" and reason:
            raise InputError(
                "refinement-needs-support",
                f"The published refinement needs the annotated scans that the model was made from. {reason}",
                "Load their scene, or choose the refinement by expected volumes.",
            )
        names = {str(entry["name"]) for entry in entries}
        structures = tuple(structure for structure in self.state.structures if structure.name in names)
        return Refinement(mode, tuple(cases), structures if cases else ())

    # Help with annotating

    def propose(self, volume: Any, options: Mapping[str, Any]) -> Activity:
        """Start drafting what is still empty in a support case's annotation.

        Args:
            volume: the case's volume node.
            options: "method" ("model" or "atlas"), "device"; for "model" also "model" and "structures", the model's.

        Raises:
            InputError: "not-ready" with the reason.
        """
        cases, structures = self.support.atlas_support(volume) if options["method"] == ATLAS else ([], ())
        if options["method"] == ATLAS and not cases:
            raise InputError("not-ready", "No other scan is annotated yet.", "Annotate one, then propose again.")
        written: list[WrittenScan] = []

        def steps(folder: Path) -> Steps[dict[str, Any]]:
            parameters, scans = yield from propose_parameters_steps(
                volume, options, cases, structures, folder, self.sequences
            )
            written.extend(scans)
            return parameters

        entries = options["structures"] if options["method"] == MODEL else [structure_entry(s) for s in structures]
        context = {"written": written, "options": {**options, "structures": entries}}
        return self._begin("propose", f"Proposing for {volume.GetName()}", options, steps, context)

    def suggest(self, volumes: Sequence[Any], options: Mapping[str, Any]) -> Activity:
        """Start looking for the scan to annotate next.

        Args:
            volumes: the volume nodes to choose from; those annotated already, and those that are no CT, are left out.
            options: "model" (name, "" for none), "backbone", "device".

        Raises:
            InputError: "not-ready" with the reason.
        """
        scans = [volume for volume in self.support.not_annotated(volumes) if can_be_suggested(volume)]
        if not scans:
            raise InputError("not-ready", "No CT without an annotation is loaded.", "Load the scans to choose from.")
        statuses = zip(self.state.cases, self.support.statuses(), strict=True)
        annotated = [self.state.scan(case) for case, status in statuses if status.is_usable]
        structures = self.state.structures

        def steps(folder: Path) -> Steps[dict[str, Any]]:
            return (yield from suggest_parameters_steps(scans, annotated, structures, options, folder))

        names = {f"scan {number}": volume for number, volume in enumerate(scans, start=1)}
        names |= {f"case {number}": volume for number, volume in enumerate(annotated, start=1)}
        return self._begin("suggest", "Comparing the scans", options, steps, {"volumes": names})

    def install_backbone(self, identifier: str, file: str = "") -> Activity:
        """Download a published backbone, or import it from a file; runs beside other jobs."""

        def steps(_: Path) -> Steps[dict[str, Any]]:
            yield 1.0
            return {"action": "import" if file else "download", "backbone": identifier, "file": file}

        return self._begin("backbone", f"Installing {identifier}", {}, steps, {}, waits=False)

    def doctor(self) -> Activity:
        """Start a system check; it runs beside other jobs."""

        def steps(_: Path) -> Steps[dict[str, Any]]:
            yield 1.0
            return {}

        return self._begin("doctor", "System check", {}, steps, {}, waits=False)

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
        self.notify(activity.kind)

    def _finish(self, activity: Activity, job: Job) -> None:
        if job.kind in ("segment", "propose"):
            activity.stage = Stage.LOADING
            activity.fraction = 0.0
            runner = self._runners[activity.kind] = StepRunner(self._schedule)
            runner.start(
                self._loading(activity, job),
                lambda result: self._loaded(activity, result),
                lambda problem: self._fail(activity, problem),
            )
            return
        activity.result = job.result
        activity.stage = Stage.FINISHED
        job.release()
        if job.kind == "adapt":
            self._remember_model(activity, job)
        elif job.kind == "backbone":
            self.notify("models")

    def _remember_model(self, activity: Activity, job: Job) -> None:
        result = dict(job.result or {})
        self.state.choose("model", Path(str(result.get("model", ""))).name or job.parameters.get("name"))
        self.state.choose("card", {**result, "case_names": job.context["case_names"]})
        self.notify("models")

    def _loading(self, activity: Activity, job: Job) -> Steps[list[LoadedResult]]:
        options = job.context["options"]
        structures = structures_of_report(options["structures"])
        if activity.kind == "propose":
            return self.support.proposal_steps(job.context["written"], job.result or {}, structures)
        written, model = job.context["written"], Path(str(options["model"])).name
        return load_results_steps(self.scene, written, job.result or {}, structures, model)

    def _loaded(self, activity: Activity, loaded: list[LoadedResult]) -> None:
        job = activity.job
        assert job is not None
        if activity.kind == "segment":
            model = Path(str(job.context["options"]["model"])).name
            for result in loaded:
                self.state.add_result(result.volume, result.segmentation, result.before, model, result.report)
        activity.result = loaded
        activity.stage = Stage.FINISHED
        job.release()
        self.notify(activity.kind)
        self.notify("results")
        self.notify("cases")

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


__all__ = ["Session", "structure_entry"]

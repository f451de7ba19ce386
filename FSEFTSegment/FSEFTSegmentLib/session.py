"""What the module does, without any widget: the panels show it and call it, scripts and tests drive it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fseft.errors import InputError

from FSEFTSegmentLib.activities import Activities
from FSEFTSegmentLib.activity import Activity, names_in_job
from FSEFTSegmentLib.adaptation import CaseNodes, adapt_parameters_steps, structure_entry, why_not_ready
from FSEFTSegmentLib.drafts import Drafts
from FSEFTSegmentLib.jobs.job import Job
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.mrml.cases import CaseStatus
from FSEFTSegmentLib.mrml.results import structures_of_report
from FSEFTSegmentLib.proposal import ATLAS, MODEL, propose_parameters_steps
from FSEFTSegmentLib.segmentation import (
    NEEDS_SUPPORT,
    LoadedResult,
    Refinement,
    WrittenScan,
    left_out_text,
    load_results_steps,
    segment_parameters_steps,
)
from FSEFTSegmentLib.state import ModuleState
from FSEFTSegmentLib.steps import Steps
from FSEFTSegmentLib.suggestion import can_be_suggested, suggest_parameters_steps
from FSEFTSegmentLib.support import SupportSet


class Session(Activities):
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
        super().__init__(queue, schedule, job_base)
        self.scene = scene
        self.sequences = sequences
        self.state = ModuleState(scene)
        self.support = SupportSet(self.state, self.notify)
        self.drafts = Drafts(self.support)

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

        volumes = [case.volume for case in cases]
        # Its files are called after scans, what it says after cases: both are the annotated scans.
        context = {"case_names": names, "names": names_in_job(volumes, volumes)}
        return self._begin("adapt", f"Adapting {options['name']}", options, steps, context)

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
        names = names_in_job(volumes, [case.volume for case in refinement.cases])
        context = {"written": written, "options": dict(options), "names": names}
        return self._begin("segment", f"Segmenting {count}", options, steps, context)

    def _refinement(self, mode: str, entries: Sequence[Mapping[str, Any]]) -> Refinement:
        if mode == "off":
            return Refinement()
        cases, reason = self.support.refinement_support(entries)
        if mode in NEEDS_SUPPORT and reason:
            raise InputError(
                "refinement-needs-support",
                f"This refinement needs the annotated scans that the model was made from. {reason}",
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
        annotated = [case.volume for case in cases]
        context = {
            "written": written,
            "options": {**options, "structures": entries},
            "case_names": names_in_job([], annotated),
            "names": names_in_job([volume], annotated),
        }
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
        context = {"volumes": names, "names": names_in_job(scans, annotated)}
        return self._begin("suggest", "Comparing the scans", options, steps, context)

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

    # What came out

    def _loading(self, activity: Activity, job: Job) -> Steps[Any] | None:
        if activity.kind not in ("segment", "propose"):
            return None
        options = job.context["options"]
        structures = structures_of_report(options["structures"])
        if activity.kind == "propose":
            return self.drafts.fill_steps(job.context["written"], job.result or {}, structures)
        written, model = job.context["written"], Path(str(options["model"])).name
        return load_results_steps(self.scene, written, job.result or {}, structures, model)

    def _take(self, activity: Activity, job: Job, result: Any) -> None:
        if activity.kind == "segment":
            activity.lacking = left_out_text((job.result or {}).get("left_out") or ())
            self._remember_results(job, result)
        elif activity.kind == "adapt":
            self._remember_model(job)
        elif activity.kind == "backbone":
            self.notify("models")

    def _remember_results(self, job: Job, loaded: Sequence[LoadedResult]) -> None:
        model = Path(str(job.context["options"]["model"])).name
        for result in loaded:
            self.state.add_result(result.volume, result.segmentation, result.before, model, result.report)

    def _remember_model(self, job: Job) -> None:
        result = dict(job.result or {})
        self.state.choose("model", Path(str(result.get("model", ""))).name or job.parameters.get("name"))
        self.state.choose("card", {**result, "case_names": job.context["case_names"]})
        self.notify("models")

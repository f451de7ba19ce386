"""Kinds of job by name. A new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fseft.errors import JobError
from fseft.jobs.adapt_job import run_adapt
from fseft.jobs.backbone_job import run_backbone
from fseft.jobs.doctor_job import run_doctor
from fseft.jobs.evaluate_job import run_evaluate
from fseft.jobs.job import Job
from fseft.jobs.propose_job import run_propose
from fseft.jobs.segment_job import run_segment
from fseft.jobs.suggest_job import run_suggest
from fseft.jobs.validate_job import run_validate
from fseft.reporting import Reporter

KINDS: dict[str, Callable[[dict[str, Any], Reporter], dict[str, Any]]] = {
    "adapt": run_adapt,
    "segment": run_segment,
    "evaluate": run_evaluate,
    "doctor": run_doctor,
    "backbone": run_backbone,
    "suggest": run_suggest,
    "propose": run_propose,
    "validate": run_validate,
}


def run_job(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Run a job in this process and return its result.

    Raises:
        JobError: "job-kind-unknown".
        FseftError: whatever the job meets.
    """
    if job.kind not in KINDS:
        raise JobError("job-kind-unknown", f"There is no job {job.kind!r}.", f"Known jobs: {', '.join(KINDS)}.")
    return KINDS[job.kind](job.parameters, reporter)

"""The job "propose": first drafts of annotations, to be corrected rather than drawn.

Parameters: ``scans`` [{``scan``, ``output``, ``name``, ``series``}]; ``method`` "atlas" (default) with ``cases`` and
``structures`` as in the job "adapt", or "model" with ``model`` name or folder; ``device``, for "model".

Result: ``scans`` [{``name``, ``output``, ``structures`` [{``name``, ``votes``, ``of``, ``agreement``, ``volume_ml``}],
``failed`` one sentence per case that could not be used}]; ``left_out`` as in the job "segment". A model votes with
nobody: ``votes``, ``of`` and ``agreement`` are null then.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fseft.adaptation.adapt import check_structures
from fseft.errors import InputError
from fseft.jobs.adapt_job import read_case, read_structure
from fseft.jobs.job import Parameters
from fseft.jobs.outputs import check_outputs, files_of, outputs_of
from fseft.jobs.segment_job import read_query, run_segment
from fseft.location.atlas import Proposal, propose
from fseft.location.support import AtlasCase, Placed, load_atlas_cases
from fseft.reporting import Reporter
from fseft.scan.reading import read_scan
from fseft.scan.writing import write_labelmap
from fseft.segmentation.left_out import LeftOut
from fseft.segmentation.report import write_report
from fseft.segmentation.segment import Query
from fseft.structures import Structure

METHODS = ("atlas", "model")


def run_propose(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Run the job; each labelmap appears whole or not at all, its report beside it.

    Raises:
        InputError: "method-unknown", "no-scans", "support-empty", "output-twice", "output-is-input"; "atlas-failed"
            when no case registers to any of the scans. Scans that cannot be used are left out.
    """
    parameters = Parameters(values)
    method = parameters.text("method", "atlas")
    if method not in METHODS:
        raise InputError(
            "method-unknown", f"{method!r} is no way to propose annotations.", f"Choose {' or '.join(METHODS)}."
        )
    queries = [read_query(entry) for entry in parameters.each("scans")]
    if not queries:
        raise InputError("no-scans", "There is no scan to propose an annotation for.", "Name at least one scan.")
    if method == "model":
        return _by_model(values, reporter)
    structures = check_structures([read_structure(entry) for entry in parameters.each("structures")])
    files = [read_case(entry) for entry in parameters.each("cases")]
    if not files:
        raise InputError("support-empty", "There is no annotated scan to propose from.", "Annotate at least one scan.")
    check_outputs(
        [path for query in queries for path in outputs_of(query)],
        [*(query.scan for query in queries), *files_of(files)],
    )
    cases = load_atlas_cases(files, structures, reporter)
    reports, left_out = [], LeftOut(len(queries), reporter)
    for number, query in enumerate(queries):
        reporter.progress("scans", number, len(queries), query.name)
        try:
            reports.append(_propose_one(query, cases, structures, reporter))
        except InputError as problem:
            left_out.add(query.name, problem)
    reporter.progress("scans", len(queries), len(queries))
    return {"scans": reports, "left_out": left_out.as_json()}


def _propose_one(
    query: Query, cases: list[AtlasCase], structures: tuple[Structure, ...], reporter: Reporter
) -> dict[str, Any]:
    scan = read_scan(query.scan, series=query.series, name=query.name, reporter=reporter)
    placed = Placed.of_scan(scan)
    del scan  # the labelmap takes its place in memory
    result = propose(placed, cases, structures, reporter)
    if not result.used:
        raise _none_fits(query, result)
    for sentence in result.failed:
        reporter.log(f"{query.name}: not used. {sentence}", "warning")
    reporter.check_cancelled()
    write_labelmap(result.labels, placed.geometry, query.output, structures)
    structure_reports = [dataclasses.asdict(record) for record in result.structures]
    report = {"name": query.name, "structures": structure_reports, "failed": result.failed}
    write_report(report, query.output)
    return {**report, "output": str(query.output)}


def _none_fits(query: Query, result: Proposal) -> InputError:
    return InputError(
        "atlas-failed",
        f"No annotated scan could be brought into line with {query.name!r}: {' '.join(result.failed)}",
        "Annotate a scan of the same part of the body, or let an adapted model propose.",
    )


def _by_model(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Segment with an adapted model, reported in this job's words."""
    asked: dict[str, Any] = {name: value for name, value in values.items() if name in ("model", "scans", "device")}
    result, scans = run_segment(asked, reporter), []
    for report in result["scans"]:
        structures = [
            {"name": entry["name"], "votes": None, "of": None, "agreement": None, "volume_ml": entry["volume_ml"]}
            for entry in report["structures"]
        ]
        scans.append({"name": report["name"], "output": report["output"], "structures": structures, "failed": []})
    return {"scans": scans, "left_out": result["left_out"]}

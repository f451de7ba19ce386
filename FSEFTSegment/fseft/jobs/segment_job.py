"""The job "segment".

Parameters: ``model`` name or folder; ``scans`` [{``scan``, ``output``, ``name``, ``series``, ``before``: labelmap to
write if refinement changed something}]; ``priors`` {structure: {``low_ml``, ``high_ml``}} edited ranges, or
{structure: {``preset``: true}} of :mod:`fseft.priors.presets`; ``report`` an HTML page to write, or null;
``keep_largest``; ``device``; ``refine`` "off"|"default"|"location"|"paper"; ``support`` {``cases``, ``structures``} as
in the job "adapt": annotated scans that keep refinement honest, which "location" and "paper" need.

Result: ``model``, its name; ``scans``, the reports; ``left_out`` [{``name``, ``code``, ``message``, ``hint``}], scans
that could not be used. A job that can use none of its scans fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fseft.adaptation.adapt import CaseFiles, load_cases
from fseft.compute import choose_compute
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.jobs.adapt_job import read_case, read_structure
from fseft.jobs.job import Parameters
from fseft.jobs.model_source import source_of_model
from fseft.jobs.outputs import check_outputs, check_own, files_of, outputs_of
from fseft.location.support import load_atlas_cases
from fseft.models.adapted_model import AdaptedModel, SizePrior, load_model
from fseft.models.library import find_model
from fseft.priors.presets import require_preset
from fseft.report.segment_report import write_segment_report
from fseft.reporting import Reporter
from fseft.segmentation.segment import Query, segment_files
from fseft.structures import canonical_name
from fseft.transduction.ways import Refining


def run_segment(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Run the job; returns one report per segmented scan, and which scans could not be used and why."""
    parameters = Parameters(values)
    folder = find_model(parameters.text("model"))
    queries = [read_query(entry) for entry in parameters.each("scans")]
    if not queries:
        raise InputError("no-scans", "There is no scan to segment.", "Name at least one scan.")
    page = parameters.optional_text("report")
    check_outputs(
        [*(path for query in queries for path in outputs_of(query)), *([Path(page)] if page else [])],
        [*(query.scan for query in queries), *files_of(read_support(parameters))],
    )
    check_own(page, "page")
    compute = choose_compute(parameters.text("device", "auto"))
    source = source_of_model(folder, compute)
    model = load_model(folder, source.specification)
    priors = read_priors(parameters, model)
    refining = read_refining(parameters, model, source, reporter)
    if refining.mode == "location" and priors:
        reporter.log(
            f"The volumes given for {', '.join(priors)} only decide what is flagged: refinement by location takes "
            "expected volumes from the annotated scans.",
            "warning",
        )
    batch = segment_files(queries, model, source, priors, parameters.flag("keep_largest"), reporter, refining)
    if page is not None:
        written = {report["output"] for report in batch.reports}
        files = [(query.scan, query.series) for query in queries if str(query.output) in written]
        write_segment_report(Path(page), model.name, batch.reports, files, model.structures, reporter)
    return {"model": model.name, "scans": batch.reports, "left_out": batch.left_out.as_json()}


def read_query(entry: Parameters) -> Query:
    """A scan of a job."""
    scan = Path(entry.text("scan"))
    return Query(
        scan,
        Path(entry.text("output")),
        entry.text("name", scan.name),
        entry.optional_text("series"),
        _path(entry, "before"),
    )


def _path(entry: Parameters, name: str) -> Path | None:
    text = entry.optional_text(name)
    return Path(text) if text else None


def read_support(parameters: Parameters) -> list[CaseFiles]:
    """The annotated scans that a job names for refinement."""
    return [read_case(entry) for entry in Parameters(parameters.raw("support"), "support.").each("cases")]


def read_refining(parameters: Parameters, model: AdaptedModel, source: FeatureSource, reporter: Reporter) -> Refining:
    """Whether and how to refine, with the annotated scans where the job names them.

    Raises:
        InputError: "refinement-unknown", "refinement-needs-support", "refinement-support-does-not-fit", and whatever
            is wrong with the support set.
    """
    mode = parameters.text("refine", "off")
    given, cases = Parameters(parameters.raw("support"), "support."), read_support(parameters)
    if mode == "off" or not cases:
        return Refining(mode)
    by_name = {structure.name: structure for structure in map(read_structure, given.each("structures"))}
    missing = [structure.name for structure in model.structures if structure.name not in by_name]
    if missing:
        raise InputError(
            "refinement-support-does-not-fit",
            f"The annotated scans do not have the model's structures: {', '.join(missing)}.",
            "Give the scans that the model was made from.",
        )
    structures = [by_name[structure.name] for structure in model.structures]
    if mode == "location":
        return Refining(mode, atlas=load_atlas_cases(cases, structures, reporter))
    return Refining(mode, [entry.case for entry in load_cases(cases, structures, source, reporter)])


def read_priors(parameters: Parameters, model: AdaptedModel) -> dict[str, SizePrior]:
    """Size priors by the model's own names of its structures; other spellings of a name are understood.

    Raises:
        InputError: "prior-unknown-structure", and as :func:`read_prior`.
    """
    names = {structure.canonical: structure.name for structure in model.structures}
    priors = {}
    for given, entry in parameters.mapping("priors").items():
        name = names.get(canonical_name(given))
        if name is None:
            raise InputError(
                "prior-unknown-structure",
                f"The model has no structure {given!r} whose volume could be expected.",
                f"Its structures are: {', '.join(names.values())}.",
            )
        priors[name] = read_prior(name, entry)
    return priors


def read_prior(name: str, entry: Parameters) -> SizePrior:
    """A size prior that replaces the model's: edited, or a preset that was asked for.

    Raises:
        InputError: "prior-invalid" when the range is empty, negative or nothing but 0, "preset-missing".
    """
    if entry.flag("preset"):
        return require_preset(name).as_prior()
    low, high = entry.number("low_ml"), entry.number("high_ml")
    if not 0 <= low <= high or high == 0:
        raise InputError(
            "prior-invalid", f"The range {low}..{high} ml of {name!r} is not one.", "Give a lower and a higher volume."
        )
    return SizePrior((low + high) / 2, low, high, "edited")

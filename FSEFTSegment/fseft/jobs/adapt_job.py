"""The job "adapt".

Parameters: ``name``; ``cases`` [{``scan``, ``annotation``, ``name``, ``sparse`` "no"|"auto"|"x"|"y"|"z",
``structures`` names annotated in this case or null, ``others`` "refuse"|"background": labels of no structure}];
``structures`` [{``name``, ``value``, ``color``, ``terminology``}]; ``backbone`` (default: that of ``previous``, else
"fseft-mini"); ``method``; ``protocol`` "default"|"published"; ``settings`` overrides of :class:`AdaptationSettings`;
``device``; ``seed``; ``validate`` by leave-one-out (default false, with the method "auto" always); ``output`` model
folder, or null for the library; ``replace`` an existing model (default true); ``report`` an HTML page to write about
the model, or null; ``previous`` a model, by name or folder, to go on from: its method, which ``method`` must not
contradict, few steps; ``atlas`` whether validation compares with annotations carried over by registration (default:
with the method "auto"; about 5 s a pair of scans, then kept).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fseft.adaptation.adapt import AUTO, CaseFiles, adapt
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.registry import find_method
from fseft.compute import choose_compute
from fseft.errors import ModelError
from fseft.features.source import FeatureSource
from fseft.files import require_writable_folder
from fseft.jobs.job import Parameters
from fseft.jobs.model_source import chosen_source
from fseft.jobs.outputs import check_outputs, check_own, files_of
from fseft.models.adapted_model import AdaptedModel, check_name, describe, load_model, save_model
from fseft.models.library import find_model, library_folder
from fseft.models.versions import check_replaceable
from fseft.report.adapt_report import write_adapt_report
from fseft.reporting import Reporter
from fseft.structures import Structure


def run_adapt(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Run the job; returns the model's folder and description."""
    parameters = Parameters(values)
    name = check_name(parameters.text("name"))
    chosen = parameters.optional_text("output")
    folder = Path(chosen) if chosen else library_folder() / name
    if folder.exists() and not parameters.flag("replace", True):
        raise ModelError(
            "model-exists", f"There already is a model {folder.name!r}.", "Choose another name, or allow replacing."
        )
    check_replaceable(folder)
    cases = [read_case(entry) for entry in parameters.each("cases")]
    asked = parameters.optional_text("method")
    if asked not in (None, AUTO):
        find_method(str(asked), AUTO)
    report = parameters.optional_text("report")
    # Learning takes minutes to hours: what cannot be written is told before, not after.
    check_outputs([Path(report)] if report else [], files_of(cases))
    check_own(report, "page")
    require_writable_folder(folder)
    compute = choose_compute(parameters.text("device", "auto"))
    before = parameters.optional_text("previous")
    source = chosen_source(parameters.optional_text("backbone"), find_model(before) if before else None, compute)
    previous = _previous(before, asked, source)
    method = previous.method if previous is not None else asked or "spatial-adapter"
    model = adapt(
        name,
        cases,
        [read_structure(entry) for entry in parameters.each("structures")],
        source,
        method,
        read_settings(parameters),
        reporter,
        validated=parameters.flag("validate"),
        previous=previous,
        atlas=parameters.flag("atlas", method == AUTO),
    )
    reporter.check_cancelled()
    save_model(model, folder)
    if report is not None:
        write_adapt_report(Path(report), describe(model))
    return {"model": str(folder), **describe(model)}


def _previous(name: str | None, asked: str | None, source: FeatureSource) -> AdaptedModel | None:
    if not name:
        return None
    previous = load_model(find_model(name), source.specification)
    if find_method(previous.method).learning_rate == 0:
        raise ModelError(
            "previous-model-does-not-fit",
            f"The model {previous.name!r} was made without learning, so there is nothing to go on from.",
            "Adapt from the start.",
        )
    if asked not in (None, previous.method):
        raise ModelError(
            "previous-model-does-not-fit",
            f"The model {previous.name!r} was made by {previous.method}, and going on from it keeps that method.",
            f"Leave the method out, or adapt from the start with {asked}.",
        )
    return previous


def read_case(entry: Parameters) -> CaseFiles:
    """A support case of a job."""
    scan = Path(entry.text("scan"))
    return CaseFiles(
        scan,
        Path(entry.text("annotation")),
        entry.text("name", scan.name),
        entry.text("sparse", "no"),
        entry.names("structures"),
        "background" if entry.text("others", "refuse") == "background" else "refuse",
    )


def read_structure(entry: Parameters) -> Structure:
    """A structure of a job."""
    red, green, blue = entry.numbers("color", 3, (0.9, 0.6, 0.4))
    return Structure(
        entry.text("name"), entry.integer("value", 0), (red, green, blue), entry.optional_text("terminology") or ""
    )


def read_settings(parameters: Parameters) -> AdaptationSettings:
    """The protocol of a job with its overrides."""
    seed = parameters.integer("seed", 0)
    published = parameters.text("protocol", "default") == "published"
    settings = AdaptationSettings.published(seed) if published else AdaptationSettings(seed=seed)
    return settings.replace(**{"seed": seed, **parameters.raw("settings")})

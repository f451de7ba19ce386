"""The job "validate".

Parameters: ``cases``, ``structures``, ``backbone``, ``protocol``, ``settings``, ``device`` and ``seed`` as in the job
"adapt"; ``methods`` to test, or null for all that can learn these structures; ``atlas`` whether to compare with
annotations carried over by registration (default true; about 5 s a pair of scans, then kept).

Result: the record that a model keeps, see :class:`fseft.validation.record.Validation`, and ``shots``.
"""

from __future__ import annotations

from typing import Any

from fseft.adaptation.adapt import check_structures, load_cases
from fseft.adaptation.views import views_for
from fseft.compute import choose_compute
from fseft.features.source import FeatureSource
from fseft.jobs.adapt_job import read_case, read_settings, read_structure
from fseft.jobs.job import Parameters
from fseft.reporting import Reporter
from fseft.validation.atlas_row import with_atlas
from fseft.validation.validate import validate


def run_validate(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Run the job."""
    parameters = Parameters(values)
    structures = check_structures([read_structure(entry) for entry in parameters.each("structures")])
    settings, methods = read_settings(parameters), parameters.names("methods") or None
    compute = choose_compute(parameters.text("device", "auto"))
    source = FeatureSource.of_backbone(parameters.text("backbone", "fseft-mini"), compute)
    cases = [read_case(entry) for entry in parameters.each("cases")]
    loaded = load_cases(cases, structures, source, reporter, views_for(len(cases), settings.views))
    judged = validate(structures, [entry.case for entry in loaded], source, settings, reporter, methods)
    if parameters.flag("atlas", True):
        judged = with_atlas(judged, cases, structures, reporter).validation
    return {"shots": len(loaded), **judged.as_json()}

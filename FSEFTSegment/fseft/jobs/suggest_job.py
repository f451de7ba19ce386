"""The job "suggest".

Parameters: ``scans`` [{``scan``, ``name``, ``series``, ``labelmap`` a rough one or null}] without annotation; ``cases``
as in the job "adapt", of which only the scans are read; ``structures`` as there: which labels of a rough labelmap
count; ``model`` name or folder, or null; ``backbone`` (default: the model's, else "fseft-mini"); ``device``.

Result: ``ranking`` [{``name``, ``score``, ``why``}]; ``limiting_structure`` {``name``, ``dice``, ``measure``, ``why``}
or null; ``slices`` for the first scan of the ranking {``name``, ``direction``, ``slices`` [{``k``, ``position_mm``,
``why``}], ``advice``} or null; ``left_out`` [{``name``, ``code``, ``message``, ``hint``}], scans that could not be
read.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from fseft.compute import choose_compute
from fseft.jobs.adapt_job import read_structure
from fseft.jobs.job import Parameters
from fseft.jobs.model_source import chosen_source
from fseft.models.adapted_model import load_model
from fseft.models.description import read_description
from fseft.models.library import find_model
from fseft.reporting import Reporter
from fseft.suggestion.limiting import limiting_structure
from fseft.suggestion.suggest import ScanFile, suggest


def run_suggest(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Run the job."""
    parameters = Parameters(values)
    scans = [read_scan_file(entry) for entry in parameters.each("scans")]
    cases = [read_scan_file(entry) for entry in parameters.each("cases")]
    structures = [read_structure(entry) for entry in parameters.each("structures")]
    compute = choose_compute(parameters.text("device", "auto"))
    chosen = parameters.optional_text("model")
    folder = None if chosen is None else find_model(chosen)
    description = None if folder is None else read_description(folder)
    source = chosen_source(parameters.optional_text("backbone"), folder, compute)
    model = None if folder is None else load_model(folder, source.specification)
    found = suggest(scans, cases, source, model, structures, reporter)
    slices = None if found.slices is None else {"name": found.ranking[0].name, **found.slices.as_json()}
    return {
        "ranking": [dataclasses.asdict(entry) for entry in found.ranking],
        "limiting_structure": None if description is None else limiting_structure(description),
        "slices": slices,
        "left_out": found.left_out.as_json(),
    }


def read_scan_file(entry: Parameters) -> ScanFile:
    """A scan of the job."""
    scan = Path(entry.text("scan"))
    labelmap = entry.optional_text("labelmap")
    return ScanFile(
        scan, entry.text("name", scan.name), entry.optional_text("series"), None if labelmap is None else Path(labelmap)
    )

"""The job "evaluate".

Parameters: ``pairs`` [{``prediction``, ``reference``}]; ``structures`` as in "adapt" or absent; ``tolerance_mm``.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fseft.errors import InputError
from fseft.evaluation.evaluate import evaluate
from fseft.evaluation.table import EvaluationTable
from fseft.jobs.adapt_job import read_structure
from fseft.jobs.job import Parameters
from fseft.reporting import Reporter


def run_evaluate(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Score labelmaps; returns the table as JSON."""
    return make_table(values, reporter).to_json()


def make_table(values: dict[str, Any], reporter: Reporter) -> EvaluationTable:
    """Score labelmaps as the job's parameters say.

    Raises:
        InputError: "tolerance-invalid", and as :func:`fseft.evaluation.evaluate.evaluate`.
    """
    parameters = Parameters(values)
    pairs = [(Path(entry.text("prediction")), Path(entry.text("reference"))) for entry in parameters.each("pairs")]
    structures = [read_structure(entry) for entry in parameters.each("structures")] or None
    tolerance = parameters.number("tolerance_mm", 2.0)
    if not 0 <= tolerance < math.inf:
        raise InputError(
            "tolerance-invalid", f"A tolerance of {tolerance:g} mm is not possible.", "Give 0 or more, in mm."
        )
    return evaluate(pairs, structures, tolerance, reporter)

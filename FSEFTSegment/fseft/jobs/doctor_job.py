"""The job "doctor": no parameters."""

from __future__ import annotations

from typing import Any

from fseft.reporting import Reporter
from fseft.system.doctor import examine


def run_doctor(values: dict[str, Any], reporter: Reporter) -> dict[str, Any]:
    """Examine the machine; returns the report and its text."""
    findings = examine()
    return {**findings.report, "text": findings.text}

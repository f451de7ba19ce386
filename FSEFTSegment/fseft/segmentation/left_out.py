"""Scans of a job that cannot be used, while the job goes on with the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fseft.errors import InputError
from fseft.reporting import Reporter


@dataclass
class LeftOut:
    """Collects what is wrong with scans; a job that could use none of its scans fails as with one scan.

    Attributes:
        of: how many scans the job has.
        reporter: warned of every one left out.
        scans: name, and what is wrong.
    """

    of: int
    reporter: Reporter
    scans: list[tuple[str, InputError]] = field(default_factory=list)

    def add(self, name: str, problem: InputError) -> None:
        """Leave a scan out.

        Raises:
            InputError: the first one's problem when no scan is left.
        """
        self.scans.append((name, problem))
        if len(self.scans) == self.of:
            raise self.scans[0][1] from None
        self.reporter.log(f"{name} was left out: {problem.message} {problem.hint}", "warning")

    def as_json(self) -> list[dict[str, Any]]:
        """Per scan "name", "code", "message" and "hint", as errors have them."""
        return [
            {"name": name, "code": problem.code, "message": problem.message, "hint": problem.hint}
            for name, problem in self.scans
        ]

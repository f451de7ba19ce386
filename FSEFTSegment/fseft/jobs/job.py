"""Job files: what to do, as JSON."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fseft.errors import JobError

_LARGEST_PID = 2**31 - 1


@dataclass(frozen=True)
class Job:
    """A job.

    Attributes:
        kind: a key of :data:`fseft.jobs.kinds.KINDS`.
        parameters: the kind's own; see its module.
        cancel_file: the job stops when this file exists.
        parent_pid: the job stops when this process is gone.
    """

    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)
    cancel_file: Path | None = None
    parent_pid: int | None = None

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job file.

        Raises:
            JobError: "job-unreadable" or "job-invalid".
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as problem:
            why = problem.strerror if isinstance(problem, OSError) and problem.strerror else problem
            raise JobError(
                "job-unreadable", f"The job file {path.name} cannot be read: {why}.", "Start the job again."
            ) from problem
        return cls.parse(content)

    @classmethod
    def parse(cls, content: Any) -> Job:
        """Check a job's JSON.

        Raises:
            JobError: "job-invalid" naming what is wrong.
        """
        if not isinstance(content, dict) or content.get("format") != "fseft-job":
            raise _invalid("it is not an FSEFT job")
        if content.get("version") != 1:
            raise _invalid(f"its version is {content.get('version')!r}, this FSEFT knows 1")
        kind, parameters = content.get("kind"), content.get("parameters", {})
        if not isinstance(kind, str) or not isinstance(parameters, dict):
            raise _invalid("it lacks a kind or parameters")
        cancel, parent = content.get("cancel_file"), content.get("parent_pid")
        if cancel is not None and not (isinstance(cancel, str) and _storable(cancel)):
            raise _invalid("cancel_file is not a path")
        whole = isinstance(parent, int) and not isinstance(parent, bool)
        if parent is not None and not (whole and 0 < parent <= _LARGEST_PID):
            raise _invalid("parent_pid is not the number of a process")
        return cls(kind, parameters, Path(cancel) if cancel else None, parent)

    def to_json(self) -> dict[str, Any]:
        """The JSON that :meth:`parse` reads."""
        return {
            "format": "fseft-job",
            "version": 1,
            "kind": self.kind,
            "parameters": self.parameters,
            "cancel_file": None if self.cancel_file is None else str(self.cancel_file),
            "parent_pid": self.parent_pid,
        }


def _invalid(why: str) -> JobError:
    return JobError(
        "job-invalid", f"The job cannot be run: {why}.", "Start it again from the interface or command line."
    )


def _storable(text: str) -> bool:
    """Whether the operating system can take a text as a path or a name."""
    try:
        os.fsencode(text)
    except UnicodeError:
        return False
    return "\0" not in text


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


class Parameters:
    """A job's parameters, checked one by one with errors that name the parameter."""

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def text(self, name: str, default: str | None = None) -> str:
        """A non-empty string."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or not value or not _storable(value):
            raise _invalid(f"{self._where}{name} must be text, not {value!r}")
        return value

    def optional_text(self, name: str) -> str | None:
        """A string or nothing."""
        return None if self._values.get(name) in (None, "") else self.text(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise _invalid(f"{self._where}{name} must be true or false, not {value!r}")
        return value

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._values.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _invalid(f"{self._where}{name} must be a whole number, not {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number."""
        value = self._values.get(name, default)
        if value is None or not _finite(value):
            raise _invalid(f"{self._where}{name} must be a finite number, not {value!r}")
        return float(value)

    def numbers(self, name: str, count: int, default: tuple[float, ...]) -> tuple[float, ...]:
        """A list of that many numbers."""
        value = self._values.get(name, default)
        good = isinstance(value, (list, tuple)) and len(value) == count
        if not good or not all(_finite(v) for v in value):
            raise _invalid(f"{self._where}{name} must be {count} finite numbers, not {value!r}")
        return tuple(float(v) for v in value)

    def names(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, or nothing."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise _invalid(f"{self._where}{name} must be a list of names, not {value!r}")
        return tuple(value)

    def each(self, name: str) -> list[Parameters]:
        """A list of objects."""
        value = self._values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise _invalid(f"{self._where}{name} must be a list of objects")
        return [Parameters(entry, f"{self._where}{name}[{index}].") for index, entry in enumerate(value)]

    def mapping(self, name: str) -> dict[str, Parameters]:
        """Objects by name."""
        value = self._values.get(name) or {}
        if not isinstance(value, dict) or not all(isinstance(entry, dict) for entry in value.values()):
            raise _invalid(f"{self._where}{name} must map names to objects")
        return {key: Parameters(entry, f"{self._where}{name}[{key}].") for key, entry in value.items()}

    def raw(self, name: str) -> dict[str, Any]:
        """An object, unchecked."""
        value = self._values.get(name) or {}
        if not isinstance(value, dict):
            raise _invalid(f"{self._where}{name} must be an object")
        return value

"""Errors as part of the interface: what is wrong, what to do, and a code that programs can rely on."""

from __future__ import annotations


class FseftError(Exception):
    """An error meant for a person.

    Args:
        code: stable identifier in kebab case, for programs ("scan-not-ct").
        message: one sentence on what is wrong; quotes the offending value.
        hint: one sentence on what to do about it.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint} [{self.code}]"

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return (type(self), (self.code, self.message, self.hint))


class InputError(FseftError):
    """The user's data or arguments cannot be used as they are."""

    exit_code = 2


class ScanError(InputError):
    """A scan or a labelmap cannot be read, or is not what it should be."""


class AnnotationError(InputError):
    """An annotation does not fit its scan or the structures."""


class BackboneError(InputError):
    """A backbone is unknown, damaged, or does not fit."""


class ModelError(InputError):
    """An adapted model is missing, damaged, or was made for another backbone."""


class JobError(InputError):
    """A job file is malformed."""


class ResourceError(FseftError):
    """The machine lacks what the task needs: memory, disk, a package, the network."""

    exit_code = 3


class Cancelled(FseftError):
    """The user cancelled, or the program that started the job is gone."""

    exit_code = 4

    def __init__(
        self,
        code: str = "cancelled",
        message: str = "The job was cancelled.",
        hint: str = "Nothing was changed; start it again when you want.",
    ) -> None:
        super().__init__(code, message, hint)

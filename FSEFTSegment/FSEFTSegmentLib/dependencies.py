"""What the engine needs beside Slicer: what is missing, how large it is, and installing it on request.

Nothing is installed or imported at start-up, and torch is never imported in Slicer's own process to find out
whether it is there.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Requirement:
    """A Python package the worker needs.

    Attributes:
        name: on the package index.
        minimum: the oldest version that works.
        megabytes: size of the download, roughly.
        purpose: a few words for the user.
    """

    name: str
    minimum: str
    megabytes: int
    purpose: str

    @property
    def specifier(self) -> str:
        """As pip understands it."""
        return f"{self.name}>={self.minimum}"


TORCH = Requirement("torch", "2.2", 250, "neural networks (up to 2.5 GB with GPU support)")
REQUIREMENTS: tuple[Requirement, ...] = (
    TORCH,
    Requirement("monai", "1.4", 2, "medical network architectures"),
    Requirement("numpy", "1.26", 17, "arrays"),
    Requirement("SimpleITK", "2.3", 53, "reading and registering scans"),
    Requirement("scipy", "1.11", 36, "distances and filters"),
    Requirement("safetensors", "0.4", 1, "safe weight files"),
    Requirement("einops", "0.7", 1, "tensor rearrangement"),
    Requirement("platformdirs", "4", 1, "the place of models and caches"),
)


#: Packages that older versions of Slicer are built with, and the version they are taken to have.
BUILT_WITH_SLICER = ("numpy", "SimpleITK")
BUILT_IN = "9999"


def installed_version(name: str) -> str | None:
    """Version of an installed package, None when it is not there; imports nothing.

    What Slicer built itself may come without metadata, and must not be replaced by what the package index has: it
    counts as new enough.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return BUILT_IN if name in BUILT_WITH_SLICER and importlib.util.find_spec(name) is not None else None


def missing_requirements(version_of: Callable[[str], str | None] = installed_version) -> list[Requirement]:
    """Requirements that are absent or too old, in the order to install them."""
    missing = []
    for requirement in REQUIREMENTS:
        version = version_of(requirement.name)
        if version is None or _numbers(version) < _numbers(requirement.minimum):
            missing.append(requirement)
    return missing


def _numbers(version: str) -> tuple[int, ...]:
    """The release part of a version, for comparison; "2.13.0+cpu" and "2.13rc1" both begin with (2, 13)."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in release.group().split(".")] if release else [0]
    return tuple(numbers + [0] * (4 - len(numbers)))


def describe_missing(missing: Sequence[Requirement]) -> str:
    """One sentence for the screen; empty when nothing is missing."""
    if not missing:
        return ""
    names = ", ".join(requirement.name for requirement in missing)
    size = sum(requirement.megabytes for requirement in missing)
    note = " (up to 2.5 GB with GPU support)" if TORCH in missing else ""
    return f"To be installed into Slicer's Python: {names}; about {size} MB to download{note}."


@dataclass
class Installers:
    """How packages get in; given from outside, so that the order is tested without installing anything.

    Attributes:
        torch: installs PyTorch fitting the graphics card (``PyTorchUtils``); returns False when declined, None
            where the PyTorch extension is absent.
        packages: installs requirement strings from the package index, with versions that have to stay as they are.
        wheels: installs requirement strings from a folder of wheel files, without network, with such versions.
    """

    torch: Callable[[str], bool] | None
    packages: Callable[[list[str], list[str]], None]
    wheels: Callable[[list[str], Path, list[str]], None]


@dataclass
class InstallOutcome:
    """How an installation went.

    Attributes:
        ok: everything needed is there now.
        message: one sentence for the screen.
        log: everything that was done, with tracebacks.
    """

    ok: bool
    message: str
    log: list[str] = field(default_factory=list)


def install(
    installers: Installers,
    wheel_folder: Path | None = None,
    version_of: Callable[[str], str | None] = installed_version,
    log_file: Path | None = None,
) -> InstallOutcome:
    """Install what is missing: PyTorch first, then the rest, whose own requirements then find it there.

    Never raises for a failed installation: the outcome says what happened, and trying again is safe.

    Args:
        installers: see :class:`Installers`.
        wheel_folder: install from these wheel files only, for machines without network.
        version_of: looks up installed versions.
        log_file: the log is appended to it.
    """
    log: list[str] = [f"{datetime.now().isoformat(timespec='seconds')} installing"]
    try:
        with contextlib.redirect_stdout(_Tee(sys.stdout, log)):  # Slicer prints what pip says
            outcome = _install(installers, wheel_folder, version_of, log)
    except Exception as problem:
        log.append(traceback.format_exc())
        outcome = InstallOutcome(
            False,
            f"The installation failed: {problem}. "
            "See the log, check the network (or use a wheel folder) and try again.",
        )
    outcome.log = log
    log.append(outcome.message)
    if log_file is not None:
        try:
            log_file.parent.mkdir(parents=True, exist_ok=True)
            with log_file.open("a", encoding="utf-8") as stream:
                stream.write("\n".join(log) + "\n")
        except OSError as problem:
            log.append(f"The log could not be written: {problem}.")
    return outcome


def _install(
    installers: Installers, wheel_folder: Path | None, version_of: Callable[[str], str | None], log: list[str]
) -> InstallOutcome:
    missing = missing_requirements(version_of)
    if not missing:
        return InstallOutcome(True, "Everything needed is installed.")
    if wheel_folder is not None:
        if not any(wheel_folder.glob("*.whl")):
            return InstallOutcome(False, f"There are no wheel files in {wheel_folder.name}. Choose another folder.")
        log.append(f"from wheels: {', '.join(r.specifier for r in missing)}")
        installers.wheels([r.specifier for r in missing], wheel_folder, kept_versions(version_of))
    else:
        if TORCH in missing:
            if installers.torch is None:
                return InstallOutcome(
                    False,
                    "The PyTorch extension is missing. Install “PyTorch” in the Extensions Manager and restart Slicer.",
                )
            log.append(f"torch>={TORCH.minimum} through the PyTorch extension")
            if not installers.torch(f">={TORCH.minimum}"):
                return InstallOutcome(False, "PyTorch was not installed. Press Install to try again.")
        others = [r.specifier for r in missing if r is not TORCH]
        if others:
            log.append(f"from the package index: {', '.join(others)}")
            importlib.invalidate_caches()
            installers.packages(others, kept_versions(version_of))
    importlib.invalidate_caches()
    left = missing_requirements(version_of)
    if left:
        names = ", ".join(r.name for r in left)
        return InstallOutcome(False, f"Still missing after the installation: {names}. See the log, and try again.")
    return InstallOutcome(True, "Everything needed is installed.")


def kept_versions(version_of: Callable[[str], str | None] = installed_version) -> list[str]:
    """What is there and new enough, as constraints for pip: it must not be replaced along with something else.

    The newest MONAI asks for a newer torch than somebody may have, and pip would fetch one that does not fit the
    graphics card; so bound, it takes an older MONAI instead.
    """
    missing = missing_requirements(version_of)
    present = [(r.name, version_of(r.name)) for r in REQUIREMENTS if r not in missing]
    return [f"{name}=={version}" for name, version in present if version != BUILT_IN]


class _Tee(io.TextIOBase):
    """Writes on, and keeps every line."""

    def __init__(self, stream: Any, lines: list[str]) -> None:
        self._stream, self._lines, self._rest = stream, lines, ""

    def write(self, text: str) -> int:
        if self._stream is not None:
            self._stream.write(text)
        *whole, self._rest = (self._rest + text).split("\n")
        self._lines += [line for line in whole if line.strip()]
        return len(text)

    def flush(self) -> None:
        if hasattr(self._stream, "flush"):
            self._stream.flush()


def slicer_installers(slicer: Any) -> Installers:
    """The installers of a running Slicer, whatever its version offers.

    None of them asks again: who pressed *Install* has read beside the button what comes and how large it is.

    Args:
        slicer: the ``slicer`` package.
    """

    def install_torch(requirement: str) -> bool:
        import PyTorchUtils

        logic = PyTorchUtils.PyTorchUtilsLogic()
        return logic.installTorch(askConfirmation=False, torchVersionRequirement=requirement) is not None

    def install_packages(specifiers: list[str], kept: list[str]) -> None:
        with _constraints(kept) as file:
            try:
                from packaging.requirements import Requirement as Parsed
                from slicer.packaging import pip_ensure
            except ImportError:
                with slicer.util.WaitCursor():
                    slicer.util.pip_install(["-c", str(file), *specifiers])
                return
            # It shows how far it is, what went wrong and whether to restart.
            pip_ensure(
                [Parsed(text) for text in specifiers], prompt_install=False, requester="FSEFT", constraints=str(file)
            )

    def install_wheels(specifiers: list[str], folder: Path, kept: list[str]) -> None:
        with _constraints(kept) as file, slicer.util.WaitCursor():
            slicer.util.pip_install(["--no-index", "--find-links", str(folder), "-c", str(file), *specifiers])

    return Installers(install_torch if _has_torch_extension() else None, install_packages, install_wheels)


@contextlib.contextmanager
def _constraints(kept: Sequence[str]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fseft-") as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        yield file


def _has_torch_extension() -> bool:
    """Whether the PyTorch extension is there; asked by importing it, which does not import torch.

    Slicer loads modules in a way of its own, after which :func:`importlib.util.find_spec` may fail for them.
    """
    try:
        import PyTorchUtils  # noqa: F401
    except ImportError:
        return False
    return True

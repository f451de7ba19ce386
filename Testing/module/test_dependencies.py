"""Dependencies: what is missing is found without importing it, and installed in the right order."""

from __future__ import annotations

import contextlib
import importlib.machinery
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from FSEFTSegmentLib.dependencies import (
    BUILT_IN,
    REQUIREMENTS,
    TORCH,
    Installers,
    describe_missing,
    install,
    installed_version,
    missing_requirements,
    slicer_installers,
)

REPOSITORY = Path(__file__).resolve().parents[2]


class Machine:
    """Installed versions, and installers that change them."""

    def __init__(self, **versions: str) -> None:
        self.versions = {r.name: r.minimum for r in REQUIREMENTS} | versions
        self.calls: list[tuple] = []
        self.accept = True

    def without(self, *names: str) -> Machine:
        for name in names:
            del self.versions[name]
        return self

    def version_of(self, name: str) -> str | None:
        return self.versions.get(name)

    def _add(self, specifiers) -> None:
        for text in specifiers:
            name, _, version = text.partition(">=")
            self.versions[name] = version

    def installers(self, extension: bool = True) -> Installers:
        def torch(requirement):
            self.calls.append(("torch", requirement))
            if self.accept:
                self._add(["torch" + requirement])
            return self.accept

        def packages(specifiers, kept):
            self.calls.append(("packages", specifiers))
            self.kept = kept
            print("Collecting monai")
            self._add(specifiers)

        def wheels(specifiers, folder, kept):
            self.calls.append(("wheels", specifiers, folder))
            self.kept = kept
            self._add(specifiers)

        return Installers(torch if extension else None, packages, wheels)


def test_what_is_absent_or_too_old_is_missing():
    machine = Machine(monai="1.3.9", torch="2.10.1+cu126", scipy="1.11rc1").without("einops")
    missing = missing_requirements(machine.version_of)
    assert [r.name for r in missing] == ["monai", "einops"]
    assert describe_missing(missing) == "To be installed into Slicer's Python: monai, einops; about 3 MB to download."
    assert "GPU" in describe_missing([TORCH])
    assert describe_missing([]) == ""


def test_torch_comes_first_and_then_the_rest(tmp_path):
    machine = Machine(SimpleITK=BUILT_IN, scipy="1.14.1").without("torch", "monai", "safetensors")
    log = tmp_path / "logs" / "install.log"
    outcome = install(machine.installers(), None, machine.version_of, log)
    assert outcome.ok
    assert machine.calls == [("torch", ">=2.2"), ("packages", ["monai>=1.4", "safetensors>=0.4"])]
    assert "monai>=1.4" in log.read_text("utf-8")
    assert "Collecting monai" in log.read_text("utf-8"), "what pip says"
    # What is there stays as it is, torch first of all; what Slicer built itself has no version to hold on to.
    assert machine.kept == ["torch==2.2", "numpy==1.26", "scipy==1.14.1", "einops==0.7", "platformdirs==4"]


def test_offline_installation_uses_only_the_wheel_folder(tmp_path):
    machine = Machine().without("torch", "monai")
    assert not install(machine.installers(), tmp_path, machine.version_of).ok
    assert machine.calls == []
    (tmp_path / "monai-1.4-py3-none-any.whl").touch()
    assert install(machine.installers(), tmp_path, machine.version_of).ok
    assert machine.calls == [("wheels", ["torch>=2.2", "monai>=1.4"], tmp_path)]


def test_nothing_to_do_does_nothing():
    machine = Machine()
    assert install(machine.installers(), None, machine.version_of).ok
    assert machine.calls == []


def test_failures_are_sentences_and_trying_again_works():
    machine = Machine().without("torch", "monai")
    assert "Extensions Manager" in install(machine.installers(extension=False), None, machine.version_of).message
    machine.accept = False
    assert "not installed" in install(machine.installers(), None, machine.version_of).message
    machine.accept = True
    broken = machine.installers()

    def fail(*_):
        raise RuntimeError("no network")

    broken.packages = fail
    outcome = install(broken, None, machine.version_of)
    assert not outcome.ok
    assert "no network" in outcome.message
    assert any("Traceback" in line for line in outcome.log)
    broken.packages = lambda *_: None
    assert "Still missing" in install(broken, None, machine.version_of).message
    assert install(machine.installers(), None, machine.version_of).ok


def test_an_unwritable_log_does_not_fail_the_installation(tmp_path):
    (tmp_path / "file").touch()
    machine = Machine().without("monai")
    outcome = install(machine.installers(), None, machine.version_of, tmp_path / "file" / "install.log")
    assert outcome.ok
    assert "could not be written" in outcome.log[-1]


def test_slicers_installers_use_what_the_version_offers(monkeypatch, tmp_path):
    calls = []
    read = []

    def pip_install(args):
        read.append(Path(args[args.index("-c") + 1]).read_text("utf-8"))
        calls.append([arg for arg in args if "constraints" not in arg])

    util = types.SimpleNamespace(pip_install=pip_install, WaitCursor=contextlib.nullcontext)
    slicer = types.SimpleNamespace(util=util)
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    installers = slicer_installers(slicer)
    assert installers.torch is None
    installers.packages(["monai>=1.4"], ["torch==2.6.0+cu124", "numpy==2.0"])
    installers.wheels(["monai>=1.4"], tmp_path / "a b", ["torch==2.6.0+cu124"])
    assert calls == [["-c", "monai>=1.4"], ["--no-index", "--find-links", str(tmp_path / "a b"), "-c", "monai>=1.4"]]
    assert read == ["torch==2.6.0+cu124\nnumpy==2.0\n", "torch==2.6.0+cu124\n"]


def test_slicer_512_ensures_packages_without_asking_once_more(monkeypatch):
    pytest.importorskip("packaging")
    calls = []
    newer = types.ModuleType("slicer.packaging")
    newer.pip_ensure = lambda requirements, prompt_install, requester, constraints: calls.append(
        ([str(r) for r in requirements], prompt_install, requester, Path(constraints).read_text("utf-8"))
    )
    monkeypatch.setitem(sys.modules, "slicer", types.ModuleType("slicer"))
    monkeypatch.setitem(sys.modules, "slicer.packaging", newer)

    class Logic:
        def installTorch(self, askConfirmation, torchVersionRequirement):
            calls.append((askConfirmation, torchVersionRequirement))
            return object()

    utils = types.ModuleType("PyTorchUtils")
    utils.PyTorchUtilsLogic = Logic
    utils.__spec__ = importlib.machinery.ModuleSpec("PyTorchUtils", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    installers = slicer_installers(None)
    assert installers.torch(">=2.2")
    installers.packages(["monai>=1.4"], ["torch==2.6.0"])
    assert calls == [(False, ">=2.2"), (["monai>=1.4"], False, "FSEFT", "torch==2.6.0\n")]


def test_requirements_are_those_of_the_package():
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.M | re.S).group(1)
    assert sorted(re.findall(r'"(.+?)"', block)) == sorted(r.specifier for r in REQUIREMENTS)


def test_looking_imports_nothing_heavy():
    script = (
        "import sys; from FSEFTSegmentLib.dependencies import missing_requirements; missing_requirements();"
        "print(sorted(set(sys.modules) & {'torch', 'monai', 'scipy', 'numpy', 'SimpleITK'}))"
    )
    folder = REPOSITORY / "FSEFTSegment"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert installed_version("pytest")
    assert installed_version("no-such-package-at-all") is None

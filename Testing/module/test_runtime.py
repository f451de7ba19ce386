"""Slicer's own ways to run the worker are chosen by what its version offers."""

from __future__ import annotations

import ast
import subprocess
import sys
import types
from pathlib import Path

import pytest
from FSEFTSegmentLib import runtime
from FSEFTSegmentLib.jobs.processes import ConsoleProcess, QtProcess

REPOSITORY = Path(__file__).resolve().parents[2]


def launch_512(args, blocking=True, logCallback=None, completedCallback=None):
    """As in Slicer 5.12."""


def launch_510(args, useStartupEnvironment=True):
    """As in Slicer 5.10."""


def test_the_process_fits_the_version():
    newer = types.SimpleNamespace(util=types.SimpleNamespace(launchConsoleProcess=launch_512))
    older = types.SimpleNamespace(
        util=types.SimpleNamespace(launchConsoleProcess=launch_510, startupEnvironment=lambda: {"A": "b"})
    )
    assert isinstance(runtime.new_process_factory(newer, None)(), ConsoleProcess)
    assert isinstance(runtime.new_process_factory(older, None)(), QtProcess)


def test_slicers_interpreter_is_preferred(monkeypatch):
    monkeypatch.setattr(runtime.shutil, "which", lambda name: f"/slicer/bin/{name}")
    assert runtime.worker_command() == ["/slicer/bin/PythonSlicer", "-m", "fseft.worker"]
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    assert runtime.python_interpreter() == sys.executable


def test_the_worker_finds_the_engine_and_the_users_settings(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("FSEFT_HOME", "my models")
    environment = runtime.worker_environment()
    assert environment["PYTHONPATH"].split(runtime.os.pathsep) == [str(REPOSITORY / "FSEFTSegment"), "elsewhere"]
    assert environment["FSEFT_HOME"] == "my models"


def test_the_worker_starts_from_the_module_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "fseft.worker"], cwd=runtime.MODULE_FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert '"job-missing"' in done.stdout


def test_the_self_test_does_nothing_when_it_is_only_imported():
    """Folders named ``slicer`` on the path are taken for parts of the ``slicer`` package: no import may run it."""
    for path in (REPOSITORY / "Testing" / "slicer").glob("*.py"):
        tree = ast.parse(path.read_text("utf-8"))
        assert isinstance(tree.body[0], ast.Expr), "says what it is"
        *body, last = tree.body[1:]
        if path.name == "self_test.py":
            assert ast.unparse(last.test) == "__name__ == '__main__'"
        else:
            body.append(last)
        assert {type(node) for node in body} <= {ast.Import, ast.Assign, ast.FunctionDef, ast.ClassDef}
        names = [
            n.targets[0].id if isinstance(n, ast.Assign) else n.name for n in body if not isinstance(n, ast.Import)
        ]
        assert all(name.startswith("_") for name in names), names


def _uses_of(path: Path) -> set[str]:
    """What a script asks of ``slicer.util``."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "slicer.util":
            found.add(node.attr)
    return found


def test_slicer_has_every_function_that_is_called():
    util = pytest.importorskip("slicer.util", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
    paths = [
        REPOSITORY / "Testing" / "slicer" / "self_test.py",
        *(path for path in (REPOSITORY / "FSEFTSegment").rglob("*.py") if "fseft" not in path.parts),
    ]
    asked = set().union(*map(_uses_of, paths))
    assert {"selectModule", "saveScene", "loadVolume", "errorDisplay"} <= asked
    assert {name for name in asked if not hasattr(util, name)} == set()


def test_the_module_script_is_what_slicer_expects():
    tree = ast.parse((REPOSITORY / "FSEFTSegment" / "FSEFTSegment.py").read_text("utf-8"))
    classes = {node.name: {f.name for f in node.body if isinstance(f, ast.FunctionDef)} for node in tree.body
               if isinstance(node, ast.ClassDef)}  # fmt: skip
    assert set(classes) == {"FSEFTSegment", "FSEFTSegmentWidget", "FSEFTSegmentLogic", "FSEFTSegmentTest"}
    assert {"setup", "enter", "exit", "cleanup", "onReload"} <= classes["FSEFTSegmentWidget"]
    assert {"adapt", "segment"} <= classes["FSEFTSegmentLogic"]
    assert {"setUp", "runTest"} <= classes["FSEFTSegmentTest"]

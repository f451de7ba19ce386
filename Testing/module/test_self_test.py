"""The self-test that runs in a real Slicer: what fails in it, or hangs, must not look like a success."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

HERE = Path(__file__).resolve().parent
#: An application in which the module cannot be opened, and whose scene does what the test says.
APPLICATION = """
import runpy, sys, time, types
sys.path[:0] = [{module!r}, {package!r}]
import slicer_standins
slicer_standins.install()
import slicer
slicer.util.exit = sys.exit
slicer.modules.fseftsegment = types.SimpleNamespace(widgetRepresentation=lambda: None)
slicer.mrmlScene = types.SimpleNamespace(Clear=lambda: {clearing})
sys.argv = ["self_test.py", {folder!r}]
runpy.run_path({script!r}, run_name="__main__")
"""


def run(folder, clearing, minutes):
    script = HERE.parent / "slicer" / "self_test.py"
    code = APPLICATION.format(
        module=str(HERE), package=str(HERE.parents[1] / "FSEFTSegment"), clearing=clearing, folder=str(folder),
        script=str(script),
    )  # fmt: skip
    environment = {**os.environ, "FSEFT_SELF_TEST_MINUTES": str(minutes)}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


def test_a_failing_step_is_named_and_the_exit_code_tells(tmp_path):
    ended = run(tmp_path, "None", 5)
    assert ended.returncode == 1
    assert "FSEFT self-test FAILED at: opening the module" in ended.stdout
    assert "AttributeError" in ended.stderr


def test_what_hangs_is_ended_with_the_place_where_it_hung(tmp_path):
    ended = run(tmp_path, "time.sleep(100)", 0.1)
    assert ended.returncode == 1
    assert "“opening the module” was not over 0.1 minutes after the start" in ended.stdout
    assert "in _run" in (tmp_path / "where-it-hung.txt").read_text("utf-8")


def test_a_fault_in_a_slot_fails_the_step(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(HERE.parent / "slicer"))
    from self_test_watch import _Watch

    watch = _Watch(tmp_path, 1)
    with watch.during("nothing wrong"):
        pass
    with pytest.raises(AssertionError, match="went wrong on the way:\nit broke"), watch.during("something wrong"):
        watch.add("it broke")
    assert watch.step == "something wrong"
    assert "fault: it broke" in capsys.readouterr().out

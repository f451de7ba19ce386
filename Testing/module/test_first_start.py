"""The module right after its installation: none of the engine's packages is there, and the scene is empty."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = ("torch", "monai", "scipy", "safetensors", "einops", "platformdirs")


def test_everything_can_be_pressed_before_anything_is_installed(tmp_path):
    pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
    pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("FSEFT_")}
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, env=variables, timeout=120
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["faults"] == []
    assert set(told["pressed"]) >= {"installButton", "checkButton", "cacheButton", "libraryButton", "addScanButton"}
    assert "torch" in told["message"]
    assert all(text.startswith("Install the missing packages first") for text in told["errors"])
    assert len(told["errors"]) == 3


def _block() -> None:
    for name in ABSENT:
        sys.modules[name] = None


class _NoInstallers:
    """Nothing can be installed here."""

    torch = None

    @staticmethod
    def packages(_):
        raise OSError("no network")

    wheels = packages


def _press_everything(root, qt) -> list[str]:
    pressed = []
    for kind in (qt.QPushButton, qt.QToolButton, qt.QCheckBox):
        for button in root.findChildren(kind):
            if not button.enabled or not button.objectName:
                continue
            pressed.append(button.objectName)
            if button.menu() if hasattr(button, "menu") else None:
                _choose_everything(button.menu())
            else:
                button.click()
    return pressed


def _choose_everything(menu) -> None:
    menu.aboutToShow.emit()
    for action in menu.actions():
        if action.enabled and action.menu() is None:
            action.trigger()


def _main(folder: Path) -> None:
    _block()
    faults: list[str] = []
    sys.excepthook = lambda kind, problem, _trace: faults.append(f"{kind.__name__}: {problem}")
    import logging

    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: faults.append(logging.Formatter().format(record))
    logging.getLogger().addHandler(handler)

    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parents[1] / "FSEFTSegment")]
    import slicer_standins as standins

    standins.install()
    standins.with_properties(__name__)
    import qt
    import slicer
    from FSEFTSegmentLib import sample_data  # noqa: F401
    from FSEFTSegmentLib.jobs.processes import SubprocessProcess
    from FSEFTSegmentLib.jobs.queue import JobQueue
    from FSEFTSegmentLib.panels.dependencies_panel import DependenciesPanel
    from FSEFTSegmentLib.panels.screen import Screen, run_soon
    from FSEFTSegmentLib.session import Session

    import FSEFTSegment  # noqa: F401  what Slicer loads at its start

    standins.DIALOGS.answer = False
    slicer.mrmlScene = slicer.vtkMRMLScene()
    queue = JobQueue([sys.executable, "-c", "import no_such_engine"], SubprocessProcess, folder=str(folder))
    session = Session(slicer.mrmlScene, queue, run_soon, None, folder)
    strip = functools.partial(DependenciesPanel, version_of=lambda _: None, installers=_NoInstallers())
    window = qt.QWidget()
    screen = Screen(session, qt.QVBoxLayout(window), strip)
    message = screen.dependencies.ui.message.text
    window.show()
    screen.enter()
    pressed = _press_everything(screen.root, qt)
    app = standins.application()
    while session.is_busy:
        app.processEvents()
        screen.tick()
    screen.leave()
    slicer.mrmlScene.Clear(False)
    screen.scene_closing()
    screen.refresh_all()
    screen.clean_up()
    app.processEvents()
    print(json.dumps({"pressed": pressed, "faults": faults, "errors": standins.DIALOGS.errors, "message": message}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))

"""What the tests of the screen share: a model of the library, drawing, clicking and waiting."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import slicer_standins as standins
from FSEFTSegmentLib.jobs.processes import SubprocessProcess
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.session import Session
from mrml_makers import add_volume, random_ct

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402

WORKER = Path(__file__).with_name("flow_worker.py")


class Entry:
    """A model of the library."""

    name = "mine"
    problem = ""
    description = {  # noqa: RUF012
        "name": "mine",
        "method": "spatial-adapter",
        "structures": [
            {"name": "structure 1", "value": 1, "color": [1, 0, 0], "terminology": ""},
            {"name": "structure 2", "value": 2, "color": [0, 1, 0], "terminology": ""},
        ],
        "priors": {"structure 1": {"low_ml": 10.0, "high_ml": 20.0, "source": "3 annotated cases"}},
    }


def score(dice, sd=None, surface=None, error=None, cases=3):
    return {"dice": dice, "sd": sd, "surface_dice": surface, "volume_error_ml": error, "cases": cases}


VALIDATED = {
    **Entry.description,
    "validation": {
        "kind": "leave-one-out",
        "table": {
            "zero-shot": {"structure 1": score(None), "structure 2": score(0.2)},
            "spatial-adapter": {
                "structure 1": score(0.912, 0.021, 0.95, 3.14),
                "structure 2": score(None, cases=0),
            },
        },
        "chosen": "spatial-adapter",
        "reason": "The spatial adapter is best",
        "verdict": "Good. The spatial adapter is best.",
        "advice": "Annotate one more case that shows structure 2.",
    },
}


def spin(until, seconds=30):
    app = standins.application()
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not get there in time"
        app.processEvents()
        time.sleep(0.003)


def finish(screen):
    spin(lambda: not screen.session.is_busy)
    spin(lambda: not screen.session.queue.is_busy)
    screen.tick()
    assert not screen.clock.active


def draw(screen, case, *names):
    from FSEFTSegmentLib.mrml.grid import own_grid
    from FSEFTSegmentLib.mrml.segments import set_labels

    session = screen.session
    node, volume = session.support.annotation_for(case), session.state.scan(case)
    labels = np.zeros(own_grid(volume).array_shape, np.uint8)
    for position, structure in enumerate(session.state.structures):
        if structure.name in names:
            labels[2:5, 3:6, 2 + 3 * position : 5 + 3 * position] = structure.value
    set_labels(node, labels, own_grid(volume), session.state.structures)


def click(button):
    assert button.enabled, button.toolTip
    button.click()


def menu_texts(menu):
    return [action.text for action in menu.actions()]


def ready_to_adapt(screen, scene):
    session = screen.session
    for name in ("structure 1", "structure 2"):
        session.support.add_structure(name)
    session.support.add_scans([add_volume(scene, random_ct(seed=n), name=f"CT {n}") for n in range(2)])
    for case in session.state.cases:
        draw(screen, case, "structure 1", "structure 2")
    session.notify("cases")
    screen.adapt.ui.nameEdit.text = "mine"
    screen.adapt.ui.nameEdit.textEdited.emit("mine")


def segmented(screen, scene, models, refine="default"):
    models.append(Entry)
    add_volume(scene, name="new 1")
    add_volume(scene, random_ct(seed=5), name="new 2")
    screen.session.notify("models")
    screen.scene_changed()
    ui = screen.segment.ui
    ui.refineCombo.currentIndex = ui.refineCombo.findData(refine)
    click(ui.segmentButton)
    finish(screen)
    return ui


def open_screen(scene, folder):
    """A screen in a window of its own over a light worker."""
    queue = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, folder=str(folder), grace_s=0.5)
    session = Session(scene, queue, run_soon, scene.fseft_logics["Sequences"], folder)
    window = qt.QWidget()
    screen = Screen(session, qt.QVBoxLayout(window))
    screen.window = window
    window.geometry = qt.QRect(0, 0, 480, 1100)
    window.show()
    return screen

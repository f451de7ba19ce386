"""Whatever is pressed, in whatever order, on whatever scene: no traceback, and no error that was not foreseen."""

from __future__ import annotations

import logging
import random
import sys

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.mrml.grid import own_grid  # noqa: E402
from mrml_makers import add_segmentation, add_volume, blocks, random_ct, structures  # noqa: E402
from screen_kit import Entry, spin  # noqa: E402

PRESSES = 50


@pytest.fixture
def faults(monkeypatch):
    """What is raised out of slots, or logged as an error."""
    found = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, problem, _trace: found.append(f"{kind.__name__}: {problem}"))
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(logging.Formatter().format(record))
    logging.getLogger().addHandler(handler)
    yield found
    logging.getLogger().removeHandler(handler)


def buttons_of(screen):
    return [
        button
        for kind in (qt.QPushButton, qt.QToolButton, qt.QCheckBox)
        for button in screen.root.findChildren(kind)
        if button.enabled and button.objectName and button.isVisibleTo(screen.root)
    ]


def press(button, chance):
    menu = button.menu() if hasattr(button, "menu") else None
    if menu is None:
        button.click()
        return
    menu.aboutToShow.emit()
    actions = [action for action in menu.actions() if action.enabled and action.menu() is None and action.text]
    if actions:
        chance.choice(actions).trigger()


def choose_rows(screen, chance):
    """Select something in each table, and another entry in each list of choices."""
    for table in screen.root.findChildren(qt.QTableWidget):
        if table.rowCount:
            row = chance.randrange(table.rowCount)
            table.setCurrentCell(row, 0)
            table.cellClicked.emit(row, 0)
    for combo in screen.root.findChildren(qt.QComboBox):
        if combo.count and combo.enabled:
            combo.currentIndex = chance.randrange(combo.count)
            combo.activated.emit(combo.currentIndex)


@pytest.mark.parametrize("seed", range(2))
def test_nothing_breaks_whatever_is_pressed(screen, scene, models, dialogs, faults, monkeypatch, tmp_path, seed):
    chance = random.Random(seed)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *_, **__: chance.random() < 0.7)
    monkeypatch.setattr(standins.InputDialog, "answer", "a structure")
    monkeypatch.setattr(standins.FileDialog, "answer", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    models.append(type("InLibrary", (Entry,), {"folder": tmp_path / "mine"}))
    for number in range(PRESSES):
        if number == 10:
            volume = add_volume(scene, random_ct(seed=seed), name="annotated")
            add_segmentation(scene, blocks(), own_grid(volume).ijk_to_ras, structures("structure 1", "structure 2"))
            add_volume(scene, random_ct(seed=seed + 10), name="new")
            screen.scene_changed()
        if number == 38:
            screen.scene_closing()
            scene.Clear(False)
            screen.refresh_all()
        if number % 3 == 0:
            choose_rows(screen, chance)
        if number % 11 == 5:
            screen.leave()
            screen.enter()
        press(chance.choice(buttons_of(screen)), chance)
        standins.application().processEvents()
    screen.session.cancel_all()
    spin(lambda: not screen.session.queue.is_busy)
    assert [text for text in dialogs.errors if "unexpected" in text] == []
    assert faults == []

"""Section 2 on real Qt without a display: making a model, and its card."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()
standins.with_properties(__name__)

from FSEFTSegmentLib.activity import PHASES, Activity, Stage  # noqa: E402
from FSEFTSegmentLib.jobs.job import Job, Progress  # noqa: E402
from FSEFTSegmentLib.panels.card import card_html, methods_table_html, structure_rows  # noqa: E402
from mrml_makers import add_volume, random_ct  # noqa: E402
from screen_kit import VALIDATED, Entry, click, finish, ready_to_adapt, score, spin  # noqa: E402


def test_adapt_shows_progress_curve_and_card(screen, scene, models, dialogs):
    ready_to_adapt(screen, scene)
    ui, view = screen.adapt.ui, screen.adapt.job_view.ui
    click(ui.adaptButton)
    assert not ui.adaptButton.enabled
    assert ui.adaptButton.toolTip == "A model is being made."
    assert screen.adapt.job_view.root.visible
    assert view.cancelButton.visible
    models.append(Entry)
    finish(screen)
    assert view.phase.text == "Done."
    assert not view.cancelButton.visible
    assert view.plot.visible
    assert not view.plot.pixmap.isNull()
    assert ui.card.visible
    assert "Looks good so far" in ui.card.text
    assert screen.session.activity("adapt").job.parameters["method"] == "auto"
    assert "0.90" in ui.card.text
    assert screen.segment.chosen_model == "mine"
    click(ui.adaptButton)
    assert "Replace it" in dialogs.questions[0]
    finish(screen)
    dialogs.answer = False
    before = screen.session.activity("adapt")
    click(ui.adaptButton)
    assert screen.session.activity("adapt") is before


def test_only_scans_that_are_annotated_are_counted(screen, scene):
    ready_to_adapt(screen, scene)
    screen.session.support.add_scans([add_volume(scene, random_ct(seed=9), name="not yet")])
    assert screen.adapt.ui.adaptButton.toolTip == "Learn the structures from 2 annotated scan(s)"


def test_a_bad_name_is_told_before(screen, scene):
    ready_to_adapt(screen, scene)
    for name in ("a/b", ".x", "a:b"):
        screen.adapt.ui.nameEdit.text = name
        screen.adapt.ui.nameEdit.textEdited.emit(name)
        assert not screen.adapt.ui.adaptButton.enabled
        assert "cannot be a model's name" in screen.adapt.ui.adaptButton.toolTip


def test_an_error_is_a_sentence_with_details_on_demand(screen, scene):
    ready_to_adapt(screen, scene)
    screen.adapt.ui.nameEdit.text = "failing"
    screen.adapt.ui.nameEdit.textEdited.emit("failing")
    click(screen.adapt.ui.adaptButton)
    finish(screen)
    view = screen.adapt.job_view.ui
    assert view.phase.text == "Nothing is annotated. Annotate something."
    assert not view.log.visible
    click(view.logButton)
    assert view.log.visible
    assert "Nothing is annotated. (annotation-empty)" in view.log.plainText
    assert screen.adapt.ui.adaptButton.enabled


def test_cancel_by_its_button(screen, scene):
    ready_to_adapt(screen, scene)
    combo = screen.adapt.ui.deviceCombo
    combo.addItem("slow", "slow")
    combo.currentIndex = combo.findData("slow")
    combo.activated.emit(combo.currentIndex)
    click(screen.adapt.ui.adaptButton)
    activity = screen.session.activity("adapt")
    spin(lambda: activity.stage.value == "running")
    click(screen.adapt.job_view.ui.cancelButton)
    assert screen.adapt.job_view.ui.phase.text == "Cancelling…"
    finish(screen)
    assert screen.adapt.job_view.ui.phase.text == "Cancelled; nothing was changed."


def test_a_fixed_method_is_checked_when_asked(screen, scene):
    ready_to_adapt(screen, scene)
    ui = screen.adapt.ui
    assert ui.methodCombo.itemData(ui.methodCombo.currentIndex) == "auto"
    assert ui.validateCheck.checked
    assert "always does" in ui.validateCheck.toolTip
    assert not ui.validateCheck.enabled
    ui.methodCombo.currentIndex = ui.methodCombo.findData("linear-probe")
    ui.methodCombo.activated.emit(ui.methodCombo.currentIndex)
    assert not ui.validateCheck.checked
    click(ui.adaptButton)
    finish(screen)
    job = screen.session.activity("adapt").job
    assert (job.parameters["method"], job.parameters["validate"]) == ("linear-probe", False)
    assert "Not validated" in ui.card.text
    click(ui.validateCheck)
    click(ui.adaptButton)
    finish(screen)
    assert screen.session.activity("adapt").job.parameters["validate"] is True
    assert "Not validated" not in ui.card.text


def test_a_model_is_continued_after_a_correction(screen, scene, models, dialogs):
    ready_to_adapt(screen, scene)
    ui = screen.adapt.ui
    ui.methodCombo.currentIndex = ui.methodCombo.findData("continue")
    ui.methodCombo.activated.emit(ui.methodCombo.currentIndex)
    assert not ui.adaptButton.enabled
    assert "There is no model" in ui.adaptButton.toolTip
    assert ui.backboneCombo.toolTip == "The model's own backbone is used."
    models.append(Entry)
    screen.refresh("models")
    ui.nameEdit.text = Entry.name
    ui.nameEdit.textEdited.emit(Entry.name)
    assert ui.adaptButton.enabled
    click(ui.adaptButton)
    assert "Roll back" in dialogs.questions[0]
    finish(screen)
    parameters = screen.session.activity("adapt").job.parameters
    assert parameters["previous"] == Entry.name
    assert "method" not in parameters
    assert "backbone" not in parameters
    ui.methodCombo.currentIndex = ui.methodCombo.findData("linear-probe")
    ui.methodCombo.activated.emit(ui.methodCombo.currentIndex)
    assert ui.backboneCombo.enabled


def test_what_automatic_costs_is_told_before(screen, scene):
    ui = screen.adapt.ui
    assert not ui.methodNote.visible
    ready_to_adapt(screen, scene)
    assert ui.methodNote.visible
    assert "registers the 2 annotated scans to each other, 2 times" in ui.methodNote.text
    assert "(10 s in all, then remembered)" in ui.methodNote.text
    screen.adapt._show_method(10)
    assert "90 times about 5 seconds (8 min in all" in ui.methodNote.text
    screen.adapt._show_method(1)
    assert not ui.methodNote.visible
    ui.methodCombo.currentIndex = ui.methodCombo.findData("linear-probe")
    ui.methodCombo.activated.emit(ui.methodCombo.currentIndex)
    assert not ui.methodNote.visible


def test_every_phase_of_the_engine_has_its_words():
    told = set()
    for path in (Path(__file__).parents[2] / "FSEFTSegment" / "fseft").rglob("*.py"):
        told |= set(re.findall(r'\.progress\(\s*"([a-z-]+)"', path.read_text("utf-8")))
    assert {"features", "training", "validation", "registration", "refinement"} <= told
    assert told - set(PHASES) == set()


def test_registering_while_adapting_says_how_far_it_is_and_how_long_it_takes():
    job = Job("adapt", {}, Path("nowhere"))
    activity = Activity("adapt", "Adapting", Stage.RUNNING, job=job)
    job.progress = Progress("registration", 1.4, 3, 33.0, "case 2 of 3")
    text = "Registering the annotated scans to each other - case 2 of 3 - 30 s left"
    assert activity.describe() == text
    activity.kind = "propose"
    assert activity.describe().startswith("Registering - case 2 of 3")


def test_the_card_shows_the_validation_with_dashes_for_what_is_unknown():
    rows = structure_rows(VALIDATED)
    assert rows[0] == {
        "name": "structure 1", "dice": "0.91 ± 0.02", "surface": "0.95", "error": "3.1", "volume": "10.0–20.0",
    }  # fmt: skip
    assert list(rows[1].values()) == ["structure 2", "-", "-", "-", "-"]
    text = card_html(VALIDATED).replace("&nbsp;", " ").replace("&#8209;", "-")
    for words in (
        "Good. The spatial",
        "Annotate one more case that shows",
        "left out, one at a time",
        "<b>spatial-adapter 0.91*</b>",
        "spatial-adapter: its mean is over structure 1 only.",
    ):
        assert words in text, words
    assert "Not validated" not in text
    assert "0.20" in methods_table_html(VALIDATED)
    assert methods_table_html(VALIDATED) in card_html(VALIDATED, wide=True)
    slices = {**VALIDATED, "validation": {**VALIDATED["validation"], "kind": "cross-slice"}}
    assert "slices of the one annotated scan" in card_html(slices)


def test_the_card_says_what_a_mean_leaves_out():
    table = {
        "zero-shot": {"liver": score(0.8), "my lesion": score(None)},
        "linear-probe": {"liver": score(0.9), "my lesion": score(0.5)},
    }
    content = {**VALIDATED, "validation": {**VALIDATED["validation"], "table": table, "chosen": "linear-probe"}}
    text = card_html(content).replace("&nbsp;", " ").replace("&#8209;", "-")
    assert "zero-shot 0.80*, <b>linear-probe 0.70</b>" in text
    assert "* zero-shot knows only structures of the pretraining: its mean is over liver." in text
    assert "The chosen method has 0.90 there." in text
    del table["zero-shot"]["my lesion"], table["linear-probe"]["my lesion"]
    assert "*" not in card_html(content)


def test_the_card_warns_without_validation():
    assert "Not validated" in card_html(Entry.description)
    assert "10.0" in card_html(Entry.description)
    assert "<b>&lt;x&gt;</b>" in card_html({"name": "<x>"})

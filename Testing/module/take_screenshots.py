"""Write pictures of the screen, for the eye and for the documentation.

``python Testing/module/take_screenshots.py FOLDER``: the module's panel on the way through the sample data, light and
dark. The worker is the real one, so that this takes some minutes; set FSEFT_CACHE to keep features between runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import slicer_standins as standins
from studio import HEIGHT, WIDTH, Studio

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
from FSEFTSegmentLib.runtime import make_plain_queue  # noqa: E402
from FSEFTSegmentLib.sample_data import ORGANS  # noqa: E402
from practice import Say, annotate, load  # noqa: E402


def choose(combo: object, value: str) -> None:
    """Choose an entry as a user does."""
    combo.currentIndex = combo.findData(value)
    combo.activated.emit(combo.currentIndex)


def take(studio: Studio, spacing_mm: float, method: str) -> None:
    """Go through the module and take the pictures."""
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)

    studio.shoot("0-empty")
    support_section(studio, spacing_mm, say)
    adapt_section(studio, method, say)
    segment_section(studio, say)
    dialogs(studio)
    studio.window.geometry = qt.QRect(0, 0, WIDTH, 2 * HEIGHT)
    studio.shoot("module")
    say("all taken")


def support_section(studio: Studio, spacing_mm: float, say: Say) -> None:
    """Structures, cases, a proposal, and annotating."""
    screen, session = studio.screen, studio.session
    scans = load(studio, spacing_mm)
    for name in ORGANS:
        session.support.add_structure(name)
    session.support.add_scans([scan for scan, _organs in scans[:3]])
    annotate(session, session.state.cases[0], scans[0][1])
    annotate(session, session.state.cases[1], scans[1][1], ORGANS[:3])
    screen.support.cases.select(session.state.cases[2])
    studio.shoot_whole("1-structures-and-cases", screen.ui.supportSection)
    say("proposing from the annotated scans")
    screen.support.propose("atlas")
    studio.wait()
    say("proposed")
    screen.support.annotate()
    studio.shoot_whole("1-proposal", screen.ui.supportSection)
    screen.support.annotator.close()
    screen.support.ui.draftNote.visible = False
    for case, (_scan, organs) in zip(session.state.cases, scans, strict=False):
        annotate(session, case, organs)


def adapt_section(studio: Studio, method: str, say: Say) -> None:
    """Making a model, while it is made and when it is there."""
    screen, session, ui = studio.screen, studio.session, studio.screen.adapt.ui
    ui.nameEdit.text = "abdomen, our scanner"
    ui.nameEdit.textEdited.emit(ui.nameEdit.text)
    choose(ui.methodCombo, method)
    choose(ui.deviceCombo, "cpu")
    if not ui.validateCheck.checked:
        ui.validateCheck.click()
    say("adapting")
    ui.adaptButton.click()
    activity = session.activity("adapt")
    while activity.is_active and sum(metric.get("name") == "loss" for metric in activity.job.metrics) < 15:
        studio.settle(0.1)
    studio.shoot_whole("2-adapting", screen.ui.adaptSection)
    studio.wait()
    say("adapted")
    studio.shoot_whole("2-adapt", screen.ui.adaptSection)


def segment_section(studio: Studio, say: Say) -> None:
    """Segmenting the new scans, and what came out."""
    screen = studio.screen
    say("segmenting")
    screen.segment.ui.segmentButton.click()
    studio.wait()
    say("segmented")
    screen.segment.job_view.root.visible = False
    screen.segment.ui.resultTable.setCurrentCell(1, 0)
    studio.shoot_whole("3-segment", screen.ui.segmentSection)
    screen.segment.ui.priorsButton.click()
    studio.shoot_whole("3-expected-volumes", screen.ui.segmentSection)
    screen.segment.ui.priorsButton.click()
    studio.shoot_whole("4-review", screen.ui.reviewSection)


def dialogs(studio: Studio) -> None:
    """The library, the storage and the standard codes."""
    screen = studio.screen
    screen.show_library()
    studio.shoot("library", screen._library.dialog)
    screen._library.dialog.close()
    screen.show_storage()
    studio.shoot("storage", screen._storage.dialog)
    screen._storage.dialog.close()
    screen.support.structures.choose_term(studio.session.state.structures[0])
    terms = screen.support.structures._terms
    terms.search.text = "kidney"
    studio.shoot("codes", terms.dialog)
    terms.dialog.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--spacing", type=float, default=3.0, help="of the scans, mm")
    parser.add_argument("--method", default="auto")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        os.environ["FSEFT_HOME"] = str(Path(work) / "home")
        os.environ.setdefault("FSEFT_CACHE", str(Path(work) / "cache"))
        studio = Studio(chosen.folder, make_plain_queue(), Path(work))
        try:
            take(studio, chosen.spacing, chosen.method)
        finally:
            studio.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

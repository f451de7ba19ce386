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
from practice import annotate, load  # noqa: E402


def choose(combo: object, value: str) -> None:
    """Choose an entry as a user does."""
    combo.currentIndex = combo.findData(value)
    combo.activated.emit(combo.currentIndex)


def take(studio: Studio, spacing_mm: float, method: str) -> None:
    """Go through the module and take the pictures."""
    screen, session = studio.screen, studio.session
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - started:6.0f} s  {what}", flush=True)

    studio.shoot("1-empty")
    scans = load(studio, spacing_mm)
    for name in ORGANS:
        session.support.add_structure(name)
    session.support.add_scans([scan for scan, _organs in scans[:3]])
    annotate(session, session.state.cases[0], scans[0][1])
    annotate(session, session.state.cases[1], scans[1][1], ORGANS[:3])
    screen.support.cases.select(session.state.cases[2])
    studio.shoot("2-support", scroll_to=screen.ui.supportSection)
    say("proposing from the annotated scans")
    screen.support.propose("atlas")
    studio.wait()
    studio.shoot("3-proposal", scroll_to=screen.ui.supportSection)
    screen.support.annotate()
    studio.shoot("4-annotate", scroll_to=screen.support.ui.annotateButton)
    screen.support.annotator.close()
    screen.support.ui.draftNote.visible = False
    for case, (_scan, organs) in zip(session.state.cases, scans, strict=False):
        annotate(session, case, organs)

    adapt = screen.adapt.ui
    adapt.nameEdit.text = "abdomen, our scanner"
    adapt.nameEdit.textEdited.emit(adapt.nameEdit.text)
    choose(adapt.methodCombo, method)
    choose(adapt.deviceCombo, "cpu")
    adapt.validateCheck.checked = True
    session.state.choose("validate", True)
    say("adapting")
    adapt.adaptButton.click()
    activity = session.activity("adapt")
    while not activity.job.metrics and activity.is_active:
        studio.settle(0.1)
    studio.settle(4)
    studio.shoot("5-adapting", scroll_to=screen.ui.adaptSection)
    studio.wait()
    say("adapted")
    studio.shoot("6-adapted", scroll_to=screen.ui.adaptSection)

    studio.settle()
    say("segmenting")
    screen.segment.ui.segmentButton.click()
    studio.wait()
    say("segmented")
    screen.segment.ui.priorsButton.click()
    studio.shoot("7-segment", scroll_to=screen.ui.segmentSection)
    screen.segment.ui.priorsButton.click()
    screen.segment.ui.resultTable.setCurrentCell(1, 0)
    studio.shoot("8-review", scroll_to=screen.segment.ui.segmentButton)
    screen.show_library()
    studio.shoot("9-library", screen._library.dialog)
    screen._library.dialog.close()
    screen.show_storage()
    studio.shoot("10-storage", screen._storage.dialog)
    screen._storage.dialog.close()
    screen.support.structures.choose_term(session.state.structures[0])
    terms = screen.support.structures._terms
    terms.search.text = "kidney"
    studio.shoot("11-codes", terms.dialog)
    terms.dialog.close()
    studio.window.geometry = qt.QRect(0, 0, WIDTH, 2 * HEIGHT)
    studio.shoot("12-all", scroll_to=screen.ui.supportSection)
    say("all taken")


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

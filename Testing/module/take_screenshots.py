"""Write pictures of the screen, for the eye and for the documentation.

``python Testing/module/take_screenshots.py FOLDER [--dark]``: the module's panel in several situations.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "FSEFTSegment")]

import numpy as np  # noqa: E402
import slicer_standins as standins  # noqa: E402

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib import library  # noqa: E402
from FSEFTSegmentLib.jobs.processes import SubprocessProcess  # noqa: E402
from FSEFTSegmentLib.jobs.queue import JobQueue  # noqa: E402
from FSEFTSegmentLib.mrml.grid import own_grid  # noqa: E402
from FSEFTSegmentLib.mrml.results import BEFORE, ResultIdentity, show_result  # noqa: E402
from FSEFTSegmentLib.mrml.segments import set_labels  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402
from FSEFTSegmentLib.presets import make_structure  # noqa: E402
from FSEFTSegmentLib.session import Session  # noqa: E402
from mrml_makers import STRAIGHT, add_volume, random_ct  # noqa: E402

ORGANS = ("liver", "spleen", "stomach", "left kidney")
WIDTH, HEIGHT = 470, 690


def dark_palette() -> object:
    """The colours of Slicer's dark theme, roughly."""
    palette = qt.QPalette()
    for role, color in (
        (qt.QPalette.Window, "#323232"), (qt.QPalette.WindowText, "#e6e6e6"), (qt.QPalette.Base, "#262626"),
        (qt.QPalette.AlternateBase, "#2e2e2e"), (qt.QPalette.Text, "#e6e6e6"), (qt.QPalette.Button, "#3c3c3c"),
        (qt.QPalette.ButtonText, "#e6e6e6"), (qt.QPalette.Highlight, "#2d6cb0"), (qt.QPalette.PlaceholderText, "#999"),
    ):  # fmt: skip
        palette.setColor(role, qt.QColor(color))
    for role in (qt.QPalette.Text, qt.QPalette.WindowText, qt.QPalette.ButtonText):
        palette.setColor(qt.QPalette.Disabled, role, qt.QColor("#808080"))
    return palette


class Studio:
    """A screen with a plausible support set.

    Args:
        folder: where pictures go.
        suffix: added to their names.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self.folder, self.suffix = folder, suffix
        self.scene = slicer.vtkMRMLScene()
        self.logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerSubjectHierarchyModuleLogic()]
        for logic in self.logics:
            logic.SetMRMLScene(self.scene)
        slicer.mrmlScene = self.scene
        work = Path(tempfile.mkdtemp())
        queue = JobQueue([sys.executable, str(HERE / "flow_worker.py")], SubprocessProcess, folder=str(work))
        self.session = Session(self.scene, queue, run_soon, None, work)
        self.window = qt.QScrollArea()
        self.window.widgetResizable = True
        inner = qt.QWidget()
        self.window.setWidget(inner)
        self.screen = Screen(self.session, qt.QVBoxLayout(inner))
        self.window.geometry = qt.QRect(0, 0, WIDTH, HEIGHT)
        self.window.show()

    def shoot(self, name: str, widget: object | None = None, scroll_to: object | None = None) -> None:
        """Write a picture of what is seen now."""
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.01)
        if scroll_to is not None:
            top = scroll_to.mapTo(self.window.widget(), qt.QPoint(0, 0)).y()
            self.window.verticalScrollBar().value = top - 4
            slicer.app.processEvents()
        (widget or self.window).grab().save(str(self.folder / f"{name}{self.suffix}.png"))

    def fill(self) -> None:
        """Structures, cases and annotations."""
        for name in ORGANS:
            self.session.support.add_structure(name)
        scans = [
            add_volume(self.scene, random_ct((24, 40, 40), seed=n), STRAIGHT, f"Abdomen CT {n}") for n in (1, 2, 3)
        ]
        self.session.support.add_scans(scans)
        for position, case in enumerate(self.session.state.cases):
            node = self.session.support.annotation_for(case)
            labels = np.zeros((24, 40, 40), np.uint8)
            for number, structure in enumerate(self.session.state.structures):
                if position == 0 or (position == 1 and number < 2):
                    labels[5:15, 5:15, 2 + 9 * number : 9 + 9 * number] = structure.value
            set_labels(node, labels, own_grid(scans[position]), self.session.state.structures)
        self.session.notify("cases")
        self.screen.scene_changed()
        self.session.state.choose("name", "abdomen, our scanner")
        self.session.notify("models")

    def pretend_adapted(self) -> None:
        """A model and its card."""
        structures = [make_structure(name, n + 1) for n, name in enumerate(ORGANS)]
        content = {
            "name": "abdomen, our scanner",
            "method": "spatial-adapter",
            "structures": [
                {"name": s.name, "value": s.value, "color": list(s.color), "terminology": s.terminology}
                for s in structures
            ],
            "priors": {
                name: {"low_ml": low, "high_ml": high, "source": "3 annotated scans"}
                for name, low, high in (
                    ("liver", 1180.0, 1720.0), ("spleen", 130.0, 310.0), ("stomach", 150.0, 420.0),
                    ("left kidney", 120.0, 190.0),
                )
            },
            "validation": {
                "kind": "leave-one-out",
                "table": {
                    method: {
                        name: {
                            "dice": dice - less, "sd": sd, "surface_dice": dice - 0.02, "volume_error_ml": error,
                            "cases": 3,
                        }
                        for name, dice, sd, error in (
                            ("liver", 0.95, 0.01, 31.0), ("spleen", 0.93, 0.02, 9.4), ("stomach", 0.81, 0.09, 44.0),
                            ("left kidney", 0.94, 0.01, 6.2),
                        )
                    }
                    for method, less in (
                        ("zero-shot", 0.31), ("linear-probe", 0.06), ("mlp-adapter", 0.04), ("spatial-adapter", 0.0),
                    )
                },
                "chosen": "spatial-adapter",
                "reason": "The spatial adapter is best",
                "verdict": (
                    "Usable, but check stomach in every result. The spatial adapter is best: mean Dice 0.908 on "
                    "held-out cases, against 0.868 with the MLP adapter."
                ),
                "advice": "Annotate one more case: stomach varies most (0.81 ± 0.09).",
            },
        }  # fmt: skip
        entry = type(
            "Entry", (), {"name": content["name"], "description": content, "problem": "", "folder": self.folder}
        )
        library.models = lambda: [entry]
        library.list_backbones = lambda: [library.BackboneChoice("fseft-mini", "FSEFT mini", True, True, 12)]
        self.session.state.choose("card", content)
        self.session.notify("models")

    def pretend_results(self) -> None:
        """Two segmented scans."""
        values = ((1432.0, 201.0, 512.0, 148.0), (1390.0, 305.0, 288.0, 61.0))
        flags = {(0, 2): ["larger than expected (at most 420 ml)"], (1, 3): ["cut by the scan's border"]}
        dice = ((0.95, 0.92, 0.71, 0.93), (0.94, 0.93, 0.84, 0.88))
        structures = tuple(make_structure(name, n + 1) for n, name in enumerate(ORGANS))
        priors = library.models()[0].description["priors"]
        for number in range(2):
            volume = add_volume(self.scene, random_ct((24, 40, 40), seed=9 + number), STRAIGHT, f"New CT {number + 1}")
            labels = np.zeros((24, 40, 40), np.uint8)
            labels[5:15, 5:15, 5:15] = 1
            node = show_result(self.scene, volume, labels, structures, ResultIdentity("m"))
            before = show_result(self.scene, volume, labels, structures, ResultIdentity("m", BEFORE))
            report = [
                {
                    "name": s.name, "value": s.value, "volume_ml": values[number][n],
                    "expected_ml": [priors[s.name]["low_ml"], priors[s.name]["high_ml"]],
                    "flags": flags.get((number, n), []),
                    "predicted_dice": {
                        "value": dice[number][n], "low": dice[number][n] - 0.09, "high": dice[number][n] + 0.04,
                    },
                    "refinement": {
                        "action": "refined" if (number, n) == (1, 3) else "none",
                        "why": "Its volume was below the expected range.", "before_ml": 52.1, "after_ml": 61.0,
                    },
                }
                for n, s in enumerate(structures)
            ]  # fmt: skip
            self.session.state.add_result(volume, node, before, "abdomen, our scanner", {"structures": report})
        self.screen.scene_changed()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dark", action="store_true")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    app = standins.application()
    if chosen.dark:
        app.setPalette(dark_palette())
    studio = Studio(chosen.folder, "-dark" if chosen.dark else "")
    screen = studio.screen
    studio.shoot("1-empty")
    studio.fill()
    studio.pretend_adapted()
    studio.shoot("2-support")
    screen.support.ui.suggestNote.text = (
        "Annotate “Abdomen CT 3” next. It differs clearly from the scans chosen so far (the nearest is “Abdomen CT 1”)"
        ", and the model is unsure about it. Annotate every fourth slice of the body (20 mm)."
    )
    screen.support.ui.suggestNote.visible = True
    screen.support.annotate()
    studio.shoot("3-annotate", scroll_to=screen.support.ui.annotateButton)
    screen.support.annotator.close()
    studio.shoot("4-adapt", scroll_to=screen.ui.adaptSection)
    studio.session.adapt({"name": "x", "device": "cpu"})
    while studio.session.is_busy:
        slicer.app.processEvents()
        studio.session.queue.tick()
    studio.pretend_adapted()
    studio.shoot("5-adapted", scroll_to=screen.ui.adaptSection)
    studio.pretend_results()
    screen.segment.ui.priorsButton.click()
    screen.segment.ui.priorsTable.setCurrentCell(1, 0)
    studio.shoot("6-segment", scroll_to=screen.ui.segmentSection)
    screen.segment.ui.resultTable.setCurrentCell(2, 0)
    studio.shoot("7-review", scroll_to=screen.segment.ui.segmentButton)
    screen.show_library()
    studio.shoot("8-library", screen._library.dialog)
    screen.show_storage()
    studio.shoot("9-storage", screen._storage.dialog)
    studio.window.geometry = qt.QRect(0, 0, WIDTH, 1500)
    studio.shoot("0-all")
    screen.clean_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Run Slicer's self-test over the stand-ins, so that its faults show before a Slicer is at hand.

``python Testing/module/rehearse_self_test.py FOLDER``: the data model and the worker are the real ones, the
application around them is not; some minutes.
"""

from __future__ import annotations

import json
import runpy
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "FSEFTSegment")]

import slicer_standins as standins  # noqa: E402

standins.install()
standins.with_properties(__name__)
standins.with_properties("__main__")

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.jobs.processes import SubprocessProcess  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402
from FSEFTSegmentLib.presets import LIST  # noqa: E402
from FSEFTSegmentLib.runtime import make_plain_queue  # noqa: E402
from FSEFTSegmentLib.sample_data import SAMPLES, load_sample  # noqa: E402
from FSEFTSegmentLib.session import Session  # noqa: E402

#: What Slicer expects a list of codes to follow; it looks at the name only.
SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


class Widget:
    """FSEFTSegmentWidget: a screen that hears of the scene."""

    def __init__(self) -> None:
        self.screen: Screen = None
        self.onReload()

    def enter(self) -> None:
        self.screen.enter()

    def onReload(self) -> None:
        if self.screen is not None:
            self.screen.clean_up()
        self.host = qt.QWidget()
        self.screen = Screen(Session(slicer.mrmlScene, make_plain_queue(), run_soon), qt.QVBoxLayout(self.host))


def terminologies(folder: Path) -> object:
    """Slicer's logic with a list of codes as long as the real one is."""
    kinds = [
        {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, "3dSlicerLabel": meaning,
         "recommendedDisplayRGBValue": [221, 130, 101]}
        for value, meaning in [("10200004", "Liver"), *((str(n), f"Organ {n}") for n in range(150))]
    ]  # fmt: skip
    category = {"CodingSchemeDesignator": "SCT", "CodeValue": "123037004", "CodeMeaning": "Anatomical Structure",
                "showAnatomy": True, "Type": kinds}  # fmt: skip
    content = {"SegmentationCategoryTypeContextName": LIST, "@schema": SCHEMA,
               "SegmentationCodes": {"Category": [category]}}  # fmt: skip
    path = folder / "terms.json"
    path.write_text(json.dumps(content), "utf-8")
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    if logic.LoadTerminologyFromFile(str(path)) != LIST:
        raise RuntimeError("the list of codes was not read")
    return logic


def fake_application(folder: Path) -> None:
    """What the self-test asks of Slicer."""
    scene = slicer.vtkMRMLScene()
    logics = [slicer.vtkSlicerVolumesLogic(), slicer.vtkSlicerSegmentationsModuleLogic(),
              slicer.vtkSlicerSubjectHierarchyModuleLogic()]  # fmt: skip
    for logic in logics:
        logic.SetMRMLScene(scene)
    slicer.mrmlScene = scene
    scene.keep = logics
    widget = Widget()
    for event, heard in (
        (scene.StartCloseEvent, "scene_closing"),
        (scene.EndCloseEvent, "refresh_all"),
        (scene.StartImportEvent, "scene_importing"),
        (scene.EndImportEvent, "scene_imported"),
    ):
        scene.AddObserver(event, lambda *_, heard=heard: getattr(widget.screen, heard)())
    representation = types.SimpleNamespace(self=lambda: widget, grab=lambda: widget.host.grab())
    slicer.modules.fseftsegment = types.SimpleNamespace(widgetRepresentation=lambda: representation)
    logic = terminologies(folder)
    slicer.modules.terminologies = types.SimpleNamespace(logic=lambda: logic)
    saved = {}

    def save(name: str) -> bool:
        scene.SetSaveToXMLString(1)
        scene.Commit()
        saved[name] = scene.GetSceneXMLString()
        return True

    def load(name: str) -> bool:
        scene.SetLoadFromXMLString(1)
        scene.SetSceneXMLString(saved[name])
        scene.Import()
        widget.screen.refresh_all()
        return True

    def segmentation(path: str) -> object:
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(path)
        node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        storage.ReadData(node)
        return node

    volumes = logics[0]
    slicer.util.saveScene, slicer.util.loadScene, slicer.util.loadSegmentation = save, load, segmentation
    slicer.util.loadVolume = lambda path, properties=None: volumes.AddArchetypeVolume(path, "loaded", 0)
    slicer.util.loadLabelVolume = lambda path, properties=None: volumes.AddArchetypeVolume(path, "loaded", 1)
    slicer.util.exit = lambda code: print(f"exit code {code}", flush=True) or sys.exit(code)
    sources = {
        sample.name: types.SimpleNamespace(
            customDownloader=lambda _source, sample=sample: load_sample(sample, SubprocessProcess)
        )
        for sample in SAMPLES
    }
    sample_logic = types.SimpleNamespace(sourceForSampleName=sources.get)
    sys.modules["SampleData"] = types.SimpleNamespace(SampleDataLogic=lambda: sample_logic)


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    fake_application(folder)
    runpy.run_path(str(HERE.parents[0] / "slicer" / "self_test.py"), run_name="__main__")


if __name__ == "__main__":
    main()

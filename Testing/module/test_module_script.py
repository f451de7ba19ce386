"""The script that Slicer loads: its widget's life, and the blocking calls for scripts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins
from FSEFTSegmentLib.jobs.processes import SubprocessProcess
from FSEFTSegmentLib.jobs.queue import JobQueue
from FSEFTSegmentLib.session import Session
from mrml_makers import add_segmentation, add_volume, blocks, random_ct, structures

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from fseft.errors import Cancelled, FseftError  # noqa: E402
from FSEFTSegmentLib.mrml.grid import own_grid, to_numpy  # noqa: E402
from FSEFTSegmentLib.panels.screen import run_soon  # noqa: E402

import FSEFTSegment as module  # noqa: E402

WORKER = Path(__file__).with_name("flow_worker.py")


@pytest.fixture
def session(scene, tmp_path):
    queue = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, folder=str(tmp_path), grace_s=0.5)
    slicer.mrmlScene = scene
    session = Session(scene, queue, run_soon, None, tmp_path)
    yield session
    session.shut_down()
    slicer.mrmlScene = None


def cases(scene):
    pairs = []
    for n in range(2):
        volume = add_volume(scene, random_ct(seed=n), name=f"CT {n}")
        grid = own_grid(volume)
        pairs.append((volume, add_segmentation(scene, blocks(), grid.ijk_to_ras, structures("liver", "spleen"))))
    return pairs


def test_scripts_adapt_and_segment_with_blocking_calls(session, scene, monkeypatch):
    logic = module.FSEFTSegmentLogic(session)
    result = logic.adapt(cases(scene), ["liver", "spleen"], "mine")
    assert result["method"] == "spatial-adapter"
    description = {"structures": [{"name": "liver", "value": 1}, {"name": "spleen", "value": 2}]}
    monkeypatch.setattr("fseft.models.library.find_model", lambda name: Path(name))
    monkeypatch.setattr("fseft.models.description.read_description", lambda folder: description)
    volume = add_volume(scene, random_ct(seed=8), name="new")
    loaded = logic.segment([volume], "mine")
    assert loaded[0].volume is volume
    assert np.array_equal(to_numpy_of(loaded[0].segmentation), own_grid(volume).ijk_to_ras)


def to_numpy_of(node):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetSegmentation().GetNthSegment(0).GetRepresentation("Binary labelmap").GetImageToWorldMatrix(matrix)
    return to_numpy(matrix)


def test_blocking_calls_raise_what_went_wrong(session, scene):
    logic = module.FSEFTSegmentLogic(session)
    with pytest.raises(FseftError) as caught:
        logic.adapt(cases(scene), ["liver", "spleen"], "failing")
    assert caught.value.code == "annotation-empty"
    with pytest.raises(FseftError) as caught:
        logic.adapt(cases(scene), ["aorta"], "mine")
    assert caught.value.code == "not-ready"
    qt.QTimer.singleShot(300, lambda: session.cancel("adapt"))
    with pytest.raises(Cancelled):
        logic.adapt(cases(scene), ["liver", "spleen"], "mine", device="slow")


def test_the_widget_lives_through_scenes_reloads_and_other_modules(session, scene, monkeypatch):
    monkeypatch.setattr(module, "new_session", lambda: session)
    window = qt.QWidget()
    layout = qt.QVBoxLayout(window)
    widget = module.FSEFTSegmentWidget()
    widget.layout = layout
    widget.setup()
    widget.enter()
    volume = add_volume(scene)
    assert widget.screen.soon.active
    widget.screen.scene_changed()
    assert widget.screen.segment.chosen_volumes == [volume]
    widget.exit()
    for _ in range(3):
        scene.Clear(False)
        assert widget.screen.segment.ui.scanList.count == 0
        add_volume(scene)
        widget.screen.scene_changed()
    widget.cleanup()
    assert widget.screen is None
    scene.Clear(False)
    add_volume(scene)


def test_the_modules_own_test_passes_here_too(session, scene, monkeypatch):
    monkeypatch.setattr(module, "new_session", lambda: session)

    def add(voxels, name):
        return add_volume(scene, voxels, name=name)

    monkeypatch.setattr(slicer.util, "addVolumeFromArray", add)
    test = module.FSEFTSegmentTest()
    test.delayDisplay = lambda _: None
    test.runTest()

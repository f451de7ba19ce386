"""How long the interface stands still while a job starts and while its results load.

``python Testing/module/measure_stalls.py``: a 512 x 512 x 300 scan with 10 structures; a stand-in does the
segmenting. Prints the longest turn of the event loop for each part, in wall time and in processor time of this
process (which other load on the machine does not lengthen).
"""

from __future__ import annotations

import json
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
from FSEFTSegmentLib.mrml.segments import set_labels  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402
from FSEFTSegmentLib.session import Session  # noqa: E402
from mrml_makers import STRAIGHT, add_volume  # noqa: E402

SHAPE = (300, 512, 512)
WORKER = """
import json, sys, time
import numpy as np, SimpleITK as sitk
job = json.load(open(sys.argv[1], encoding="utf-8"))
p = job["parameters"]
if job["kind"] == "adapt":
    print(json.dumps({"event": "result", "result": {"model": "m", "name": "m", "structures": p["structures"]}}))
    sys.exit(0)
image = sitk.ReadImage(p["scans"][0]["scan"])
labels = np.zeros(image.GetSize()[::-1], np.uint8)
for n in range(10):
    labels[40 + 20 * n : 90 + 20 * n, 60:420, 40 * n + 20 : 40 * n + 120] = n + 1
result = sitk.GetImageFromArray(labels)
result.CopyInformation(image)
sitk.WriteImage(result, p["scans"][0]["output"], True)
names = [{"name": f"organ {n}", "value": n, "volume_ml": 1.0} for n in range(1, 11)]
print(json.dumps({"event": "result", "result": {"scans": [{"name": "scan 1", "structures": names}]}}))
"""


def longest_turn(until) -> tuple[float, float]:
    """Longest turn of the event loop, wall and processor time in ms."""
    app = standins.application()
    wall = processor = 0.0
    while not until():
        began, used = time.perf_counter(), time.process_time()
        app.processEvents()
        wall = max(wall, time.perf_counter() - began)
        processor = max(processor, time.process_time() - used)
        time.sleep(0.001)
    return 1000 * wall, 1000 * processor


def main() -> int:
    scene = slicer.vtkMRMLScene()
    logics = [slicer.vtkSlicerSegmentationsModuleLogic(), slicer.vtkSlicerSubjectHierarchyModuleLogic()]
    for logic in logics:
        logic.SetMRMLScene(scene)
    slicer.mrmlScene = scene
    work = Path(tempfile.mkdtemp())
    (work / "worker.py").write_text(WORKER)
    queue = JobQueue([sys.executable, str(work / "worker.py")], SubprocessProcess, folder=str(work))
    session = Session(scene, queue, run_soon, None, work)
    entry = type("Entry", (), {"name": "m", "problem": "", "description": {
        "name": "m", "structures": [{"name": f"organ {n}", "value": n, "color": [1, n / 10, 0], "terminology": ""}
                                    for n in range(1, 11)]}})  # fmt: skip
    library.models = lambda: [entry]
    window = qt.QWidget()
    screen = Screen(session, qt.QVBoxLayout(window))
    window.show()
    voxels = np.random.default_rng(0).integers(-1000, 1500, SHAPE, dtype=np.int16)
    volume = add_volume(scene, voxels, STRAIGHT, "large")
    for n in range(1, 11):
        session.support.add_structure(f"organ {n}")
    screen.scene_changed()
    figures = {}

    def record(name, start, until) -> None:
        began, used = time.perf_counter(), time.process_time()
        start()
        first = (1000 * (time.perf_counter() - began), 1000 * (time.process_time() - used))
        turn = longest_turn(until)
        figures[name] = [round(max(a, b)) for a, b in zip(first, turn, strict=True)]

    def stage(kind, *names):
        return lambda: session.activity(kind).stage.value in names

    options = {"model": "m", "structures": entry.description["structures"], "device": "cpu"}
    record("segment: start", lambda: session.segment([volume], options), stage("segment", "running", "failed"))
    record("segment: work", lambda: None, stage("segment", "loading", "failed"))
    record("segment: results", lambda: None, stage("segment", "finished", "failed"))
    session.support.add_scans([volume])
    labels = np.zeros(SHAPE, np.uint8)
    for n in range(10):
        labels[40 + 20 * n : 90 + 20 * n, 60:420, 40 * n + 20 : 40 * n + 120] = n + 1
    node = session.support.annotation_for(session.state.cases[0])
    set_labels(node, labels, own_grid(volume), session.state.structures)
    record("live status", lambda: session.notify("cases"), lambda: True)
    record("live status again", lambda: session.notify("cases"), lambda: True)
    record("adapt: start", lambda: session.adapt({"name": "m", "device": "cpu"}), stage("adapt", "running", "failed"))
    record("adapt: end", lambda: None, stage("adapt", "finished", "failed"))
    print(json.dumps({"longest turn, ms (wall, processor)": figures}, indent=1))
    screen.clean_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())

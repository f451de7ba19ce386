"""The whole way through the module in a real Slicer, offline, on synthetic scans.

``Slicer --no-splash --testing --python-script Testing/slicer/self_test.py [FOLDER]``: exits 0 when everything
worked; pictures and exported files are written to FOLDER (a temporary one by default). The engine's dependencies
must be installed in Slicer's Python.
"""

import os
import sys
import tempfile
import time
import traceback


def _phantom_volume(seed, annotated):
    """A small synthetic abdomen in the scene, and its liver and spleen as a labelmap (k, j, i)."""
    import numpy as np
    import slicer
    from fseft.phantom import make_phantom
    from FSEFTSegmentLib.mrml.grid import own_grid, to_vtk
    from FSEFTSegmentLib.mrml.results import new_segmentation
    from FSEFTSegmentLib.mrml.segments import set_labels
    from FSEFTSegmentLib.presets import make_structure

    made = make_phantom(seed, "abdomen", (6.0, 6.0, 6.0), oblique=bool(seed % 2))
    geometry = made.scan.geometry
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.direction_matrix * geometry.spacing
    matrix[:3, 3] = geometry.origin
    volume = slicer.util.addVolumeFromArray(made.scan.hounsfield, name=f"Synthetic {seed}")
    volume.SetIJKToRASMatrix(to_vtk(np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix))
    values = {structure.name: structure.value for structure in made.structures}
    truth = np.zeros(made.labels.shape, np.uint8)
    for value, name in enumerate(("liver", "spleen"), start=1):
        truth[made.labels == values[name]] = value
    segmentation = None
    if annotated:
        structures = (make_structure("liver", 1), make_structure("spleen", 2))
        segmentation = new_segmentation(slicer.mrmlScene, volume, f"Synthetic {seed} annotation")
        set_labels(segmentation, truth, own_grid(volume), structures)
    return volume, segmentation, truth


def _dice(one, other):
    return 2.0 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def _picture(folder, name):
    import slicer

    slicer.app.processEvents()
    window = slicer.util.mainWindow()
    if window is not None:
        window.grab().save(os.path.join(folder, name + ".png"))


def _wait(screen, seconds=900):
    import slicer

    end = time.monotonic() + seconds
    while screen.session.is_busy:
        if time.monotonic() > end:
            raise RuntimeError("a job did not end in time")
        slicer.app.processEvents()
        time.sleep(0.01)


def _open_module():
    import slicer

    slicer.util.selectModule("FSEFTSegment")
    slicer.app.processEvents()
    return slicer.modules.fseftsegment.widgetRepresentation().self()


def _require(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


def _click(button):
    _require(button.enabled, f"“{button.text}” can be pressed ({button.toolTip})")
    button.click()


def _adapt(screen, name):
    screen.adapt.ui.nameEdit.text = name
    screen.session.state.choose("name", name)
    screen.session.state.choose("method", "linear-probe")
    screen.session.state.choose("device", "cpu")
    screen.session.notify("models")
    _click(screen.adapt.ui.adaptButton)
    _wait(screen)
    activity = screen.session.activity("adapt")
    _require(activity.failure is None, f"Adapt ends well: {activity.describe()}")
    return activity


def _segment(screen, volumes, refine):
    import qt

    chosen = {volume.GetID() for volume in volumes}
    listing = screen.segment.ui.scanList
    for row in range(listing.count):
        item = listing.item(row)
        item.setCheckState(qt.Qt.Checked if str(item.data(qt.Qt.UserRole)) in chosen else qt.Qt.Unchecked)
    combo = screen.segment.ui.refineCombo
    combo.currentIndex = combo.findData(refine)
    _click(screen.segment.ui.segmentButton)
    _wait(screen)
    activity = screen.session.activity("segment")
    _require(activity.failure is None, f"Segment ends well: {activity.describe()}")


def _run(folder):
    import slicer
    from FSEFTSegmentLib.mrml.annotations import annotation_steps
    from FSEFTSegmentLib.mrml.exports import distinct_items, export_steps
    from FSEFTSegmentLib.steps import run_steps

    slicer.mrmlScene.Clear()
    widget = _open_module()
    screen = widget.screen
    session = screen.session
    _require(screen.dependencies.reason == "", "the dependencies are installed")
    _picture(folder, "1-empty")

    for name in ("liver", "spleen"):
        session.support.add_structure(name)
    support = [_phantom_volume(seed, True) for seed in (1, 2)]
    for volume, segmentation, _truth in support:
        session.support.add_scans([volume])
        session.support.import_annotation(session.state.cases[-1], segmentation)
    screen.support.annotate()
    _require(screen.support.annotator.is_open, "the Segment Editor opens on the selected scan")
    _picture(folder, "2-annotate")
    screen.support.annotator.close()
    _require(all(status.is_usable for status in session.support.statuses()), "both cases are usable")

    _adapt(screen, "self test")
    _picture(folder, "3-adapted")
    queries = [_phantom_volume(seed, False) for seed in (3, 4)]
    screen.scene_changed()
    volumes = [query[0] for query in queries]
    for refine in ("off", "default"):
        _segment(screen, volumes, refine)
        _require(len(session.state.results) == 2, "each scan has one result, replaced by the second run")
    screen.segment.results.jump(0)
    _picture(folder, "4-segmented")
    for result, (volume, _none, truth) in zip(session.state.results, queries, strict=True):
        node = session.state.result_node(result, "result")
        labels = run_steps(annotation_steps(node, volume, session.state.structures)).labels
        score = _dice(labels == 1, truth == 1)
        _require(score > 0.5, f"the liver of {volume.GetName()} is found (Dice {score:.2f})")

    items = distinct_items([(session.state.result_node(r, "result"), session.state.result_node(r, "scan"))
                            for r in session.state.results])  # fmt: skip
    for kind in ("seg.nrrd", "nii.gz", "nrrd"):
        paths = run_steps(export_steps(items, session.state.structures, _path(folder), kind, overwrite=True))
        _require(all(path.stat().st_size > 0 for path in paths), f"labelmaps are exported as {kind}")
    reloaded = slicer.util.loadSegmentation(str(_path(folder) / f"{items[0].stem}.seg.nrrd"))
    names = [reloaded.GetSegmentation().GetNthSegment(n).GetName()
             for n in range(reloaded.GetSegmentation().GetNumberOfSegments())]  # fmt: skip
    _require(names == ["liver", "spleen"], "an exported segmentation keeps its names")
    slicer.mrmlScene.RemoveNode(reloaded)

    screen.segment.ui.resultTable.setCurrentCell(0, 0)
    _click(screen.review.ui.correctButton)
    _require(len(session.state.cases) == 3, "a corrected result joins the support set")
    screen.support.annotator.close()
    _adapt(screen, "self test")

    scene_file = os.path.join(folder, "scene.mrb")
    _require(slicer.util.saveScene(scene_file), "the scene is saved")
    slicer.mrmlScene.Clear()
    slicer.app.processEvents()
    _require(session.state.cases == (), "a closed scene leaves nothing behind")
    slicer.util.loadScene(scene_file)
    slicer.app.processEvents()
    _require(len(session.state.cases) == 3, "a loaded scene brings the support set back")
    _require(all(session.state.scan(case) is not None for case in session.state.cases), "with its scans")
    slicer.mrmlScene.Clear()

    widget.onReload()
    widget = _open_module()
    _require(widget.screen is not None, "the module reloads")
    _require(widget.screen.session.adapt_reason() != "", "and starts empty")


def _path(folder):
    from pathlib import Path

    return Path(folder)


def _main():
    import slicer

    folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="fseft-self-test-")
    os.makedirs(folder, exist_ok=True)
    home = os.path.join(folder, "home")
    # The user's own models and caches are left alone; the worker inherits these.
    os.environ["FSEFT_HOME"] = home
    os.environ["FSEFT_CACHE"] = os.path.join(home, "cache")
    print(f"FSEFT self-test, files in {folder}", flush=True)
    try:
        _run(folder)
    except BaseException:
        traceback.print_exc()
        _picture(folder, "failed")
        print("FSEFT self-test FAILED", flush=True)
        slicer.util.exit(1)
        return
    print("FSEFT self-test passed", flush=True)
    slicer.util.exit(0)


if __name__ == "__main__":
    _main()

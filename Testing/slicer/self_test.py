"""The whole way through the module in a real Slicer, offline, on synthetic scans.

``Slicer --no-splash --testing --python-script Testing/slicer/self_test.py [FOLDER]``: exits 0 when everything
worked, else it names the step that failed and exits 1; with or without ``--testing`` and ``--no-main-window``.
Whatever is raised in a slot, shown as an error or logged by the module is a failure too. Nothing is asked, and what
does not end within FSEFT_SELF_TEST_MINUTES (40) is ended. Pictures and exported files are written to FOLDER (a
temporary one by default). The engine's dependencies must be installed in Slicer's Python.
"""

import contextlib
import os
import pathlib
import platform
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
    window = slicer.util.mainWindow() or slicer.modules.fseftsegment.widgetRepresentation()
    window.grab().save(os.path.join(folder, name + ".png"))


def _wait(screen, kind, seconds=1500):
    """Wait for an activity, and require that it ended well; what it said is told where it did not."""
    import slicer

    end = time.monotonic() + seconds
    activity = screen.session.activity(kind)
    _require(activity is not None, f"“{kind}” was started")
    while screen.session.is_busy:
        if time.monotonic() > end:
            raise AssertionError(f"“{kind}” did not end in {seconds} s: {activity.describe()}\n{activity.log_text()}")
        slicer.app.processEvents()
        time.sleep(0.01)
    ended_well = activity.failure is None and activity.stage.value == "finished"
    _require(ended_well, f"“{kind}” ends well: {activity.describe()}" + ("" if ended_well else activity.log_text()))
    return activity


def _open_module():
    import slicer

    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("FSEFTSegment")
        widget = slicer.modules.fseftsegment.widgetRepresentation().self()
    else:
        widget = slicer.modules.fseftsegment.widgetRepresentation().self()
        widget.enter()
    slicer.app.processEvents()
    return widget


def _require(condition, what):
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


def _click(button):
    _require(button.enabled, f"“{button.text}” can be pressed ({button.toolTip})")
    button.click()


def _adapt(screen, name, method="linear-probe"):
    screen.adapt.ui.nameEdit.text = name
    screen.session.state.choose("name", name)
    screen.session.state.choose("method", method)
    screen.session.state.choose("validate", True)
    screen.session.state.choose("device", "cpu")
    screen.session.notify("models")
    _click(screen.adapt.ui.adaptButton)
    _wait(screen, "adapt")


def _check_refinement(session):
    """What refinement says of each structure, and that what it changed can be compared."""
    for result in session.state.results:
        entries = result.report["structures"]
        _require(all(entry["refinement"] for entry in entries), "refinement tells what it did to each structure")
        for entry in entries:
            print(f"    {entry['name']}: {entry['refinement']['action']} {entry['refinement']['why']}", flush=True)
        changed = any(entry["refinement"]["changed_ml"] > 0 for entry in entries)
        before = session.state.result_node(result, "before")
        _require((before is not None) == changed, "the result before refinement is kept where it was changed")


def _compare(screen):
    """Switch to the results before refinement and back, where there are any."""
    session, check = screen.session, screen.segment.ui.beforeCheck
    pairs = [[session.state.result_node(r, role) for role in ("result", "before")] for r in session.state.results]
    pairs = [pair for pair in pairs if pair[1] is not None]
    if not pairs:
        _require(not check.enabled and check.toolTip != "", "with no change there is nothing to compare")
        return
    for wanted in ([False, True], [True, False]):
        _click(check)
        shown = [[bool(node.GetDisplayNode().GetVisibility()) for node in pair] for pair in pairs]
        _require(all(pair == wanted for pair in shown), "before and after refinement are switched")


def _roll_back(screen, name):
    """Go back to the model as it was before the second Adapt, and forth again."""
    from fseft.models.versions import list_versions, roll_back
    from FSEFTSegmentLib import library

    def entry():
        return next(entry for entry in library.models() if entry.name == name)

    screen.show_library()
    dialog = screen._library
    dialog.table.setCurrentCell([e.name for e in dialog.entries].index(name), 0)
    _require(dialog.buttons["roll back"].enabled, "the library offers the earlier version")
    dialog.fill_versions()
    _require(len(dialog.versions_menu.actions()) == 1, "and lists it")
    made = entry().description["created"]
    earlier = list_versions(entry().folder)[0]
    for version in (earlier.description["created"], made):
        roll_back(entry().folder)
        screen.session.notify("models")
        dialog.refresh()
        _require(entry().description["created"] == version, f"the model is that of {version}")
    dialog.dialog.accept()


def _help_annotating(screen, scan):
    """What to annotate next, and a draft of it."""
    session = screen.session
    _click(screen.support.ui.suggestButton)
    _wait(screen, "suggest")
    _require(screen.support.ui.suggestNote.text.startswith("Annotate"), screen.support.ui.suggestNote.text)
    session.support.add_scans([scan])
    screen.support.cases.select(next(case for case in session.state.cases if session.state.scan(case) is scan))
    for method in ("model", "atlas"):
        screen.support.propose(method)
        _wait(screen, "propose")
        status = screen.support.cases.statuses[len(session.state.cases) - 1]
        _require("liver" in status.annotated, f"a draft ({method}) is there")
        _require("liver" in screen.support.ui.draftNote.text, "what is proposed is told")
        _click(screen.support.ui.undoProposalButton)
    session.support.remove_case(screen.support.cases.selected)


def _choose_code(screen):
    """Slicer's own lists of codes are there, and a chosen one reaches the structure and its segments."""
    session = screen.session
    structure = session.state.structures[0]
    screen.support.structures.choose_term(structure)
    dialog = screen.support.structures._terms
    _require(dialog.lists.count > 0, "Slicer's lists of standard codes are read")
    before = dialog.list.count
    _require(before > 100, f"there are {before} codes to choose from")
    dialog.search.text = "liver"
    _require(0 < dialog.list.count < before, "codes are searched")
    labels = [dialog.list.item(row).text() for row in range(dialog.list.count)]
    _require("Liver" in labels, f"the liver is among {labels}")
    dialog.list.currentRow = labels.index("Liver")
    _click(dialog.choose_button)
    from FSEFTSegmentLib.presets import terminology_label

    chosen = terminology_label(session.state.structures[0].terminology)
    _require(chosen == "Liver", f"a code is chosen ({chosen})")


def _load_sample_data():
    """The samples are offered in the Sample Data module, and made without network."""
    import SampleData
    import slicer
    from FSEFTSegmentLib.sample_data import SAMPLES

    logic = SampleData.SampleDataLogic()
    for sample in SAMPLES:
        source = logic.sourceForSampleName(sample.name)
        _require(source is not None, f"Sample Data offers “{sample.name}”")
    volumes = source.customDownloader(source)
    _require(len(volumes) == SAMPLES[-1].count, "its scans are made and loaded")
    for volume in volumes:
        slicer.mrmlScene.RemoveNode(volume)


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
    _wait(screen, "segment")


def _run(folder, watch):
    import slicer

    with watch.during("what there is"):
        version = getattr(slicer.app, "applicationVersion", "")
        print(f"Slicer {version}, Python {platform.python_version()}, {platform.platform()}", flush=True)
        from FSEFTSegmentLib.dependencies import REQUIREMENTS, installed_version

        for requirement in REQUIREMENTS:
            print(f"    {requirement.specifier}: {installed_version(requirement.name)}", flush=True)
    with watch.during("opening the module"):
        slicer.mrmlScene.Clear()
        widget = _open_module()
        screen, session = widget.screen, widget.screen.session
        _require(
            screen.dependencies.reason == "", f"dependencies: {screen.dependencies.ui.message.text or 'all there'}"
        )
        _picture(folder, "1-empty")
    with watch.during("sample data"):
        _load_sample_data()
    with watch.during("structures and cases"):
        _annotate(screen, folder)
    with watch.during("standard codes"):
        _choose_code(screen)
    with watch.during("adapting"):
        _adapt(screen, "self test")
        _picture(folder, "3-adapted")
        table = session.state.choice("card", {})["validation"]["table"]
        _require("linear-probe" in table, "the model is checked by leaving cases out")
    queries = [_phantom_volume(seed, False) for seed in (3, 4)]
    with watch.during("segmenting"):
        screen.scene_changed()
        for refine in ("off", "default"):
            _segment(screen, [query[0] for query in queries], refine)
            _require(len(session.state.results) == 2, "each scan has one result, replaced by the second run")
        _check_refinement(session)
        _compare(screen)
        # The first row names the scan, the second is its first structure.
        screen.segment.results.jump(1)
        _click(screen.segment.ui.surfaceCheck)
        _picture(folder, "4-segmented")
        _check_results(session, queries)
    with watch.during("exporting"):
        _export(session, folder)
    with watch.during("correcting"):
        screen.segment.ui.resultTable.setCurrentCell(0, 0)
        _click(screen.review.ui.correctButton)
        _require(len(session.state.cases) == 3, "a corrected result joins the support set")
        screen.support.annotator.close()
    with watch.during("going on from the model, and going back"):
        _adapt(screen, "self test", "continue")
        _roll_back(screen, "self test")
    with watch.during("help with annotating"):
        _help_annotating(screen, queries[1][0])
    with watch.during("saving, closing and loading the scene"):
        _keep_scene(session, folder)
    with watch.during("reloading the module"):
        widget.onReload()
        widget = _open_module()
        _require(widget.screen is not None, "the module reloads")
        _require(widget.screen.session.adapt_reason() != "", "and starts empty")


def _annotate(screen, folder):
    """A support set of two scans, one of them opened in the Segment Editor."""
    session = screen.session
    for name in ("liver", "spleen"):
        session.support.add_structure(name)
    for seed in (1, 2):
        volume, segmentation, _truth = _phantom_volume(seed, True)
        session.support.add_scans([volume])
        session.support.import_annotation(session.state.cases[-1], segmentation)
    _click(screen.support.ui.annotateButton)
    _require(screen.support.annotator.is_open, "the Segment Editor opens on the selected scan")
    _click(screen.support.ui.nextButton)
    _picture(folder, "2-annotate")
    _click(screen.support.ui.doneButton)
    _require(all(status.is_usable for status in session.support.statuses()), "both cases are usable")


def _check_results(session, queries):
    """Results carry codes, and the liver is where it is."""
    from FSEFTSegmentLib.mrml.annotations import annotation_steps
    from FSEFTSegmentLib.mrml.segments import terminology_of
    from FSEFTSegmentLib.steps import run_steps

    for result, (volume, _none, truth) in zip(session.state.results, queries, strict=True):
        node = session.state.result_node(result, "result")
        _require(node.GetSegmentation().ContainsRepresentation("Closed surface"), "the result has a surface")
        segment = node.GetSegmentation().GetNthSegment(0)
        _require("Liver" in terminology_of(segment), f"the result on {volume.GetName()} carries its standard code")
        labels = run_steps(annotation_steps(node, volume, session.state.structures)).labels
        score = _dice(labels == 1, truth == 1)
        _require(score > 0.5, f"the liver of {volume.GetName()} is found (Dice {score:.2f})")


def _export(session, folder):
    """Labelmaps in every format, one of them read again by Slicer."""
    import slicer
    from FSEFTSegmentLib.mrml.exports import distinct_items, export_steps
    from FSEFTSegmentLib.steps import run_steps

    results = session.state.results
    items = distinct_items(
        [(session.state.result_node(r, "result"), session.state.result_node(r, "scan")) for r in results]
    )
    for kind in ("seg.nrrd", "nii.gz", "nrrd"):
        paths = run_steps(export_steps(items, session.state.structures, pathlib.Path(folder), kind, overwrite=True))
        _require(all(path.stat().st_size > 0 for path in paths), f"labelmaps are exported as {kind}")
    reloaded = slicer.util.loadSegmentation(str(pathlib.Path(folder) / f"{items[0].stem}.seg.nrrd"))
    segmentation = reloaded.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    _require(names == ["liver", "spleen"], "an exported segmentation keeps its names")
    slicer.mrmlScene.RemoveNode(reloaded)


def _keep_scene(session, folder):
    """The support set goes with the scene, and comes back with it."""
    import slicer

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


def _main():
    import slicer

    step, code = "starting", 1
    try:
        # Slicer runs this file as its own; what lies beside it is found only when told.
        sys.path.insert(0, os.path.dirname(os.path.abspath(globals().get("__file__") or sys.argv[0])))
        from self_test_watch import _CLOSING_S, _Watch

        folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="fseft-self-test-")
        os.makedirs(folder, exist_ok=True)
        home = os.path.join(folder, "home")
        # The user's own models and caches are left alone; the worker inherits these.
        os.environ["FSEFT_HOME"] = home
        os.environ["FSEFT_CACHE"] = os.path.join(home, "cache")
        print(f"FSEFT self-test, files in {folder}", flush=True)
        watch = _Watch(folder, float(os.environ.get("FSEFT_SELF_TEST_MINUTES") or 40))
        try:
            watch.start()
            _run(folder, watch)
            code = 0
        finally:
            step = watch.step
            watch.end_after(_CLOSING_S)
    except BaseException:
        traceback.print_exc()
        with contextlib.suppress(Exception):
            _picture(folder, "failed")
    print("FSEFT self-test passed" if code == 0 else f"FSEFT self-test FAILED at: {step}", flush=True)
    slicer.util.exit(code)


if __name__ == "__main__":
    _main()

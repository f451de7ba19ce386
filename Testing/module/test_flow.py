"""The whole way with the real worker, by clicking: from an empty scene over Adapt and Segment to exported labelmaps."""

from __future__ import annotations

import importlib.util
import os
import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
if importlib.util.find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)

import slicer_standins as standins
from FSEFTSegmentLib.runtime import make_plain_queue
from FSEFTSegmentLib.session import Session
from mrml_makers import add_volume

standins.install()
standins.with_properties(__name__)

import qt  # noqa: E402
import slicer  # noqa: E402
from FSEFTSegmentLib.mrml.annotations import annotation_steps  # noqa: E402
from FSEFTSegmentLib.mrml.grid import own_grid  # noqa: E402
from FSEFTSegmentLib.mrml.segments import set_labels  # noqa: E402
from FSEFTSegmentLib.panels import review_panel  # noqa: E402
from FSEFTSegmentLib.panels.screen import Screen, run_soon  # noqa: E402
from FSEFTSegmentLib.steps import run_steps  # noqa: E402

WANTED = ("liver", "spleen")


def phantom(seed: int):
    """A small synthetic abdomen: HU (z, y, x), labels, RAS matrix, and the values of the wanted structures."""
    from fseft.phantom import make_phantom

    made = make_phantom(seed, "abdomen", (8.0, 8.0, 8.0), oblique=seed % 2 == 1)
    geometry = made.scan.geometry
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.direction_matrix * geometry.spacing
    matrix[:3, 3] = geometry.origin
    values = {structure.name: structure.value for structure in made.structures}
    return made.scan.hounsfield, made.labels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, values


def install_small_backbone() -> None:
    """A small network with random weights beside the bundled one: the way is the same and takes seconds."""
    import torch
    from fseft.backbones.networks import build_network
    from fseft.backbones.specification import BackboneSpecification, FeatureLevel
    from fseft.backbones.weights import save_backbone
    from fseft.files import home

    torch.manual_seed(0)
    specification = BackboneSpecification(
        id="small",
        title="Small backbone for tests",
        architecture="compact-unet",
        architecture_parameters={"detail": 8, "widths": [16, 16, 16, 16]},
        spacing_mm=(8.0, 8.0, 8.0),
        windows_hu=((-160.0, 240.0), (-1000.0, 1000.0)),
        patch=(64, 64, 64),
        levels=tuple(FeatureLevel(stride, 8 if stride == 1 else 16) for stride in (1, 2, 4, 8)),
        classes=("liver",),
        antialias=True,
        window_multiple=16,
    )
    network = build_network(specification)
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network.features(torch.rand(1, 2, 32, 32, 32))
    save_backbone(network.eval(), home() / "backbones" / "small")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def wait(screen: Screen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while screen.session.is_busy:
        assert time.monotonic() < end, "it did not end in time"
        standins.application().processEvents()
        time.sleep(0.01)


def test_from_an_empty_scene_to_exported_labelmaps(scene, tmp_path, monkeypatch):
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FSEFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "2"))
    install_small_backbone()
    slicer.mrmlScene = scene
    (tmp_path / "jobs").mkdir()
    session = Session(scene, make_plain_queue(), run_soon, None, tmp_path / "jobs")
    window = qt.QWidget()
    screen = Screen(session, qt.QVBoxLayout(window))
    try:
        truths = {}
        for seed in (1, 2, 3):
            hounsfield, labels, matrix, values = phantom(seed)
            volume = add_volume(scene, hounsfield, matrix, f"phantom {seed}")
            truths[volume.GetName()] = {name: labels == values[name] for name in WANTED}
        screen.scene_changed()
        for name in WANTED:
            session.support.add_structure(name)
        cases = screen.support.cases
        cases.fill_scan_menu()
        for name in ("phantom 1", "phantom 2"):
            next(action for action in cases.scan_menu.actions() if action.text == name).trigger()
        for case in session.state.cases:
            node, volume = session.support.annotation_for(case), session.state.scan(case)
            drawn = np.zeros(own_grid(volume).array_shape, np.uint8)
            for structure in session.state.structures:
                drawn[truths[volume.GetName()][structure.name]] = structure.value
            set_labels(node, drawn, own_grid(volume), session.state.structures)
        session.notify("cases")

        adapt = screen.adapt.ui
        adapt.nameEdit.text = "trial"
        adapt.nameEdit.textEdited.emit("trial")
        for combo, value in (
            (adapt.backboneCombo, "small"),
            (adapt.methodCombo, "linear-probe"),
            (adapt.deviceCombo, "cpu"),
        ):
            combo.currentIndex = combo.findData(value)
            combo.activated.emit(combo.currentIndex)
        assert adapt.adaptButton.enabled, adapt.adaptButton.toolTip
        adapt.adaptButton.click()
        wait(screen)
        activity = session.activity("adapt")
        assert activity.failure is None, activity.log_text()
        assert activity.job.metrics
        assert "liver" in adapt.card.text

        segment = screen.segment.ui
        for row in range(segment.scanList.count):
            item = segment.scanList.item(row)
            item.setCheckState(qt.Qt.Checked if item.text() == "phantom 3" else qt.Qt.Unchecked)
        assert segment.segmentButton.enabled, segment.segmentButton.toolTip
        segment.segmentButton.click()
        wait(screen)
        activity = session.activity("segment")
        assert activity.failure is None, activity.log_text()
        assert segment.resultTable.item(0, 0).text() == "phantom 3"
        assert [row.name for row in screen.segment.results.rows if row.entry is not None] == list(WANTED)
        result = session.state.results[0]
        volume = session.state.result_node(result, "scan")
        found = run_steps(
            annotation_steps(session.state.result_node(result, "result"), volume, session.state.structures)
        ).labels
        scores = {s.name: dice(found == s.value, truths["phantom 3"][s.name]) for s in session.state.structures}
        # Random features at 8 mm: enough to know that everything is in its place.
        assert scores["liver"] > 0.3, scores
        assert activity.job.parameters["refine"] == "location"
        assert len(activity.job.parameters["support"]["cases"]) == 2
        actions = {entry["refinement"]["action"] for entry in result.report["structures"]}
        assert actions <= {"none", "refined", "refused"}
        changed = any(entry["refinement"]["changed_ml"] > 0 for entry in result.report["structures"])
        assert (session.state.result_node(result, "before") is not None) == changed
        assert segment.beforeCheck.enabled == changed

        support = screen.support.ui
        assert support.suggestButton.enabled, support.suggestButton.toolTip
        support.suggestButton.click()
        wait(screen)
        activity = session.activity("suggest")
        assert activity.failure is None, activity.log_text()
        assert support.suggestNote.text.startswith("Annotate “phantom 3” next.")
        assert session.state.scan(cases.selected) is volume

        screen.support.fill_propose_menu()
        for action in screen.support.propose_menu.actions():
            assert action.enabled, action.toolTip
        for method in ("atlas", "model"):
            screen.support.propose(method)
            wait(screen)
            activity = session.activity("propose")
            assert activity.failure is None, activity.log_text()
            case = cases.selected
            drafted = run_steps(
                annotation_steps(session.state.annotation(case), volume, session.state.structures)
            ).labels
            score = dice(drafted == 1, truths["phantom 3"]["liver"])
            assert score > 0.3, (method, score)
            support.undoProposalButton.click()
        session.support.remove_case(case)

        out = tmp_path / "out"
        out.mkdir()
        monkeypatch.setattr(review_panel, "ask_folder", lambda *_: str(out))
        review = screen.review.ui
        review.formatCombo.currentIndex = review.formatCombo.findData("nii.gz")
        review.exportButton.click()
        while screen.review.runner.is_running:
            standins.application().processEvents()
        assert sorted(path.name for path in out.iterdir()) == ["labels.json", "phantom 3.nii.gz"]
        assert list((tmp_path / "jobs").iterdir()) == []
        assert not any(b"phantom" in path.read_bytes() for path in (tmp_path / "home").rglob("*.json"))
    finally:
        screen.clean_up()
        slicer.mrmlScene = None

"""The module without widgets: from an empty scene over a model to results, corrections and proposals."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

from fseft.errors import FseftError  # noqa: E402
from FSEFTSegmentLib.activity import Stage, time_left  # noqa: E402
from FSEFTSegmentLib.jobs.processes import SubprocessProcess  # noqa: E402
from FSEFTSegmentLib.jobs.queue import JobQueue  # noqa: E402
from FSEFTSegmentLib.mrml.annotations import annotation_steps  # noqa: E402
from FSEFTSegmentLib.mrml.results import nodes_of_class, structures_of_report  # noqa: E402
from FSEFTSegmentLib.mrml.segments import list_segments, set_labels  # noqa: E402
from FSEFTSegmentLib.presets import make_structure, preset_names, terminology_label  # noqa: E402
from FSEFTSegmentLib.segmentation import table_rows  # noqa: E402
from FSEFTSegmentLib.session import Session  # noqa: E402
from FSEFTSegmentLib.state import ModuleState, parameter_node  # noqa: E402
from FSEFTSegmentLib.steps import run_steps  # noqa: E402
from mrml_makers import STRAIGHT, add_segmentation, add_transform, add_volume, random_ct, turn  # noqa: E402

WORKER = Path(__file__).with_name("flow_worker.py")
MODEL = [{"name": "structure 1", "value": 1, "color": [1, 0, 0]}, {"name": "structure 2", "value": 2}]


@pytest.fixture
def session(scene, tmp_path):
    pending = []
    queue = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, folder=str(tmp_path), grace_s=0.5)
    session = Session(scene, queue, pending.append, scene.fseft_logics["Sequences"], tmp_path)
    session.pending = pending
    session.heard = []
    session.listeners.append(session.heard.append)
    yield session
    session.shut_down()


def spin(session, until=None, seconds=30):
    end = time.monotonic() + seconds
    until = until or (lambda: not session.is_busy)
    while not until():
        assert time.monotonic() < end, "it did not end in time"
        for call in [session.pending.pop(0) for _ in range(len(session.pending))]:
            call()
        session.queue.tick()
        time.sleep(0.002)


def draw(session, case, *names):
    node = session.support.annotation_for(case)
    volume = session.state.scan(case)
    labels = np.zeros(random_ct().shape, np.uint8)
    for position, structure in enumerate(session.state.structures):
        if structure.name in names:
            labels[2:5, 3:6, 2 + 3 * position : 5 + 3 * position] = structure.value
    from FSEFTSegmentLib.mrml.grid import own_grid

    set_labels(node, labels, own_grid(volume), session.state.structures)
    return node


def support_set(session, count=2):
    for name in ("liver", "spleen"):
        session.support.add_structure(name)
    volumes = [add_volume(session.scene, random_ct(seed=n), name=f"CT {n}") for n in range(count)]
    session.support.add_scans(volumes)
    for case in session.state.cases:
        draw(session, case, "liver", "spleen")
    return volumes


def folders(tmp_path):
    return [path for path in tmp_path.iterdir() if path.name.startswith("fseft-job-")]


def test_adapt_tells_what_is_missing_step_by_step(session):
    assert session.adapt_reason() == "Add at least one structure."
    session.support.add_structure("liver")
    assert session.adapt_reason() == "Add at least one scan and annotate it."
    volume = add_volume(session.scene)
    session.support.add_scans([volume, volume])
    assert len(session.state.cases) == 1
    assert session.adapt_reason() == "Annotate at least one structure in one scan."
    draw(session, session.state.cases[0], "liver")
    assert session.adapt_reason() == ""
    session.support.add_structure("aorta")
    assert "Not annotated in any scan: aorta" in session.adapt_reason()
    with pytest.raises(FseftError):
        session.adapt({"name": "m"})


def test_adapt_runs_from_the_scene_to_the_card(session, tmp_path):
    support_set(session)
    activity = session.adapt({"name": "mine"})
    assert activity.stage is Stage.PREPARING
    spin(session)
    assert activity.stage is Stage.FINISHED
    assert activity.result["method"] == "spatial-adapter"
    assert [m["name"] for m in activity.job.metrics] == ["loss"] * 5
    assert session.state.choice("card", {})["case_names"] == ["CT 0", "CT 1"]
    assert "models" in session.heard
    assert "CT 0" not in json.dumps(activity.job.parameters)
    assert folders(tmp_path) == []


def test_a_failing_job_is_told_and_cleaned_up(session, tmp_path):
    support_set(session)
    activity = session.adapt({"name": "failing"})
    spin(session)
    assert activity.stage is Stage.FAILED
    assert activity.describe() == "Nothing is annotated. Annotate something."
    assert folders(tmp_path) == []
    again = session.adapt({"name": "mine"})
    spin(session)
    assert again.stage is Stage.FINISHED


def test_cancel_while_preparing_and_while_running(session, tmp_path):
    support_set(session)
    activity = session.adapt({"name": "mine"})
    session.cancel("adapt")
    assert activity.stage is Stage.CANCELLED
    assert folders(tmp_path) == []
    activity = session.adapt({"name": "mine", "device": "slow"})
    spin(session, lambda: activity.stage is Stage.RUNNING)
    assert session.adapt_reason() == "A model is being made."
    session.cancel("adapt")
    spin(session)
    assert activity.stage is Stage.CANCELLED
    assert activity.describe() == "Cancelled; nothing was changed."
    assert folders(tmp_path) == []


def options(**more):
    return {"model": "mine", "structures": MODEL, "refine": "off", **more}


def test_segment_puts_results_beside_the_scans(session, tmp_path):
    volumes = support_set(session)
    volumes[1].SetAndObserveTransformNodeID(add_transform(session.scene, turn()).GetID())
    assert session.segment_reason(volumes, "") == "Make a model first (Adapt), or import one."
    assert session.segment_reason([], "mine") == "Tick at least one scan."
    activity = session.segment(volumes, options(refine="default"))
    spin(session)
    assert activity.stage is Stage.FINISHED, activity.failure
    assert [r.volume.GetName() for r in activity.result] == ["CT 0", "CT 1"]
    before = len(nodes_of_class(session.scene, "vtkMRMLSegmentationNode"))
    assert all(r.before is not None for r in activity.result)
    rows = table_rows(activity.result, "mine")
    assert len(rows) == 4
    assert (rows[0]["flags"], rows[0]["notes"]) == ("larger than expected", "")
    assert (rows[1]["flags"], rows[1]["notes"]) == ("", "cut by the scan's border; in 2 separate pieces")
    assert (rows[0]["predicted Dice from"], rows[0]["volume before refinement (ml)"]) == (0.75, 52.1)
    assert rows[1]["predicted Dice"] is None
    session.segment(volumes, options())
    spin(session)
    # What the refined results were before is gone with them.
    assert len(nodes_of_class(session.scene, "vtkMRMLSegmentationNode")) == before - 2
    assert len(session.state.results) == 2
    assert folders(tmp_path) == []


def test_correct_makes_a_case_and_the_next_run_leaves_it_alone(session):
    volume = add_volume(session.scene, name="new")
    session.support.add_structure("structure 1")
    session.segment([volume], options())
    spin(session)
    result = session.state.results[0]
    node = session.state.result_node(result, "result")
    case = session.support.correct(result)
    assert session.state.annotation(case) is node
    assert session.state.results == ()
    session.segment([volume], options())
    spin(session)
    assert session.state.result_node(session.state.results[0], "result") is not node
    assert session.support.correct(session.state.results[0]).key == case.key


def test_a_proposal_fills_only_what_is_empty_and_can_be_undone(session):
    for name in ("structure 1", "structure 2"):
        session.support.add_structure(name)
    volume = add_volume(session.scene)
    session.support.add_scans([volume])
    case = session.state.cases[0]
    node = draw(session, case, "structure 1")
    mine = run_steps(annotation_steps(node, volume, session.state.structures)).labels
    with pytest.raises(FseftError, match="No other scan is annotated"):
        session.propose(volume, {"method": "atlas"})
    session.propose(volume, {"method": "model", "model": "mine", "structures": MODEL})
    spin(session)
    filled = run_steps(annotation_steps(node, volume, session.state.structures)).labels
    assert np.array_equal(filled == 1, mine == 1)
    assert (filled == 2).sum() > 0
    assert session.drafts.can_undo(node)
    session.drafts.undo(node)
    assert np.array_equal(run_steps(annotation_steps(node, volume, session.state.structures)).labels, mine)
    assert not session.drafts.can_undo(node)
    assert session.state.results == ()


def test_a_scan_removed_meanwhile_is_left_out(session):
    volumes = support_set(session)
    activity = session.segment(volumes, options())
    spin(session, lambda: activity.stage is Stage.RUNNING)
    session.scene.RemoveNode(volumes[0])
    spin(session)
    assert activity.stage is Stage.FINISHED
    assert [r.volume for r in activity.result] == [volumes[1]]


def test_results_belong_to_their_scans_where_one_could_not_be_used(session):
    volumes = [
        add_volume(session.scene, np.abs(random_ct()), name="MR"),
        add_volume(session.scene, random_ct((9, 11, 13), 1), name="first"),
        add_volume(session.scene, random_ct((10, 12, 14), 2), name="second"),
    ]
    activity = session.segment(volumes, options())
    spin(session)
    assert activity.stage is Stage.FINISHED
    assert [result.volume.GetName() for result in activity.result] == ["first", "second"]
    known = structures_of_report(MODEL)
    sizes = [run_steps(annotation_steps(r.segmentation, r.volume, known)).labels.shape for r in activity.result]
    assert sizes == [(9, 11, 13), (10, 12, 14)]
    assert activity.describe() == "Done, but “MR” could not be segmented. “MR” is not a CT. Choose the CT."


def test_an_unusable_scan_fails_before_the_worker_starts(session, tmp_path):
    activity = session.segment([add_volume(session.scene, random_ct((1, 9, 9)))], options())
    spin(session)
    assert activity.failure.code == "scan-2d"
    assert folders(tmp_path) == []


def test_structures_are_unique_and_values_never_reused(session):
    support = session.support
    liver, other = support.add_structure("  Liver "), support.add_structure("my lesion")
    assert (liver.name, liver.value) == ("Liver", 1)
    assert terminology_label(liver.terminology) == "Liver"
    assert other.terminology == ""
    for name, code in (("", "structure-name-empty"), ("LIVER", "structure-exists")):
        with pytest.raises(FseftError) as caught:
            support.add_structure(name)
        assert caught.value.code == code
    support.remove_structure(2)
    assert support.add_structure("spleen").value == 3


def test_renaming_follows_into_the_annotations_and_colours_come_back(session):
    support_set(session, 1)
    case = session.state.cases[0]
    node = session.state.annotation(case)
    session.support.change_structure(1, name="Leber", color=(0.0, 1.0, 0.0))
    info = list_segments(node)[0]
    assert (info.name, info.color) == ("Leber", (0.0, 1.0, 0.0))
    node.GetSegmentation().GetSegment(info.id).SetColor(0, 0, 1)
    session.support.take_over_appearance(node)
    assert session.state.structures[0].color == (0.0, 0.0, 1.0)
    with pytest.raises(FseftError):
        session.support.change_structure(1, name="spleen")
    session.support.change_structure(1, name="Leber ")


def test_existing_annotations_are_imported(session):
    volume = add_volume(session.scene)
    session.support.add_scans([volume])
    case = session.state.cases[0]
    labels = np.zeros(random_ct().shape, np.int16)
    labels[2:4, 2:4, 2:4] = 7
    labelmap = add_volume(session.scene, labels, name="old labels", class_name="vtkMRMLLabelMapVolumeNode")
    assert labelmap in session.support.annotation_candidates()
    node = session.support.import_annotation(case, labelmap)
    assert [s.name for s in session.state.structures] == ["structure 7"]
    assert session.support.statuses()[0].annotated == ("structure 7",)
    other = add_segmentation(session.scene, labels.astype(np.uint8), STRAIGHT, session.state.structures)
    assert session.support.import_annotation(case, other) is other
    assert other not in session.support.annotation_candidates()
    assert node in session.support.annotation_candidates()


def test_the_same_scan_twice_is_told(session):
    session.support.add_structure("liver")
    session.support.add_scans([add_volume(session.scene, name="a"), add_volume(session.scene, name="b")])
    statuses = session.support.statuses()
    assert statuses[1].problems[0].code == "scan-twice"
    assert statuses[0].problems == ()


def test_state_is_saved_in_the_scene_and_survives_its_closing(session):
    support_set(session)
    session.state.choose("method", "atlas")
    session.scene.SetSaveToXMLString(1)
    session.scene.Commit()
    assert "case1.scan" in session.scene.GetSceneXMLString()
    again = ModuleState(session.scene)
    assert [again.scan(case).GetName() for case in again.cases] == ["CT 0", "CT 1"]
    assert again.choice("method", "") == "atlas"
    session.scene.Clear(False)
    session.drafts.forget()
    assert again.cases == ()
    assert again.structures == ()
    assert session.adapt_reason() == "Add at least one structure."


def test_a_damaged_state_opens_empty(session):
    parameter_node(session.scene).SetParameter("cases", "{broken")
    assert session.state.cases == ()


def test_closing_the_scene_cancels_everything(session, tmp_path):
    support_set(session)
    adapt = session.adapt({"name": "mine", "device": "slow"})
    spin(session, lambda: adapt.stage is Stage.RUNNING)
    session.cancel_all()
    session.scene.Clear(False)
    spin(session)
    assert adapt.stage is Stage.CANCELLED
    assert folders(tmp_path) == []


def test_presets_cover_the_published_structures():
    for name in preset_names():
        structure = make_structure(name, 1)
        assert structure.terminology.count("~") == 6
        assert terminology_label(structure.terminology)
    assert terminology_label(make_structure("Kidney_Left", 1).terminology) == "Kidney, Left"
    assert make_structure("my lesion", 1).terminology == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "a few seconds left"), (42, "40 s left"), (600, "10 min left"), (7200, "2.0 h left")]
)
def test_time_left_in_words(seconds, text):
    assert time_left(seconds) == text

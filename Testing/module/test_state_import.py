"""Scenes loaded into an open one: what both knew is there afterwards."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

from fseft.structures import Structure  # noqa: E402
from FSEFTSegmentLib.state import Case, ModuleState  # noqa: E402
from FSEFTSegmentLib.state_import import join_imported, keep_state  # noqa: E402
from mrml_makers import STRAIGHT, add_segmentation, add_volume  # noqa: E402


@pytest.fixture
def other_scene(scene) -> str:
    """A saved scene with a liver, a spleen, a sparsely annotated case and a result; the open scene is empty again."""
    state = ModuleState(scene)
    names = (Structure("spleen", 1, (1.0, 0.0, 0.0)), Structure("Liver", 2, (0.0, 1.0, 0.0)))
    state.set_structures(names)
    volume = add_volume(scene, name="A scan")
    annotation = add_segmentation(scene, np.ones((3, 4, 5), np.uint8), STRAIGHT, names, "A annotation")
    case = state.add_case(volume, annotation)
    state.set_cases((Case(case.key, sparse=True),))
    result = add_segmentation(scene, np.ones((3, 4, 5), np.uint8), STRAIGHT, names, "A result")
    state.add_result(volume, result, None, "organs", {"name": "A scan"})
    state.choose("method", "atlas")
    scene.SetSaveToXMLString(1)
    scene.Commit()
    text = scene.GetSceneXMLString()
    scene.Clear(False)
    return text


def load(scene, text: str) -> bool:
    state = ModuleState(scene)
    kept = keep_state(state)
    scene.SetLoadFromXMLString(1)
    scene.SetSceneXMLString(text)
    scene.Import()
    return join_imported(state, kept)


def test_both_sets_are_there(scene, other_scene):
    state = ModuleState(scene)
    state.set_structures((Structure("liver", 3, (0.0, 0.0, 1.0)),))
    mine = [add_volume(scene, name=f"B scan {n}") for n in range(2)]
    for volume in mine:
        state.add_case(volume)
    state.choose("method", "spatial-adapter")
    assert load(scene, other_scene)
    assert [state.scan(case).GetName() for case in state.cases] == ["B scan 0", "B scan 1", "A scan"]
    assert [case.sparse for case in state.cases] == [False, False, True]
    assert len({case.key for case in state.cases}) == 3
    assert state.annotation(state.cases[2]).GetName() == "A annotation"
    # The liver is the same one; the spleen's old value might be another structure's here.
    assert [(s.name, s.value) for s in state.structures] == [("liver", 3), ("spleen", 4)]
    (result,) = state.results
    assert state.result_node(result, "scan") is state.scan(state.cases[2])
    assert (state.result_node(result, "result").GetName(), result.model) == ("A result", "organs")
    assert state.choice("method", "") == "spatial-adapter", "choices are those of the open scene"


def test_a_scene_opened_by_itself_is_as_it_was_saved(scene, other_scene):
    state = ModuleState(scene)
    assert load(scene, other_scene)
    assert [(state.scan(case).GetName(), case.sparse) for case in state.cases] == [("A scan", True)]
    assert [s.canonical for s in state.structures] == ["spleen", "liver"]
    assert state.choice("method", "") == "atlas"


def test_a_scene_without_this_module_changes_nothing(scene):
    scene.SetSaveToXMLString(1)
    scene.Commit()
    foreign = scene.GetSceneXMLString()
    state = ModuleState(scene)
    state.set_structures((Structure("liver", 3, (0.0, 0.0, 1.0)),))
    state.add_case(add_volume(scene, name="B scan"))
    before = keep_state(state)
    assert not load(scene, foreign)
    assert keep_state(state) == before

"""The live state of support cases: what is annotated, what is missing, what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

from fseft.structures import Structure  # noqa: E402
from FSEFTSegmentLib.mrml.cases import case_status, twins  # noqa: E402
from FSEFTSegmentLib.mrml.grid import own_grid  # noqa: E402
from FSEFTSegmentLib.mrml.results import (  # noqa: E402
    new_segmentation,
)
from FSEFTSegmentLib.mrml.segments import (  # noqa: E402
    add_missing_segments,
    follow_structure,
    list_segments,
    structures_of_segmentation,
)
from mrml_makers import (  # noqa: E402
    STRAIGHT,
    add_segmentation,
    add_volume,
    blocks,
    random_ct,
    structures,
)


def test_case_status_tells_what_is_missing(scene):
    items = structures("liver", "spleen", "aorta", "bladder")
    volume = add_volume(scene)
    node = add_segmentation(scene, blocks(), STRAIGHT, items[:3])
    status = case_status(volume, node, items)
    assert status.annotated == ("liver", "spleen")
    assert status.empty == ("aorta",)
    assert status.missing == ("bladder",)
    assert status.is_usable
    assert case_status(volume, None, items).missing == tuple(s.name for s in items)
    assert not case_status(None, node, items).is_usable
    assert case_status(add_volume(scene, np.abs(random_ct())), node, items).problems[0].code == "scan-not-ct"
    assert case_status(add_volume(scene, random_ct((1, 9, 9))), node, items).problems[0].code == "scan-2d"
    gaps = np.full((9, 11, 13), np.nan, np.float32)
    assert case_status(add_volume(scene, gaps), node, items).problems[0].code == "scan-not-finite"


def test_a_segment_that_is_spelled_otherwise_follows_its_structure(scene):
    (liver,) = structures("liver")
    node = add_segmentation(scene, blocks(values=(3,)), STRAIGHT, structures("Liver"))
    assert follow_structure(node, liver, Structure("hepar", 3, (0, 1, 0)))
    assert [info.name for info in list_segments(node)] == ["hepar"]


def test_segments_that_do_not_count_are_told(scene):
    items = structures("liver", "spleen")
    node = add_segmentation(scene, blocks(values=(3, 6, 9, 12)), STRAIGHT, structures("liver", "spleen", "x", "y"))
    volume, (*_, third, fourth) = add_volume(scene), list_segments(node)
    node.GetSegmentation().GetSegment(third.id).SetName("Liver")
    twice, foreign = case_status(volume, node, items).problems
    assert (twice.code, foreign.code) == ("segment-twice", "segments-ignored")
    assert twice.message == "More than one segment is called Liver: only the first counts."
    assert foreign.message == "Not in the structure list: y."
    add_missing_segments(node, structures("drawn nowhere"))
    assert case_status(volume, node, items).problems == (twice, foreign)
    node.GetSegmentation().RemoveSegment(third.id)
    node.GetSegmentation().RemoveSegment(fourth.id)
    assert case_status(volume, node, items).problems == ()


def test_case_status_follows_changes(scene):
    items = structures("liver", "spleen")
    volume = add_volume(scene)
    node = new_segmentation(scene, volume, "drawing")
    assert add_missing_segments(node, items) == ["liver", "spleen"]
    assert add_missing_segments(node, items) == []
    assert case_status(volume, node, items).empty == ("liver", "spleen")
    from FSEFTSegmentLib.mrml.segments import set_labels

    set_labels(node, blocks(values=(6,)), own_grid(volume), items)
    assert case_status(volume, node, items).annotated == ("spleen",)
    renamed = Structure("Milz", 6, (0, 1, 0))
    assert follow_structure(node, items[1], renamed)
    assert not follow_structure(node, items[1], renamed)
    assert case_status(volume, node, (items[0], renamed)).annotated == ("Milz",)


def test_structures_are_read_from_a_segmentation_without_reusing_values(scene):
    node = add_segmentation(scene, blocks(), STRAIGHT, structures("liver", "spleen"))
    found = structures_of_segmentation(node, (Structure("Spleen", 9),))
    assert [(s.name, s.value) for s in found] == [("liver", 10)]


def test_the_same_scan_twice_is_found(scene):
    volumes = [add_volume(scene), add_volume(scene, random_ct(seed=3)), add_volume(scene, name="copy"), None]
    assert twins(volumes) == [(0, 2)]


def test_an_annotation_with_gaps_is_told_from_a_whole_one(scene):
    items = structures("liver")
    volume = add_volume(scene, random_ct((30, 40, 40)))

    def status(*slices, axis=0, sparse=False):
        labels = np.zeros((30, 40, 40), np.uint8)
        region = [slice(5, 25)] * 3
        region[axis] = list(slices)
        labels[tuple(region)] = items[0].value
        return case_status(volume, add_segmentation(scene, labels, STRAIGHT, items), items, sparse)

    for axis in (0, 1, 2):
        found = status(6, 10, 14, 18, axis=axis)
        assert (found.slices.drawn, found.slices.spread, found.slices.runs) == (4, 13, 4)
        assert [problem.code for problem in found.problems] == ["slices-missing"]
        assert "4 single slice" in found.problems[0].message
        assert found.is_usable
        assert status(6, 10, 14, 18, axis=axis, sparse=True).problems == ()
    assert status(12).problems != ()
    for whole in (range(5, 25), (5, 6, 7, 8, 20, 21, 22, 23, 24)):
        found = status(*whole)
        assert found.problems == ()
        assert found.slices.drawn == len(tuple(whole))
    empty = new_segmentation(scene, volume, "none")
    assert case_status(volume, empty, items).slices.drawn == 0


def test_a_colour_image_has_no_twin_and_is_told(scene):
    colours = add_volume(scene, np.zeros((9, 11, 13, 3), np.uint8), class_name="vtkMRMLVectorVolumeNode")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "no voxels")
    first, second = add_volume(scene), add_volume(scene)
    assert twins([colours, colours, empty, first, second]) == [(3, 4)]
    assert case_status(colours, None, structures("liver")).problems[0].code == "scan-not-scalar"

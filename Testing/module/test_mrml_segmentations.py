"""Segmentations to annotations and results back to segmentations, on Slicer's own data model."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

from fseft.errors import FseftError  # noqa: E402
from fseft.structures import Structure  # noqa: E402
from FSEFTSegmentLib.mrml.annotations import annotation_steps, write_annotation_steps  # noqa: E402
from FSEFTSegmentLib.mrml.cases import case_status  # noqa: E402
from FSEFTSegmentLib.mrml.centres import centre_of_segment  # noqa: E402
from FSEFTSegmentLib.mrml.exports import (  # noqa: E402
    distinct_items,
    export_steps,
    export_targets,
    safe_stem,
    write_table,
)
from FSEFTSegmentLib.mrml.grid import world_grid  # noqa: E402
from FSEFTSegmentLib.mrml.nrrd import write_nrrd_steps  # noqa: E402
from FSEFTSegmentLib.mrml.results import (  # noqa: E402
    BEFORE,
    ResultIdentity,
    find_result,
    load_result_steps,
    nodes_of_class,
    scan_of,
    show_before,
    show_result,
    to_annotation,
)
from FSEFTSegmentLib.mrml.segments import (  # noqa: E402
    list_segments,
)
from FSEFTSegmentLib.steps import run_steps  # noqa: E402
from mrml_makers import (  # noqa: E402
    OBLIQUE,
    STRAIGHT,
    add_layer,
    add_segmentation,
    add_transform,
    add_volume,
    blocks,
    orthogonal,
    random_ct,
    structures,
    turn,
)


def annotate(node, volume, items):
    return run_steps(annotation_steps(node, volume, items))


@pytest.mark.parametrize("matrix", [STRAIGHT, orthogonal(OBLIQUE)])
def test_values_names_and_places_survive(scene, matrix):
    items = structures("liver", "Œsophage – n°1")
    volume = add_volume(scene, matrix=matrix)
    node = add_segmentation(scene, blocks(), matrix, items)
    annotation = annotate(node, volume, items)
    assert np.array_equal(annotation.labels, blocks())
    assert annotation.labels.dtype == np.uint8
    assert annotation.structures == items
    assert annotation.warnings() == []


def test_slicers_own_export_agrees(scene):
    """The bridge paints by itself; Slicer's export with a colour table must give the same labelmap."""
    import vtk

    items = structures("liver", "spleen")
    volume = add_volume(scene, matrix=orthogonal(OBLIQUE))
    node = add_segmentation(scene, blocks(), orthogonal(OBLIQUE), items)
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "table")
    table.SetTypeToUser()
    table.SetNumberOfColors(7)
    for item in items:
        table.SetColor(item.value, item.name, *item.color, 1.0)
    ids = vtk.vtkStringArray()
    for info in list_segments(node):
        ids.InsertNextValue(info.id)
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    logic = scene.fseft_logics["Segmentations"]
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    assert logic.ExportSegmentsToLabelmapNode(node, ids, labelmap, volume, extent, table)
    from FSEFTSegmentLib.mrml.volumes import voxels_of

    assert np.array_equal(voxels_of(labelmap), annotate(node, volume, items).labels)


def test_hidden_segments_count_and_foreign_ones_are_told(scene):
    items = structures("liver", "spleen", "aorta")
    volume = add_volume(scene)
    node = add_segmentation(scene, blocks(), STRAIGHT, items)
    node.GetDisplayNode().SetSegmentVisibility(list_segments(node)[1].id, False)
    add_layer(node, "scribble", blocks() == 3, STRAIGHT)
    annotation = annotate(node, volume, items)
    assert np.array_equal(annotation.labels, blocks())
    assert annotation.empty == ("aorta",)
    assert annotation.ignored == ("scribble",)
    assert "scribble" in annotation.warnings()[0]


def test_overlaps_are_counted_and_the_later_structure_wins(scene):
    items = structures("liver", "tumour")
    volume = add_volume(scene)
    node = add_segmentation(scene, blocks(values=(3,)), STRAIGHT, items[:1])
    tumour = np.zeros_like(blocks(), dtype=bool)
    tumour[3:5, 4:6, 2:4] = True
    add_layer(node, "tumour", tumour, STRAIGHT)
    annotation = annotate(node, volume, items)
    assert annotation.overlaps == (("tumour", "liver", int(tumour.sum())),)
    assert np.array_equal(annotation.labels, np.where(tumour, 6, blocks(values=(3,))))
    covered = blocks(values=(3,)) == 3
    node = add_segmentation(scene, blocks(values=(3,)), STRAIGHT, items[:1])
    add_layer(node, "tumour", covered, STRAIGHT)
    gone = annotate(node, volume, items)
    assert [s.name for s in gone.structures] == ["tumour"]
    assert gone.empty == ("liver",)


def test_three_hundred_structures(scene):
    items = tuple(Structure(f"part {n}", n, (0.5, 0.5, n / 400)) for n in range(1, 301))
    labels = np.zeros((10, 20, 20), np.uint16)
    labels.reshape(-1)[: 300 * 13] = np.repeat(np.arange(1, 301), 13)
    volume = add_volume(scene, random_ct(labels.shape))
    node = add_segmentation(scene, labels, STRAIGHT, items)
    annotation = annotate(node, volume, items)
    assert annotation.labels.dtype == np.uint16
    assert np.array_equal(annotation.labels, labels)
    assert len(annotation.structures) == 300


def test_a_smaller_extent_and_another_grid(scene):
    items = structures("liver")
    volume = add_volume(scene, random_ct((20, 24, 28)))
    shifted = STRAIGHT.copy()
    shifted[:3, 3] += STRAIGHT[:3, :3] @ np.array([5, 4, 6])
    node = add_segmentation(scene, blocks(values=(3,)), shifted, items)
    expected = np.zeros((20, 24, 28), np.uint8)
    expected[6:15, 4:15, 5:18] = blocks(values=(3,))
    assert np.array_equal(annotate(node, volume, items).labels, expected)
    fine = STRAIGHT @ np.diag([0.5, 0.5, 0.5, 1])
    fine[:3, 3] -= STRAIGHT[:3, :3] @ np.full(3, 0.25)
    doubled = expected.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    node = add_segmentation(scene, doubled, fine, items)
    assert np.array_equal(annotate(node, volume, items).labels, expected)


def test_transforms_of_scan_and_annotation_are_respected(scene):
    items = structures("liver", "spleen")
    move = add_transform(scene, turn())
    volume = add_volume(scene)
    volume.SetAndObserveTransformNodeID(move.GetID())
    together = add_segmentation(scene, blocks(), STRAIGHT, items)
    together.SetAndObserveTransformNodeID(move.GetID())
    assert np.array_equal(annotate(together, volume, items).labels, blocks())
    hardened = add_segmentation(scene, blocks(), turn() @ STRAIGHT, items)
    assert np.array_equal(annotate(hardened, volume, items).labels, blocks())
    back = add_segmentation(scene, blocks(), np.linalg.inv(turn()) @ turn() @ STRAIGHT, items)
    back.SetAndObserveTransformNodeID(move.GetID())
    assert np.array_equal(annotate(back, volume, items).labels, blocks())


def test_an_annotation_somewhere_else_is_refused(scene):
    items = structures("liver", "spleen")
    volume = add_volume(scene)
    far = STRAIGHT.copy()
    far[2, 3] += 5000
    node = add_segmentation(scene, blocks(), far, items)
    with pytest.raises(FseftError) as caught:
        annotate(node, volume, items)
    assert caught.value.code == "annotation-elsewhere"
    assert case_status(volume, node, items).problems[0].code == "annotation-elsewhere"


def test_surfaces_become_voxels_and_the_node_is_left_alone(scene):
    import vtk

    items = structures("ball")
    volume = add_volume(scene, random_ct((30, 30, 30)), np.diag([1.0, 1, 1, 1]))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    sphere = vtk.vtkSphereSource()
    sphere.SetRadius(8)
    sphere.SetCenter(15, 15, 15)
    sphere.SetThetaResolution(40)
    sphere.SetPhiResolution(40)
    sphere.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    node.SetSourceRepresentationToClosedSurface()
    voxels = int((annotate(node, volume, items).labels == 3).sum())
    assert voxels == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    assert case_status(volume, node, items).annotated == ("ball",)


def test_names_match_exactly_first_and_by_spelling_then(scene):
    volume = add_volume(scene)
    node = add_segmentation(scene, blocks(), STRAIGHT, structures("Kidney_Right", "left kidney"))
    items = (Structure("right kidney", 1), Structure("left kidney", 2))
    assert sorted(np.unique(annotate(node, volume, items).labels)) == [0, 1, 2]


def test_a_written_annotation_is_read_by_slicer_and_by_simpleitk(scene, tmp_path):
    items = (Structure("Übergröße", 7, (0.25, 0.5, 0.75), "A~SCT^1^B~SCT^2^C~^^~^^~^^~^^"), Structure("liver", 300))
    matrix = orthogonal(OBLIQUE)
    volume = add_volume(scene, matrix=matrix)
    labels = blocks(values=(7, 300))
    node = add_segmentation(scene, labels, matrix, items)
    path = tmp_path / "annotation.seg.nrrd"
    run_steps(write_annotation_steps(annotate(node, volume, items), world_grid(volume), path))
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), labels)
    assert image.GetMetaData("Segment0_Name") == "Übergröße"
    storage = slicer.vtkMRMLSegmentationStorageNode()
    storage.SetFileName(str(path))
    loaded = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
    assert storage.ReadData(loaded)
    assert [info.name for info in list_segments(loaded)] == ["Übergröße", "liver"]
    assert list_segments(loaded)[0].terminology == items[0].terminology
    assert list_segments(loaded)[0].color == pytest.approx(items[0].color)
    assert np.array_equal(annotate(loaded, volume, items).labels, labels)


def result_file(tmp_path, volume, labels):
    path = tmp_path / "result.seg.nrrd"
    run_steps(write_nrrd_steps(path, [labels], labels.dtype, world_grid(volume), compress=True))
    return path


def load(scene, volume, path, items, identity):
    return run_steps(load_result_steps(scene, volume, path, world_grid(volume), items, identity))


def test_a_result_lands_on_its_scan_with_everything(scene, tmp_path):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    study = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "study")
    volume = add_volume(scene, matrix=orthogonal(OBLIQUE))
    hierarchy.CreateItem(study, volume)
    volume.SetAndObserveTransformNodeID(add_transform(scene, turn()).GetID())
    items = (Structure("liver", 3, (0.25, 0.5, 0.75), "A~SCT^1^B~SCT^2^C~^^~^^~^^~^^"), Structure("gone", 5))
    labels = blocks(values=(3,))
    node = load(scene, volume, result_file(tmp_path, volume, labels), items, ResultIdentity("mine"))
    assert [info.name for info in list_segments(node)] == ["liver", "gone"]
    assert list_segments(node)[0].color == pytest.approx((0.25, 0.5, 0.75), abs=1e-6)
    assert list_segments(node)[0].terminology == items[0].terminology
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == study
    assert scan_of(scene, node) is volume
    assert node.GetNodeReference("referenceImageGeometryRef") is volume
    back = annotate(node, volume, items)
    assert np.array_equal(back.labels, labels)
    assert back.empty == ("gone",)
    inside = centre_of_segment(node, "liver")
    index = np.linalg.solve(world_grid(volume).ijk_to_ras, np.append(inside, 1))[:3]
    i, j, k = np.rint(index).astype(int)
    assert labels[k, j, i] == 3
    assert centre_of_segment(node, "gone") is None
    assert centre_of_segment(node, "absent") is None


def test_a_second_run_replaces_and_other_results_stay(scene, tmp_path):
    items = structures("liver", "spleen")
    volume, other = add_volume(scene), add_volume(scene, name="other")
    identity = ResultIdentity("mine")
    first = show_result(scene, volume, blocks(), items, identity)
    again = show_result(scene, volume, blocks(values=(6,)), items, identity)
    assert again is first
    assert annotate(again, volume, items).empty == ("liver",)
    before = show_result(scene, volume, blocks(), items, ResultIdentity("mine", BEFORE))
    foreign = show_result(scene, volume, blocks(), items, ResultIdentity("another"))
    elsewhere = show_result(scene, other, blocks(), items, identity)
    frame = show_result(scene, volume, blocks(), items, ResultIdentity("mine", frame="phase 50 %"))
    assert len({n.GetID() for n in (first, before, foreign, elsewhere, frame)}) == 5
    show_before(first, before, True)
    assert not first.GetDisplayNode().GetVisibility()
    assert before.GetDisplayNode().GetVisibility()
    show_before(first, before, False)
    assert first.GetDisplayNode().GetVisibility()
    to_annotation(first, "corrected")
    assert find_result(scene, volume, identity) is None
    fresh = show_result(scene, volume, blocks(), items, identity)
    assert fresh is not first


def voxels(node, volume) -> dict[int, int]:
    """Voxels of each label value."""
    values, counts = np.unique(annotate(node, volume, structures("liver", "spleen")).labels, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def test_the_scenes_undo_takes_results_back(scene):
    scene.SetUndoOn()
    items = structures("liver", "spleen")
    volume, identity = add_volume(scene), ResultIdentity("mine")
    before = {n.GetID() for n in nodes_of_class(scene, "vtkMRMLDisplayNode")}
    first = show_result(scene, volume, blocks(), items, identity)
    name, expected = first.GetID(), voxels(first, volume)
    assert expected[3] > 0
    scene.Undo()
    assert find_result(scene, volume, identity) is None
    assert {n.GetID() for n in nodes_of_class(scene, "vtkMRMLDisplayNode")} == before
    assert scene.GetNodeByID(volume.GetID()) is volume
    scene.Redo()
    found = find_result(scene, volume, identity)
    assert found.GetID() == name
    assert voxels(found, volume) == expected
    # A result made again gives way to the one it replaced.
    again = show_result(scene, volume, blocks(values=(6,)), items, identity)
    assert again is found
    assert voxels(again, volume) != expected
    scene.Undo()
    assert voxels(find_result(scene, volume, identity), volume) == expected


def test_without_the_scenes_undo_nothing_is_kept(scene):
    show_result(scene, add_volume(scene), blocks(), structures("liver", "spleen"), ResultIdentity("mine"))
    assert scene.GetNumberOfUndoLevels() == 0


def test_results_survive_saving_the_scene(scene, tmp_path):
    items = structures("liver", "spleen")
    volume = add_volume(scene)
    show_result(scene, volume, blocks(), items, ResultIdentity("mine"))
    text = scene.SetSaveToXMLString(1)
    scene.Commit()
    saved = scene.GetSceneXMLString()
    assert text is None
    assert "FSEFT.model:mine" in saved
    assert f"FSEFT.scan:{volume.GetID()}" in saved


def test_results_on_another_grid_or_of_a_changed_volume_are_refused(scene, tmp_path):
    items = structures("liver", "spleen")
    volume = add_volume(scene)
    written = world_grid(volume)
    path = result_file(tmp_path, volume, blocks())
    moved = add_volume(scene, matrix=turn() @ STRAIGHT)
    with pytest.raises(FseftError) as caught:
        load(scene, moved, path, items, ResultIdentity("m"))
    assert caught.value.code == "result-grid"
    smaller = add_volume(scene, random_ct((8, 11, 13)))
    with pytest.raises(FseftError) as caught:
        run_steps(load_result_steps(scene, smaller, path, written, items, ResultIdentity("m")))
    assert caught.value.code == "result-volume-changed"
    assert nodes_of_class(scene, "vtkMRMLSegmentationNode") == []


@pytest.mark.parametrize("kind", ["seg.nrrd", "nrrd", "nii.gz"])
def test_exports_keep_values_names_and_grid_and_ask_first(scene, tmp_path, kind):
    items = structures("liver", "Œsophage")
    volume = add_volume(scene, matrix=orthogonal(OBLIQUE), name="P/1: a")
    twin = add_volume(scene, random_ct(seed=2), orthogonal(OBLIQUE), name="p_1_ A")
    nodes = [add_segmentation(scene, blocks(), orthogonal(OBLIQUE), items) for _ in range(2)]
    exports = distinct_items([(nodes[0], volume), (nodes[1], twin)])
    written = run_steps(export_steps(exports, items, tmp_path, kind))
    assert written == export_targets(exports, tmp_path, kind)
    assert all(path.exists() for path in written)
    assert len({path.name.casefold() for path in written}) == len(written)
    image = sitk.ReadImage(str(written[0]))
    assert np.array_equal(sitk.GetArrayFromImage(image), blocks())
    corner = image.TransformIndexToPhysicalPoint((12, 10, 8))
    expected = world_grid(volume).ijk_to_lps @ np.array([12, 10, 8, 1])
    np.testing.assert_allclose(corner, expected[:3], atol=1e-4)
    if kind == "seg.nrrd":
        assert image.GetMetaData("Segment1_Name") == "Œsophage"
    else:
        assert json.loads((tmp_path / "labels.json").read_text("utf-8"))["Œsophage"]["value"] == 6
    with pytest.raises(FseftError) as caught:
        run_steps(export_steps(exports, items, tmp_path, kind))
    assert caught.value.code == "export-exists"
    run_steps(export_steps(exports, items, tmp_path, kind, overwrite=True))


def test_file_names_are_made_harmless():
    assert safe_stem('a<b>:"/\\|?*c') == "a_b_c"
    assert safe_stem(" ..") == "case"
    assert safe_stem("Müller CT 1") == "Müller CT 1"


def test_tables_open_in_spreadsheets(tmp_path):
    path = tmp_path / "volumes.csv"
    rows = [{"structure": "Œsophage", "ml": 12.5, "flags": None}, {"structure": "=1+1", "ml": -3, "flags": "a, b"}]
    write_table(rows, path)
    text = path.read_bytes()
    assert text.startswith(b"\xef\xbb\xbf")
    assert text.decode("utf-8-sig").splitlines() == ["structure,ml,flags", "Œsophage,12.5,", '\'=1+1,-3,"a, b"']
    for again, code in ((rows, "export-exists"), ([], "export-empty")):
        with pytest.raises(FseftError) as caught:
            write_table(again, path)
        assert caught.value.code == code

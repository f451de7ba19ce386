"""Annotations: names and values, other grids, layers, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.errors import AnnotationError, FseftError
from fseft.scan.annotation import read_annotation, structures_from_json
from fseft.scan.geometry import Geometry
from fseft.scan.writing import write_labelmap
from fseft.structures import Structure, number_structures
from scan_files import SHARED_CT, Listener, ct_scan, rotation, signed_axis_orders, straight


def labels(shape: tuple[int, int, int] = (6, 8, 10)) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[1:4, 2:5, 3:7] = 1
    array[2:5, 5:7, 4:9] = 2
    return array


def refused(path, **arguments) -> FseftError:
    with pytest.raises(FseftError) as caught:
        read_annotation(path, ct_scan(), **arguments)
    return caught.value


def test_values_without_a_list_get_numbered_names(tmp_path):
    write_labelmap(labels() * 2, straight(), tmp_path / "a.nii.gz")
    annotation = read_annotation(tmp_path / "a.nii.gz", ct_scan())
    assert [(s.name, s.value) for s in annotation.structures] == [("structure 2", 2), ("structure 4", 4)]
    assert annotation.labels.dtype == np.uint16
    assert annotation.annotated is None


def test_listed_structures_are_covered_even_when_absent(tmp_path):
    write_labelmap(labels(), straight(), tmp_path / "a.nrrd")
    listed = number_structures(["liver", "spleen", "gallbladder"])
    assert read_annotation(tmp_path / "a.nrrd", ct_scan(), listed).structures == listed


def test_float_labels_that_are_whole_are_labels(tmp_path):
    sitk.WriteImage(straight().image_of(labels().astype(np.float32)), str(tmp_path / "a.nii.gz"))
    assert np.array_equal(read_annotation(tmp_path / "a.nii.gz", ct_scan()).labels, labels())


def write_segments(path, array, segments, geometry=None):
    """A .seg.nrrd with (name, value, layer) entries; a 4-D array has its layers last, as 3-D colour images."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    grid = geometry or straight(array.shape[:3])
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    for number, (name, value, layer) in enumerate(segments):
        fields = {"ID": f"Segment_{number}", "Name": name, "Color": "0.5 0.25 0.75", "Extent": "0 9 0 7 0 5"}
        fields |= {} if value is None else {"LabelValue": str(value), "Layer": str(layer)}
        for key, text in fields.items():
            image.SetMetaData(f"Segment{number}_{key}", text)
    sitk.WriteImage(image, str(path), useCompression=True)


def test_segments_are_matched_by_name_not_by_value(tmp_path):
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, labels(), [("Kidney_Right", 2, 0), ("Leber", 1, 0), ("", 9, 0)])
    listed = (Structure("Leber", 5), Structure("right kidney", 6), Structure("spleen", 7))
    annotation = read_annotation(path, ct_scan(), listed)
    assert np.array_equal(annotation.labels == 5, labels() == 1)
    assert np.array_equal(annotation.labels == 6, labels() == 2)
    assert annotation.structures == (listed[1], listed[0])  # the spleen is not annotated here


def test_unlisted_segment_with_voxels_is_refused(tmp_path):
    write_segments(tmp_path / "a.seg.nrrd", labels(), [("liver", 1, 0), ("notes", 2, 0)])
    problem = refused(tmp_path / "a.seg.nrrd", structures=number_structures(["liver"]))
    assert problem.code == "annotation-unknown-structure"
    assert "notes" in problem.message


@pytest.mark.parametrize("old", [False, True], ids=["with layers", "from before layers"])
def test_overlapping_layers_later_segment_wins(tmp_path, old):
    first, second = labels() > 0, np.zeros(labels().shape, bool)
    second[3:6, 3:6, 5:9] = True
    path = tmp_path / "a.seg.nrrd"
    segments = [("organ", None, None), ("tumour", None, None)] if old else [("organ", 1, 0), ("tumour", 1, 1)]
    write_segments(path, np.stack([first, second], axis=-1).astype(np.uint8), segments)
    told = Listener()
    annotation = read_annotation(path, ct_scan(), reporter=told)
    assert [(s.name, s.value) for s in annotation.structures] == [("organ", 1), ("tumour", 2)]
    assert np.array_equal(annotation.labels, np.where(second, 2, first))
    overlap = int((first & second).sum())
    assert overlap > 0
    assert len(told.warnings) == 1
    assert f"overlaps earlier ones in {overlap} voxels" in told.warnings[0]


def test_segments_without_overlap_say_nothing(tmp_path):
    array = np.stack([labels() == 1, labels() == 2], axis=-1).astype(np.uint8)
    write_segments(tmp_path / "a.seg.nrrd", array, [("a", 1, 0), ("b", 1, 1)])
    told = Listener()
    assert np.array_equal(read_annotation(tmp_path / "a.seg.nrrd", ct_scan(), reporter=told).labels, labels())
    assert told.warnings == []


def test_cropped_segmentation_is_background_around(tmp_path):
    """3D Slicer crops segmentations to what is drawn."""
    grid = straight()
    crop = replace(grid, size=(6, 5, 4), origin=tuple(grid.to_world(np.array([[3, 2, 1]]))[0]))
    write_segments(tmp_path / "a.seg.nrrd", labels()[1:5, 2:7, 3:9], [("a", 1, 0), ("b", 2, 0)], crop)
    told = Listener()
    annotation = read_annotation(tmp_path / "a.seg.nrrd", ct_scan(), reporter=told)
    assert np.array_equal(annotation.labels, labels())
    assert annotation.annotated is None
    assert told.warnings == []


def test_segmentation_cropped_to_one_slice(tmp_path):
    grid = straight()
    crop = replace(grid, size=(10, 8, 1), origin=tuple(grid.to_world(np.array([[0, 0, 2]]))[0]))
    write_segments(tmp_path / "a.seg.nrrd", labels()[2:3], [("a", 1, 0), ("b", 2, 0)], crop)
    found = read_annotation(tmp_path / "a.seg.nrrd", ct_scan()).labels
    assert np.array_equal(found[2], labels()[2])
    assert found.sum() == labels()[2].sum()


def test_labelmap_of_a_part_says_nothing_of_the_rest(tmp_path):
    grid = straight()
    part = replace(grid, size=(10, 8, 4))
    write_labelmap(labels()[:4], part, tmp_path / "a.nii.gz")
    told = Listener()
    annotation = read_annotation(tmp_path / "a.nii.gz", ct_scan(), reporter=told)
    assert annotation.annotated is not None
    assert annotation.annotated[:4].all()
    assert not annotation.annotated[4:].any()
    assert any("67 % of the scan" in w for w in told.warnings)


def test_every_axis_order_lands_in_the_same_place(tmp_path):
    """An annotation saved with its axes in another order, flipped or not, is brought onto the scan voxel for voxel."""
    grid = straight()
    image = grid.image_of(labels())
    for number, order in enumerate(signed_axis_orders()):
        axes = [int(np.argmax(np.abs(order[:, i]))) for i in range(3)]
        turned = sitk.Flip(sitk.PermuteAxes(image, axes), [bool(order[axes[i], i] < 0) for i in range(3)], False)
        path = tmp_path / f"{number}.nii.gz"
        sitk.WriteImage(turned, str(path))
        annotation = read_annotation(path, ct_scan())
        assert np.array_equal(annotation.labels, labels())
        assert annotation.annotated is None


def test_another_grid_is_resampled_with_a_warning(tmp_path):
    """A ball drawn on a finer, rotated grid keeps its place and its volume."""
    scan = ct_scan((24, 60, 60))
    centre = scan.geometry.to_world(np.array([[30, 30, 12]]))[0]
    direction = rotation((8, -5, 30))
    origin = centre - direction @ np.array([24.0, 24.0, 24.0])
    fine = Geometry((81, 81, 81), (0.6, 0.6, 0.6), tuple(origin), tuple(direction.ravel()))
    z, y, x = np.indices(fine.array_shape)
    distance = np.linalg.norm(fine.to_world(np.stack([x, y, z], -1).reshape(-1, 3)) - centre, axis=1)
    ball = (distance < 12).reshape(fine.array_shape).astype(np.uint8)
    write_labelmap(ball, fine, tmp_path / "ball.nrrd")
    told = Listener()
    annotation = read_annotation(tmp_path / "ball.nrrd", scan, reporter=told)
    assert any("another grid" in w for w in told.warnings)
    volume = annotation.labels.sum() * scan.geometry.voxel_volume_ml
    assert volume == pytest.approx(4 / 3 * np.pi * 1.2**3, rel=0.02)
    z, y, x = np.nonzero(annotation.labels)
    world = scan.geometry.to_world(np.stack([x, y, z], -1))
    assert np.linalg.norm(world.mean(axis=0) - centre) < 0.3
    assert np.linalg.norm(world - centre, axis=1).max() < 13


def test_annotation_elsewhere_is_refused(tmp_path):
    elsewhere = replace(straight(), origin=(500.0, 0.0, 0.0))
    write_labelmap(labels(), elsewhere, tmp_path / "a.nrrd")
    assert refused(tmp_path / "a.nrrd").code == "annotation-no-overlap"


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.zeros((6, 8, 10), np.uint8), "annotation-empty"),
        (labels().astype(np.float32) / 2, "annotation-not-labels"),
        (labels().astype(np.int16) - 1, "annotation-not-labels"),
        (labels().astype(np.int32) * 70000, "annotation-not-labels"),
        (np.arange(12 * 16 * 20, dtype=np.uint16).reshape(12, 16, 20), "annotation-not-labels"),
        (ct_scan().hounsfield, "annotation-is-scan"),
        (ct_scan(seed=1).hounsfield, "annotation-not-labels"),
        (labels() * 7, "annotation-unknown-label"),
    ],
)
def test_what_is_no_annotation(tmp_path, array, code):
    sitk.WriteImage(straight(array.shape).image_of(array), str(tmp_path / "a.nrrd"))
    assert refused(tmp_path / "a.nrrd", structures=number_structures(["liver", "spleen"])).code == code


def test_colour_image_is_no_annotation(tmp_path):
    image = sitk.GetImageFromArray(np.stack([labels()] * 3, -1), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    assert refused(tmp_path / "a.nrrd").code == "scan-vector"


@pytest.mark.parametrize(
    ("segments", "code"),
    [
        ([("a", 1, 0), ("a", 2, 0)], "annotation-segments"),
        ([("a", "one", 0), ("b", 2, 0)], "annotation-segments"),
        ([("a", 1, 0)], "annotation-unknown-label"),
    ],
)
def test_broken_segment_lists(tmp_path, segments, code):
    write_segments(tmp_path / "a.seg.nrrd", labels(), segments)
    assert refused(tmp_path / "a.seg.nrrd").code == code


@pytest.mark.parametrize(
    "content",
    [
        {"labels": {"liver": 1, "right kidney": 4}},
        {"labels": {"background": 0, "right kidney": 4, "liver": 1}, "file_ending": ".nii.gz"},
        {"labels": {"background": "0", "liver": "1", "right kidney": "4", "ignore": "5"}},
        {"labels": {"background": 0, "liver": [1], "right kidney": [4]}},
        {"labels": {"0": "background", "1": "liver", "4": "right kidney"}, "modality": {"0": "CT"}},
    ],
    ids=["names", "nnU-Net", "nnU-Net as text", "nnU-Net as lists", "MSD"],
)
def test_structure_lists(tmp_path, content):
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert [(s.name, s.value) for s in structures_from_json(path)] == [("liver", 1), ("right kidney", 4)]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("not json", "no JSON"),
        ("[1, 2]", "no list"),
        ('{"labels": {}}', "no list"),
        ('{"labels": {"background": 0}}', "no structure"),
        ('{"labels": {"a": 1, "b": 1}}', "several structures"),
        ('{"labels": {"1": "a", "2": "a"}}', "twice"),
        ('{"labels": {"a": 1.5}}', "1.5"),
        ('{"labels": {"a": -1}}', "1..65535"),
        ('{"labels": {"whole": [1, 2], "core": 2}}', "several values"),
        (None, "could not be opened"),
    ],
)
def test_broken_structure_lists(tmp_path, text, part):
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(AnnotationError) as caught:
        structures_from_json(path)
    assert caught.value.code == "structures-file"
    assert part in caught.value.message


@pytest.mark.skipif(not SHARED_CT.is_dir(), reason="real CT is not here (../shared/ct)")
def test_real_annotation():
    from fseft.scan.reading import read_scan

    folder = SHARED_CT / "headneck"
    scan = read_scan(folder / "FRM2_submGlTumor_ct.nii.gz")
    listed = structures_from_json(folder / "FRM2_submGlTumor.json")
    annotation = read_annotation(folder / "FRM2_submGlTumor_seg.nii.gz", scan, listed)
    assert annotation.structures == listed
    assert {int(v) for v in np.unique(annotation.labels)} - {0} <= {s.value for s in listed}
    assert annotation.annotated is None

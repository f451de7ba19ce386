"""Labelmaps and segmentations as they come out, read by SimpleITK, by this engine, and by 3D Slicer's own reader."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.errors import FseftError, InputError, ResourceError
from fseft.scan.annotation import read_annotation
from fseft.scan.writing import write_labelmap, write_scan
from fseft.structures import Structure
from scan_files import ct_scan, straight

TERMINOLOGY = (
    "Segmentation category and type~SCT^123037004^Anatomical Structure~SCT^10200004^Liver~^^~Anatomic codes~^^~^^"
)
STRUCTURES = (
    Structure("Leber – foie 肝", 3, (0.1, 0.25, 0.875), TERMINOLOGY),
    Structure("oesophagus", 300, (1.0, 0.0, 0.5)),
    Structure("absent", 7, (0.2, 0.4, 0.6)),
)


def labels() -> np.ndarray:
    array = np.zeros((6, 8, 10), np.uint16)
    array[1:4, 2:5, 3:9] = 3
    array[5, 6, 1] = 300
    return array


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".seg.nrrd"])
@pytest.mark.parametrize(("value", "expected"), [(255, sitk.sitkUInt8), (256, sitk.sitkUInt16)])
def test_smallest_type_that_holds_the_values(tmp_path, ending, value, expected):
    array = np.where(labels() == 3, value, 0)
    path = tmp_path / f"result{ending}"
    write_labelmap(array, straight(), path)
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == expected
    assert np.array_equal(sitk.GetArrayFromImage(image), array)
    assert image.GetSpacing() == pytest.approx(straight().spacing, abs=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_segmentation_fields(tmp_path):
    path = tmp_path / "Ergebnis 1.seg.nrrd"
    write_labelmap(labels(), straight(), path, STRUCTURES)
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("Segment0_Name") == "Leber – foie 肝"
    assert image.GetMetaData("Segment0_LabelValue") == "3"
    assert image.GetMetaData("Segment0_Extent") == "3 8 2 4 1 3"
    assert image.GetMetaData("Segment0_Tags") == f"TerminologyEntry:{TERMINOLOGY}|"
    assert image.GetMetaData("Segment1_Extent") == "1 1 6 6 5 5"
    assert [float(c) for c in image.GetMetaData("Segment1_Color").split()] == [1.0, 0.0, 0.5]
    assert image.GetMetaData("Segment2_Extent") == "0 -1 0 -1 0 -1"
    assert {image.GetMetaData(f"Segment{i}_Layer") for i in range(3)} == {"0"}
    assert image.GetMetaData("Segmentation_SourceRepresentation") == "Binary labelmap"


def test_segmentation_read_back_is_equal(tmp_path):
    write_labelmap(labels(), straight(), tmp_path / "a.seg.nrrd", STRUCTURES)
    annotation = read_annotation(tmp_path / "a.seg.nrrd", ct_scan())
    assert annotation.structures == STRUCTURES
    assert annotation.labels.dtype == np.uint16
    assert np.array_equal(annotation.labels, labels())
    assert annotation.annotated is None


def test_names_cannot_break_the_header(tmp_path):
    write_labelmap(labels(), straight(), tmp_path / "a.seg.nrrd", (Structure("two\nlines\n\n:= x", 3), *STRUCTURES[1:]))
    annotation = read_annotation(tmp_path / "a.seg.nrrd", ct_scan())
    assert annotation.structures[0].name == "two lines := x"
    assert np.array_equal(annotation.labels, labels())


def test_slicer_reads_it_and_its_copy_is_read_here(tmp_path):
    slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    path = tmp_path / "a.seg.nrrd"
    write_labelmap(labels(), straight(), path, STRUCTURES)
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    for number, structure in enumerate(STRUCTURES):
        segment = segmentation.GetNthSegment(number)
        assert segment.GetName() == structure.name
        assert segment.GetLabelValue() == structure.value
        assert segment.GetColor() == pytest.approx(structure.color)
        scalars = vtk_to_numpy(segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars())
        assert (scalars == structure.value).sum() == (labels() == structure.value).sum()
    tag = vtk.mutable("")
    segmentation.GetNthSegment(0).GetTag("TerminologyEntry", tag)
    assert str(tag) == TERMINOLOGY

    storage.SetFileName(str(tmp_path / "b.seg.nrrd"))
    assert storage.WriteData(node)  # cropped to the segments by Slicer
    annotation = read_annotation(tmp_path / "b.seg.nrrd", ct_scan())
    assert np.array_equal(annotation.labels, labels())
    assert [(s.name, s.value) for s in annotation.structures] == [(s.name, s.value) for s in STRUCTURES]
    scene.Clear(True)


def test_an_existing_file_is_replaced_only_when_allowed(tmp_path):
    path = tmp_path / "a.nrrd"
    write_labelmap(labels(), straight(), path)
    before = path.read_bytes()
    with pytest.raises(InputError) as caught:
        write_labelmap(labels() * 2, straight(), path, overwrite=False)
    assert caught.value.code == "output-exists"
    assert path.read_bytes() == before
    write_labelmap(labels() * 2, straight(), path)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(path))).max() == 600


@pytest.mark.parametrize("name", ["a.png", "a.nhdr", "a.mhd", "a", "a.gz"])
def test_unknown_endings_are_refused(tmp_path, name):
    for write in (lambda p: write_labelmap(labels(), straight(), p), lambda p: write_scan(ct_scan(), p)):
        with pytest.raises(FseftError) as caught:
            write(tmp_path / name)
        assert caught.value.code == "output-format"
    assert list(tmp_path.iterdir()) == []


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_scan(ct_scan(), path)
    before = path.read_bytes()

    def fails(*_arguments, **_keywords):
        raise RuntimeError("ITK ERROR: write failed")

    monkeypatch.setattr("fseft.scan.writing.sitk.WriteImage", fails)
    with pytest.raises(ResourceError) as caught:
        write_scan(ct_scan(seed=1), path)
    assert caught.value.code == "cannot-write"
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.nii.gz"]


def test_wrong_grid_and_values_are_programming_errors(tmp_path):
    with pytest.raises(ValueError, match="not on the grid"):
        write_labelmap(labels()[1:], straight(), tmp_path / "a.nrrd")
    with pytest.raises(ValueError, match=r"0\.\.65535"):
        write_labelmap(labels().astype(np.int32) - 1, straight(), tmp_path / "a.nrrd")

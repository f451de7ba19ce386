"""Volume nodes written for the worker: exact geometry, transforms, and everything that must be refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

from fseft.errors import FseftError  # noqa: E402
from FSEFTSegmentLib.mrml.grid import to_vtk, world_grid  # noqa: E402
from FSEFTSegmentLib.mrml.nrrd import read_nrrd_steps, write_nrrd_steps  # noqa: E402
from FSEFTSegmentLib.mrml.volumes import (  # noqa: E402
    check_volume,
    fingerprint,
    frame_label,
    looks_like_ct,
    write_scan_steps,
)
from FSEFTSegmentLib.steps import run_steps  # noqa: E402
from mrml_makers import OBLIQUE, STRAIGHT, add_transform, add_volume, orthogonal, random_ct, turn  # noqa: E402

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sitk_matrix(image) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


@pytest.mark.parametrize("matrix", [STRAIGHT, orthogonal(OBLIQUE), STRAIGHT[[1, 2, 0, 3]]])
def test_a_written_scan_has_the_same_voxels_at_the_same_places(scene, tmp_path, matrix):
    array = random_ct()
    volume = add_volume(scene, array, matrix)
    path = tmp_path / "scan é.nrrd"
    grid = run_steps(write_scan_steps(volume, path))
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), array)
    assert image.GetPixelID() == sitk.sitkInt16
    np.testing.assert_allclose(sitk_matrix(image), LPS @ matrix, atol=1e-9)
    np.testing.assert_allclose(grid.ijk_to_ras, matrix, atol=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_slicer_and_the_written_file_agree_on_where_a_voxel_is(scene, tmp_path):
    volume = add_volume(scene, matrix=orthogonal(OBLIQUE))
    path = tmp_path / "scan.nrrd"
    run_steps(write_scan_steps(volume, path))
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    loaded = slicer.vtkMRMLScalarVolumeNode()
    scene.AddNode(loaded)
    assert storage.ReadData(loaded)
    np.testing.assert_allclose(world_grid(loaded).corners(), world_grid(volume).corners(), atol=1e-6)


def test_a_linear_transform_is_applied_and_the_node_left_alone(scene, tmp_path):
    volume = add_volume(scene)
    volume.SetAndObserveTransformNodeID(add_transform(scene, turn()).GetID())
    run_steps(write_scan_steps(volume, tmp_path / "scan.nrrd"))
    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    np.testing.assert_allclose(sitk_matrix(image), LPS @ turn() @ STRAIGHT, atol=1e-9)
    assert volume.GetParentTransformNode() is not None
    np.testing.assert_array_equal(volume.GetOrigin(), STRAIGHT[:3, 3])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint16", "int32", "float32", "float64"])
def test_every_voxel_type_survives(scene, tmp_path, dtype):
    array = (random_ct() % 100).astype(dtype)
    run_steps(write_scan_steps(add_volume(scene, array), tmp_path / "scan.nrrd"))
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nrrd")))
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, array)


def refused(volume) -> str:
    with pytest.raises(FseftError) as caught:
        check_volume(volume)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value.code


def test_what_is_no_scan_is_refused_with_a_sentence(scene):
    assert refused(add_volume(scene, class_name="vtkMRMLLabelMapVolumeNode")) == "scan-is-labelmap"
    colour = add_volume(scene, np.zeros((5, 5, 5, 3), np.uint8), class_name="vtkMRMLVectorVolumeNode")
    assert refused(colour) == "scan-not-scalar"
    assert refused(add_volume(scene, random_ct((1, 8, 8)))) == "scan-2d"
    assert refused(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")) == "scan-empty"
    assert refused(scene.AddNewNodeByClass("vtkMRMLModelNode", "model")) == "scan-not-volume"


def test_skewed_and_flat_grids_are_refused(scene):
    sheared = add_volume(scene)
    shear = np.eye(4)
    shear[0, 2] = 0.2
    sheared.SetAndObserveTransformNodeID(add_transform(scene, shear).GetID())
    assert refused(sheared) == "grid-not-orthogonal"
    flat = add_volume(scene)
    flat.SetAndObserveTransformNodeID(add_transform(scene, np.diag([1.0, 1.0, 0.0, 1.0])).GetID())
    assert refused(flat) == "grid-singular"


def test_a_warping_transform_is_refused(scene):
    import vtk

    volume = add_volume(scene)
    warp = scene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    spline = vtk.vtkThinPlateSplineTransform()
    for landmarks, offset in ((spline.SetSourceLandmarks, 0), (spline.SetTargetLandmarks, 5)):
        points = vtk.vtkPoints()
        for n in range(6):
            points.InsertNextPoint(n * n, 10 * n + (offset if n == 2 else 0), 5 * n * (n % 2))
        landmarks(points)
    warp.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(warp.GetID())
    assert refused(volume) == "transform-not-linear"


def test_the_quick_look_tells_ct_from_the_rest(scene):
    assert looks_like_ct(add_volume(scene))
    assert not looks_like_ct(add_volume(scene, np.abs(random_ct())))
    assert not looks_like_ct(add_volume(scene, random_ct().astype(np.float32) / 1000))
    assert not looks_like_ct(add_volume(scene, np.full((5, 5, 5), np.nan, np.float32)))


def test_fingerprints_are_equal_for_copies_only(scene):
    volume, copy = add_volume(scene, name="a"), add_volume(scene, name="b")
    other = add_volume(scene, random_ct(seed=1))
    finer = add_volume(scene, matrix=STRAIGHT @ np.diag([0.5, 1, 1, 1]))
    assert fingerprint(volume) == fingerprint(copy)
    assert len({fingerprint(v) for v in (volume, other, finer)}) == 3


def test_the_frame_of_a_sequence_is_named_and_copied(scene, tmp_path):
    sequences = scene.fseft_logics["Sequences"]
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D CT")
    sequence.SetIndexName("phase")
    sequence.SetIndexUnit("%")
    for phase in (0, 50):
        frame = add_volume(scene, random_ct(seed=phase), name="frame")
        sequence.SetDataNodeAtValue(frame, str(phase))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    sequences.UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    browser.SetSelectedItemNumber(1)
    sequences.UpdateProxyNodesFromSequences(browser)
    assert frame_label(proxy, sequences) == "phase 50 %"
    assert frame_label(add_volume(scene), sequences) == ""
    assert frame_label(proxy, None) == ""
    steps = write_scan_steps(proxy, tmp_path / "scan.nrrd")
    next(steps)
    browser.SetSelectedItemNumber(0)
    sequences.UpdateProxyNodesFromSequences(browser)
    run_steps(steps)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nrrd"))), random_ct(seed=50))


def test_nrrd_round_trip_and_foreign_files(tmp_path, scene):
    volume = add_volume(scene, matrix=orthogonal(OBLIQUE))
    grid = world_grid(volume)
    array = random_ct()
    for compress in (False, True):
        path = tmp_path / "a.nrrd"
        run_steps(write_nrrd_steps(path, [array[:4], array[4:]], array.dtype, grid, {"Namé": "a\\b\nc"}, compress))
        read = run_steps(read_nrrd_steps(path))
        assert np.array_equal(read.array, array)
        np.testing.assert_array_equal(read.grid.ijk_to_ras, grid.ijk_to_ras)
        assert read.fields["Namé"] == "a\\b\nc"
    for compress in (False, True):
        image = sitk.ReadImage(str(tmp_path / "a.nrrd"))
        sitk.WriteImage(image, str(tmp_path / "b.nrrd"), useCompression=compress)
        read = run_steps(read_nrrd_steps(tmp_path / "b.nrrd"))
        assert np.array_equal(read.array, array)
        np.testing.assert_allclose(read.grid.ijk_to_ras, grid.ijk_to_ras, atol=1e-6)


def test_broken_nrrd_files_are_refused(tmp_path, scene):
    path = tmp_path / "a.nrrd"
    array = random_ct()
    run_steps(write_nrrd_steps(path, [array], array.dtype, world_grid(add_volume(scene)), compress=True))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:60], whole[:-100], whole.replace(b"dimension", b"dimensiom")[:300]):
        path.write_bytes(content)
        with pytest.raises(FseftError) as caught:
            run_steps(read_nrrd_steps(path))
        assert caught.value.code == "file-unreadable"


def test_stopping_a_write_leaves_nothing_behind(scene, tmp_path):
    steps = write_scan_steps(add_volume(scene), tmp_path / "scan.nrrd")
    next(steps)
    next(steps)
    steps.close()
    assert list(tmp_path.iterdir()) == []


def test_left_handed_grids_keep_their_sides(scene, tmp_path):
    matrix = STRAIGHT @ np.diag([-1.0, 1, 1, 1])
    volume = add_volume(scene, matrix=matrix)
    volume.SetIJKToRASMatrix(to_vtk(matrix))
    run_steps(write_scan_steps(volume, tmp_path / "scan.nrrd"))
    image = sitk.ReadImage(str(tmp_path / "scan.nrrd"))
    np.testing.assert_allclose(sitk_matrix(image), LPS @ matrix, atol=1e-9)

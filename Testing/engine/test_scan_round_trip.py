"""What is written is read back: voxels exactly, geometry to a thousandth of a millimetre, in every orientation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.errors import ScanError
from fseft.scan.annotation import check_scans_differ, same_scan
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.scan.writing import write_scan
from scan_files import SHARED_CT, Listener, ct_array, ct_scan, rotation, signed_axis_orders, straight

ORDERS = signed_axis_orders()
SHAPE = (5, 6, 7)


def greatest_shift(a: Geometry, b: Geometry) -> float:
    """The largest distance in mm between the corners of two grids of the same size."""
    last = np.asarray(a.size) - 1
    corners = np.array([[i, j, k] for i in (0, last[0]) for j in (0, last[1]) for k in (0, last[2])])
    return float(np.linalg.norm(a.to_world(corners) - b.to_world(corners), axis=1).max())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("tilt", [(0, 0, 0), (12.5, -7.3, 21.1)], ids=["straight", "oblique"])
def test_every_orientation_survives(tmp_path, ending, tilt):
    array = ct_array(SHAPE)
    assert len(ORDERS) == 48
    for number, order in enumerate(ORDERS):
        direction = rotation(tilt) @ order
        geometry = Geometry((7, 6, 5), (0.703125, 1.37, 4.9), (-123.456, 87.6, -1503.25), tuple(direction.ravel()))
        path = tmp_path / f"{number}{ending}"
        write_scan(Scan(array, geometry), path)
        back = read_scan(path)
        assert back.hounsfield.dtype == np.int16
        assert np.array_equal(back.hounsfield, array)
        assert greatest_shift(geometry, back.geometry) < 1e-3
        assert back.geometry.axis_codes() == geometry.axis_codes()


@pytest.mark.parametrize("header", ["scan.nhdr", "scan.mhd"])
def test_header_beside_its_data(tmp_path, header):
    scan = ct_scan()
    path = tmp_path / "Étude nº 1" / header
    path.parent.mkdir()
    sitk.WriteImage(scan.geometry.image_of(scan.hounsfield), str(path))
    back = read_scan(path)
    assert back.content_key == scan.content_key
    assert back.name == "scan"


def test_paths_with_spaces_and_accents(tmp_path):
    path = tmp_path / "Patientenakte Müller" / "Aufnahme 1.5 mm – größer.nii.gz"
    scan = ct_scan()
    write_scan(scan, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    back = read_scan(path)
    assert np.array_equal(back.hounsfield, scan.hounsfield)
    assert back.name == "Aufnahme 1.5 mm – größer"
    assert read_scan(path, name="case 1").name == "case 1"


def test_floats_stay_floats_only_where_they_must(tmp_path):
    whole, halves = ct_array().astype(np.float64), ct_array().astype(np.float64) + 0.5
    for array, expected in ((whole, np.int16), (halves, np.float32)):
        sitk.WriteImage(straight().image_of(array), str(tmp_path / "scan.nrrd"))
        back = read_scan(tmp_path / "scan.nrrd")
        assert back.hounsfield.dtype == expected
        assert np.array_equal(back.hounsfield, array)


def test_rescale_of_nifti_is_applied(tmp_path):
    """Stored values times 2 minus 1000 are HU."""
    import struct

    hounsfield = 2 * (ct_array().astype(np.int32) // 2)
    path = tmp_path / "scan.nii"
    sitk.WriteImage(straight().image_of(((hounsfield + 1000) // 2).astype(np.int16)), str(path))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2f", raw, 112, 2.0, -1000.0)
    path.write_bytes(raw)
    back = read_scan(path)
    assert np.array_equal(back.hounsfield, hounsfield)
    assert back.hounsfield.dtype == np.int16


def test_unsigned_with_forgotten_offset_is_shifted_and_said(tmp_path):
    array = ct_array((20, 20, 20))
    sitk.WriteImage(straight(array.shape).image_of((array + 1024).astype(np.uint16)), str(tmp_path / "scan.nrrd"))
    told = Listener()
    assert np.array_equal(read_scan(tmp_path / "scan.nrrd", reporter=told).hounsfield, array)
    assert len(told.warnings) == 1
    assert "1024" in told.warnings[0]


@pytest.mark.parametrize("wide", [np.int32, np.int64, np.float32])
def test_wide_types_are_narrowed_exactly(tmp_path, wide):
    sitk.WriteImage(straight().image_of(ct_array().astype(wide)), str(tmp_path / "scan.mha"))
    back = read_scan(tmp_path / "scan.mha")
    assert back.hounsfield.dtype == np.int16
    assert np.array_equal(back.hounsfield, ct_array())


def nifti_with_sform(path, matrix):
    """A NIfTI file whose only orientation is the given (3, 3) RAS matrix, with its origin at zero."""
    import struct

    sitk.WriteImage(straight().image_of(ct_array()), str(path))
    raw = bytearray(path.read_bytes())
    struct.pack_into("<2h", raw, 252, 0, 1)
    struct.pack_into("<12f", raw, 280, *np.column_stack([matrix, np.zeros(3)]).ravel())
    path.write_bytes(raw)


def test_nifti_sheared_by_rounding_is_straightened(tmp_path):
    path = tmp_path / "scan.nii"
    matrix = np.diag([2.0, 2.0, 3.0])
    matrix[0, 1] = 0.004  # two thousandths of a radian
    nifti_with_sform(path, matrix)
    told = Listener()
    back = read_scan(path, reporter=told)
    assert np.array_equal(back.hounsfield, ct_array())
    direction = back.geometry.direction_matrix
    assert np.abs(direction.T @ direction - np.eye(3)).max() < 1e-12
    assert back.geometry.spacing == pytest.approx((2.0, 2.0, 3.0), abs=1e-4)
    assert np.allclose(direction, np.diag([-1, -1, 1]), atol=2e-3)
    assert any("perpendicular" in w for w in told.warnings)


def test_nifti_sheared_for_good_is_refused(tmp_path):
    path = tmp_path / "scan.nii"
    matrix = np.eye(3)
    matrix[1, 2] = 0.2
    nifti_with_sform(path, matrix)
    with pytest.raises(ScanError) as caught:
        read_scan(path)
    assert caught.value.code == "scan-direction-not-orthonormal"


def test_nifti_without_orientation_warns(tmp_path):
    path = tmp_path / "scan.nii"
    sitk.WriteImage(straight().image_of(ct_array()), str(path))
    raw = bytearray(path.read_bytes())
    raw[252:256] = bytes(4)
    path.write_bytes(raw)
    told = Listener()
    read_scan(path, reporter=told)
    assert any("left and right" in w for w in told.warnings)


def test_the_same_scan_is_recognised_in_another_file(tmp_path):
    scan, other = ct_scan(), ct_scan(seed=1)
    write_scan(scan, tmp_path / "a.nrrd")
    write_scan(scan, tmp_path / "b.nii.gz")
    a, b = read_scan(tmp_path / "a.nrrd"), read_scan(tmp_path / "b.nii.gz")
    assert same_scan(a, b)
    assert not same_scan(a, other)
    check_scans_differ([a, other])
    with pytest.raises(ScanError, match=r"Cases 1 \(a\) and 3 \(b\)") as caught:
        check_scans_differ([a, other, b])
    assert caught.value.code == "scan-twice"


@pytest.mark.skipif(not SHARED_CT.is_dir(), reason="real CT is not here (../shared/ct)")
@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_a_real_scan_survives(tmp_path, ending):
    scan = read_scan(SHARED_CT / "headneck" / "FRM2_submGlTumor_ct.nii.gz")
    write_scan(scan, tmp_path / f"copy{ending}")
    back = read_scan(tmp_path / f"copy{ending}")
    assert same_scan(scan, back)
    assert greatest_shift(scan.geometry, back.geometry) < 1e-3

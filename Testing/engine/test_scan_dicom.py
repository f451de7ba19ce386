"""DICOM series, made up and real: the right slices, in the right order, at the right place."""

from __future__ import annotations

import numpy as np
import pytest
from fseft.errors import Cancelled, ScanError
from fseft.reporting import Reporter
from fseft.scan.dicom import list_series
from fseft.scan.reading import read_scan
from scan_files import SHARED_CT, ct_array, rotation, write_series, write_slice


def refused(path, **arguments) -> ScanError:
    with pytest.raises(ScanError) as caught:
        read_scan(path, **arguments)
    return caught.value


def test_series_is_ordered_by_position(tmp_path):
    folder = tmp_path / "Étude CT 1"
    write_series(folder, ct_array())
    scan = read_scan(folder)
    assert np.array_equal(scan.hounsfield, ct_array())
    assert scan.hounsfield.dtype == np.int16
    assert scan.geometry.spacing == pytest.approx((0.7, 0.8, 2.5), abs=1e-6)
    assert scan.geometry.origin == pytest.approx((-20.5, 31.25, -700.0), abs=1e-6)
    assert scan.geometry.axis_codes() == "LPS"
    assert scan.name == "Étude CT 1"


@pytest.mark.parametrize("tilt", [(90, 0, 0), (10, 20, 30), (0, 90, 15), (180, 5, 0)])
def test_oblique_series(tmp_path, tilt):
    turn = rotation(tilt)
    first = np.array([5.0, -7.0, 11.0])
    positions = [first + 1.5 * k * turn[:, 2] for k in range(6)]
    orientation = (*turn[:, 0], *turn[:, 1])
    write_series(tmp_path / "s", ct_array(), positions, orientation=orientation)
    geometry = read_scan(tmp_path / "s").geometry
    assert geometry.spacing == pytest.approx((0.7, 0.8, 1.5), abs=1e-4)
    assert geometry.origin == pytest.approx(first, abs=1e-3)
    assert np.allclose(geometry.direction_matrix, turn, atol=1e-5)


def test_any_file_of_the_series_stands_for_it(tmp_path):
    write_series(tmp_path / "s", ct_array(), uid="1.1")
    write_series(tmp_path / "s", ct_array(seed=5), uid="1.2", prefix="other")
    for name, seed in (("slice-002.dcm", 0), ("other-004.dcm", 5)):
        scan = read_scan(tmp_path / "s" / name)
        assert np.array_equal(scan.hounsfield, ct_array(seed=seed))
        assert scan.name == "s"


def test_several_series_are_named_and_can_be_chosen(tmp_path):
    write_series(tmp_path, ct_array(), uid="1.1", t0020_0011="4", t0008_103e="arterial")
    write_series(tmp_path, ct_array((4, 8, 10), 5), uid="1.2", t0020_0011="7", t0008_103e="venous", prefix="v")
    problem = refused(tmp_path)
    assert problem.code == "dicom-several-series"
    for part in ('number 4 "arterial" (6 slices', 'number 7 "venous" (4 slices', "1.1", "1.2"):
        assert part in problem.message
    assert "series=" in problem.hint
    assert read_scan(tmp_path, series="7").hounsfield.shape == (4, 8, 10)
    assert read_scan(tmp_path, series="1.1").hounsfield.shape == (6, 8, 10)
    assert refused(tmp_path, series="9").code == "dicom-no-such-series"
    assert [s.count for s in list_series(tmp_path)] == [6, 4]


def test_what_is_no_ct_volume_is_passed_over(tmp_path):
    """A localizer, an MR and a lone slice beside the only CT volume need no choice."""
    write_series(tmp_path, ct_array(), uid="1.1")
    write_series(tmp_path, ct_array((1, 8, 10)), uid="1.2", prefix="one")
    write_series(tmp_path, ct_array((5, 8, 10)), uid="1.3", prefix="mr", t0008_0060="MR")
    localizer = "ORIGINAL\\PRIMARY\\LOCALIZER"
    write_series(tmp_path, ct_array((3, 8, 10)), uid="1.4", prefix="scout", t0008_0008=localizer)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "viewer.dcm").write_text("no image either")
    assert np.array_equal(read_scan(tmp_path).hounsfield, ct_array())
    assert refused(tmp_path / "mr-001.dcm").code == "dicom-not-ct"
    assert refused(tmp_path, series="1.4").code == "dicom-localizer"


def test_localizer_in_the_same_series_is_set_aside(tmp_path):
    write_series(tmp_path, ct_array())
    write_slice(
        tmp_path / "scout.dcm", ct_array((1, 12, 9))[0], (0, 0, 0), (1, 0, 0, 0, 0, -1), t0008_0008="DERIVED\\LOCALIZER"
    )
    assert np.array_equal(read_scan(tmp_path).hounsfield, ct_array())


def test_series_in_a_subfolder_is_found(tmp_path):
    write_series(tmp_path / "study" / "series", ct_array())
    (tmp_path / "readme.txt").write_text("read me")
    assert np.array_equal(read_scan(tmp_path).hounsfield, ct_array())


def test_positions_rounded_to_a_tenth_are_even_enough(tmp_path):
    heights = np.round(1.25 * np.arange(12), 1)
    write_series(tmp_path, ct_array((12, 8, 10)), [(0, 0, h) for h in heights])
    assert read_scan(tmp_path).geometry.spacing[2] == pytest.approx(1.25, abs=0.01)


def at(heights, tilt_degrees=0.0):
    return [(0.0, np.tan(np.radians(tilt_degrees)) * h, h) for h in heights]


@pytest.mark.parametrize(
    ("positions", "code", "part"),
    [
        (at([0, 2, 4, 8, 10, 12]), "dicom-missing-slices", "1 slice(s) are missing"),
        (at([0, 2, 4, 10, 12, 18]), "dicom-missing-slices", "4 slice(s) are missing"),
        (at([0, 2, 4, 7, 9, 11]), "dicom-uneven-slices", "from 2 to 3 mm"),
        (at([0, 2, 4, 6, 8, 10], 12), "dicom-gantry-tilt", "12.0 degrees"),
        (at([0, 2, 4, 4, 6, 8]), "dicom-duplicate-slices", "1 of its 6 slices"),
        (at([0, 0, 2, 2, 4, 4]), "dicom-duplicate-slices", "every position occurs 2 times"),
        ([(0, 0, 0), (0, 0, 2), (9, 0, 4), (0, 0, 6), (0, 0, 8), (0, 0, 10)], "dicom-uneven-slices", "sideways"),
    ],
)
def test_stacks_that_are_no_volume(tmp_path, positions, code, part):
    write_series(tmp_path, ct_array(), positions)
    problem = refused(tmp_path)
    assert problem.code == code
    assert part in problem.message
    if code in ("dicom-gantry-tilt", "dicom-uneven-slices"):
        assert "Acquisition Geometry Regularization" in problem.hint


def test_damaged_slices_are_not_left_out_silently(tmp_path):
    write_series(tmp_path, ct_array())
    last = tmp_path / "slice-001.dcm"
    whole = last.read_bytes()
    for share in (0.6, 0.95):
        last.write_bytes(whole[: int(len(whole) * share)])
        assert refused(tmp_path).code in ("dicom-damaged-slice", "scan-truncated")


def test_reading_headers_can_be_cancelled(tmp_path):
    class Impatient(Reporter):
        def check_cancelled(self) -> None:
            raise Cancelled()

    write_series(tmp_path, ct_array())
    with pytest.raises(Cancelled):
        read_scan(tmp_path, reporter=Impatient())


@pytest.mark.skipif(not SHARED_CT.is_dir(), reason="real CT is not here (../shared/ct)")
def test_real_series_equals_its_nifti_twin():
    series = read_scan(SHARED_CT / "dicom" / "ts_example_dicom")
    twin = read_scan(SHARED_CT / "torso" / "ts_example_dicom_ct.nii.gz")
    assert series.hounsfield.dtype == twin.hounsfield.dtype == np.int16
    assert np.array_equal(series.hounsfield, twin.hounsfield)
    assert series.geometry.same_grid(twin.geometry, tolerance_mm=1e-3)

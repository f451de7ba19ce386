"""Every kind of file that cannot be used gets its own named error, and nothing is written."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.errors import FseftError, ResourceError
from fseft.scan.reading import read_header, read_scan
from fseft.system.memory import available_memory_bytes
from scan_files import ct_array, straight, write_series

Maker = Callable[[Path], Path]


def image(array: np.ndarray, name: str, compress: bool = False) -> Maker:
    def make(folder: Path) -> Path:
        sitk.WriteImage(straight(array.shape[:3]).image_of(array), str(folder / name), compress)
        return folder / name

    return make


def raw(content: bytes, name: str) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(name: str, share: float, compress: bool = False) -> Maker:
    def make(folder: Path) -> Path:
        path = image(ct_array(), name, compress)(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])
        return path

    return make


def damaged_gzip(folder: Path) -> Path:
    """All bytes are there, one of the compressed ones is wrong."""
    path = image(ct_array(), "scan.nii.gz")(folder)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF  # in the check sum
    path.write_bytes(content)
    return path


def metaimage(matrix: str = "1 0 0 0 1 0 0 0 1", spacing: str = "1 1 1", offset: str = "0 0 0") -> Maker:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"TransformMatrix = {matrix}\nOffset = {offset}\nElementSpacing = {spacing}\nDimSize = 10 8 6\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return raw(header.encode() + ct_array().tobytes(), "scan.mha")


def nrrd(directions: str, sizes: str = "10 8 6", kinds: str = "domain domain domain") -> Maker:
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: {sizes}\n"
        f"space directions: {directions}\nkinds: {kinds}\nendian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )
    return raw(header.encode() + ct_array().tobytes(), "scan.nrrd")


def nifti(**fields: tuple[str, tuple[float, ...]]) -> Maker:
    """A NIfTI file with header fields replaced, given as at_<byte>=(format, values)."""

    def make(folder: Path) -> Path:
        path = image(ct_array(), "scan.nii")(folder)
        content = bytearray(path.read_bytes())
        for place, (kind, values) in fields.items():
            struct.pack_into("<" + kind, content, int(place.removeprefix("at_")), *values)
        path.write_bytes(content)
        return path

    return make


def data_removed(name: str, data: str) -> Maker:
    def make(folder: Path) -> Path:
        path = image(ct_array(), name)(folder)
        (folder / data).unlink()
        return path

    return make


def data_cut(name: str, data: str) -> Maker:
    def make(folder: Path) -> Path:
        path = image(ct_array(), name)(folder)
        (folder / data).write_bytes((folder / data).read_bytes()[:-100])
        return path

    return make


def series(shape: tuple[int, int, int] = (6, 8, 10), **tags: str) -> Maker:
    def make(folder: Path) -> Path:
        write_series(folder, ct_array(shape), **tags)
        return folder

    return make


def folder_with_text(folder: Path) -> Path:
    (folder / "readme.txt").write_text("nothing here")
    return folder


def holes(value: float) -> np.ndarray:
    array = ct_array().astype(np.float32)
    array[2, 3, 4] = value
    return array


def mr_like() -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, 150.0, (6, 8, 10)).astype(np.uint16)


VECTOR = np.stack([ct_array()] * 3, axis=-1)

BAD: dict[str, tuple[Maker, str]] = {
    "missing file": (lambda folder: folder / "nowhere.nii.gz", "scan-missing"),
    "missing folder": (lambda folder: folder / "nowhere", "scan-missing"),
    "empty folder": (lambda folder: folder, "dicom-none"),
    "folder without DICOM": (folder_with_text, "dicom-none"),
    "text file": (raw(b"hello", "scan.txt"), "scan-unknown-format"),
    "picture": (raw(b"\x89PNG\r\n\x1a\n", "scan.png"), "scan-unknown-format"),
    "file without ending": (raw(b"hello", "scan"), "dicom-none"),
    "empty file": (raw(b"", "scan.nii.gz"), "scan-truncated"),
    "text called NRRD": (raw(b"hello", "scan.nrrd"), "scan-unreadable"),
    "text called NIfTI": (raw(b"hello " * 100, "scan.nii"), "scan-unreadable"),
    "text called compressed NIfTI": (raw(b"hello " * 100, "scan.nii.gz"), "scan-unreadable"),
    "compressed text called NIfTI": (raw(gzip.compress(b"hello " * 100), "scan.nii.gz"), "scan-unreadable"),
    "truncated gzip": (cut("scan.nii.gz", 0.5), "scan-truncated"),
    "gzip cut in its check sum": (cut("scan.nii.gz", 0.995), "scan-truncated"),
    "gzip with a wrong byte": (damaged_gzip, "scan-truncated"),
    "truncated NIfTI": (cut("scan.nii", 0.9), "scan-truncated"),
    "NIfTI cut in its header": (cut("scan.nii", 0.1), "scan-truncated"),
    "truncated NRRD": (cut("scan.nrrd", 0.9), "scan-truncated"),
    "truncated compressed NRRD": (cut("scan.nrrd", 0.9, True), "scan-truncated"),
    "truncated MetaImage": (cut("scan.mha", 0.9), "scan-truncated"),
    "truncated compressed MetaImage": (cut("scan.mha", 0.9, True), "scan-truncated"),
    "MHD without its data": (data_removed("scan.mhd", "scan.raw"), "scan-data-missing"),
    "NHDR without its data": (data_removed("scan.nhdr", "scan.raw"), "scan-data-missing"),
    "MHD with truncated data": (data_cut("scan.mhd", "scan.raw"), "scan-truncated"),
    "NHDR with truncated data": (data_cut("scan.nhdr", "scan.raw"), "scan-truncated"),
    "2-D": (
        lambda folder: (
            sitk.WriteImage(sitk.GetImageFromArray(ct_array()[0]), str(folder / "a.mha")),
            folder / "a.mha",
        )[1],
        "scan-2d",
    ),
    "one slice": (image(ct_array((1, 8, 10)), "scan.nrrd"), "scan-2d"),
    "4-D": (
        lambda folder: (
            sitk.WriteImage(
                sitk.GetImageFromArray(np.stack([ct_array()] * 2), isVector=False), str(folder / "a.nii.gz")
            ),
            folder / "a.nii.gz",
        )[1],
        "scan-4d",
    ),
    "colour": (
        lambda folder: (
            sitk.WriteImage(sitk.GetImageFromArray(VECTOR.astype(np.uint8), isVector=True), str(folder / "a.nrrd")),
            folder / "a.nrrd",
        )[1],
        "scan-vector",
    ),
    "NaN": (image(holes(np.nan), "scan.nii.gz"), "scan-not-finite"),
    "infinite": (image(holes(np.inf), "scan.nrrd"), "scan-not-finite"),
    "all zero": (image(np.zeros((6, 8, 10), np.int16), "scan.nrrd"), "scan-constant"),
    "all air": (image(np.full((6, 8, 10), -1024, np.int16), "scan.nii.gz"), "scan-constant"),
    "labelmap": (image((ct_array() > 0).astype(np.uint8), "scan.nii.gz"), "scan-not-ct"),
    "labelmap of 16 bits": (image((ct_array() > 0).astype(np.int16), "scan.nii.gz"), "scan-not-ct"),
    "normalised to 0..1": (
        image(((ct_array() + 1024) / 1200).clip(0, 1).astype(np.float32), "scan.nrrd"),
        "scan-not-ct",
    ),
    "z-scores": (image((ct_array() / 300).astype(np.float32), "scan.nrrd"), "scan-not-ct"),
    "windowed to 8 bits": (image(((ct_array() + 1024) // 5).clip(0, 255).astype(np.uint8), "s.mha"), "scan-not-ct"),
    "values far out": (image(ct_array().astype(np.int32) * 100, "scan.mha"), "scan-not-ct"),
    "MR": (image(mr_like(), "scan.nii.gz"), "scan-not-ct"),
    "zero spacing": (metaimage(spacing="1 0 1"), "scan-spacing"),
    "negative spacing": (metaimage(spacing="1 -1 1"), "scan-spacing"),
    "absurd spacing": (metaimage(spacing="1 1000000 1"), "scan-spacing"),
    "spacing in metres": (metaimage(spacing="0.0007 0.0007 0.0025"), "scan-spacing"),
    "NIfTI with a negative voxel size": (nifti(at_76=("4f", (1, -1, 1, 1)), at_254=("h", (0,))), "scan-spacing"),
    "singular direction": (metaimage(matrix="1 0 0 0 0 0 0 0 1"), "scan-direction-singular"),
    "two equal axes": (nrrd("(1,0,0) (1,0,0) (0,0,1)"), "scan-direction-singular"),
    "NIfTI with a singular affine": (
        nifti(at_252=("2h", (0, 1)), at_280=("12f", (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0))),
        "scan-direction-singular",
    ),
    "sheared MetaImage": (metaimage(matrix="1 0 0 0.3 1 0 0 0 1"), "scan-direction-not-orthonormal"),
    "sheared NRRD": (nrrd("(1,0,0) (0.3,1,0) (0,0,1)"), "scan-direction-not-orthonormal"),
    "direction with NaN": (nrrd("(1,0,0) (0,nan,0) (0,0,1)"), "scan-direction-singular"),
    "MR series": (series(t0008_0060="MR"), "dicom-not-ct"),
    "localizer": (series(t0008_0008="ORIGINAL\\PRIMARY\\LOCALIZER"), "dicom-localizer"),
    "two slices": (series((2, 8, 10)), "dicom-too-few-slices"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_scan_has_its_own_error(tmp_path, kind, capfd):
    make, code = BAD[kind]
    path = make(tmp_path)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    with pytest.raises(FseftError) as caught:
        read_scan(path)
    problem = caught.value
    assert problem.code == code, str(problem)
    for sentence in (problem.message, problem.hint):
        assert len(sentence) > 20
        assert sentence.endswith(".")
    assert "ITK" not in str(problem)
    assert "Traceback" not in capfd.readouterr().err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_there_are_enough_kinds():
    assert len(BAD) >= 30


def test_scan_larger_than_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = image(ct_array(), "scan.nrrd")(tmp_path)
    voxels = ct_array().size

    def not_called(*_arguments):
        raise AssertionError("voxels were read")

    with monkeypatch.context() as patched:
        patched.setattr("fseft.scan.reading.pixels", not_called)
        with pytest.raises(ResourceError) as caught:
            read_scan(path, available=lambda: 4 * voxels)
    assert caught.value.code == "scan-too-large"
    assert read_scan(path, available=lambda: 10 * voxels).hounsfield.size == voxels
    assert read_scan(path, available=lambda: None).hounsfield.size == voxels


def test_header_that_promises_terabytes_is_refused(tmp_path):
    path = nrrd("(1,0,0) (0,1,0) (0,0,1)", sizes="60000 60000 60000")(tmp_path)
    with pytest.raises(FseftError) as caught:
        read_scan(path)
    assert caught.value.code == "scan-too-large"


def test_series_larger_than_memory_is_refused(tmp_path):
    write_series(tmp_path, ct_array())
    with pytest.raises(ResourceError) as caught:
        read_scan(tmp_path, available=lambda: 100)
    assert caught.value.code == "scan-too-large"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("missing file", "scan-missing"),
        ("text file", "scan-unknown-format"),
        ("text called NRRD", "scan-unreadable"),
        ("NHDR without its data", "scan-data-missing"),
        ("empty file", "scan-truncated"),
    ],
)
def test_header_alone_has_the_same_errors(tmp_path, kind, code):
    with pytest.raises(FseftError) as caught:
        read_header(BAD[kind][0](tmp_path))
    assert caught.value.code == code


def test_header_alone_needs_no_voxels(tmp_path):
    header = read_header(cut("scan.nrrd", 0.9)(tmp_path))
    assert header.size == (10, 8, 6)
    assert header.spacing == pytest.approx(straight().spacing)
    assert header.bytes_per_component == 2


def test_the_machine_tells_its_memory():
    told = available_memory_bytes()
    assert told is None or 1e6 < told < 1e14

"""Reading scans: one function for every format, with errors that say what to do.

Formats: NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd) and DICOM series (a folder, or any
file of the series). SimpleITK reads the voxels; what it accepts silently is checked before and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from fseft.errors import ScanError
from fseft.reporting import SILENT, Reporter
from fseft.scan.checks import Header, check_shape, checked_geometry, header_of, to_hounsfield
from fseft.scan.geometry import Geometry
from fseft.scan.memory import AvailableBytes, require_memory
from fseft.scan.native_path import native_path
from fseft.scan.nifti import (
    NiftiHeader,
    check_nifti_voxels,
    lps_geometry,
    read_nifti_header,
    truncated,
    without_orientation,
)
from fseft.scan.scan import Scan

#: Endings of the file formats, longest first; DICOM files are known by their content.
FILE_ENDINGS: tuple[str, ...] = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def read_scan(
    path: Path,
    series: str | None = None,
    name: str | None = None,
    reporter: Reporter = SILENT,
    available: AvailableBytes | None = None,
) -> Scan:
    """Read a CT.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with a DICOM series, or one file of such a series.
        series: which DICOM series to take when there are several: its UID or its number.
        name: what to call the scan; the file's or folder's name by default.
        reporter: hears warnings, and progress while DICOM headers are read.
        available: tells the free memory in bytes; the machine is asked by default.

    Returns:
        The scan, int16 where all values are whole numbers, else float32, its geometry as in the file.

    Raises:
        ScanError: with one of the codes listed in :mod:`fseft.scan.checks`, :mod:`fseft.scan.dicom` and here
            ("scan-missing", "scan-unreadable", "scan-unknown-format", "scan-data-missing", "scan-truncated").
        ResourceError: "scan-too-large" when the scan does not fit in memory.
    """
    path = Path(path)
    array, geometry, _ = read_volume(path, series, reporter, available)
    named = path if ending_of(path) or path.is_dir() else path.parent  # DICOM files are named by their folder
    return Scan(to_hounsfield(array, path.name, reporter), geometry, name or stem_of(named))


def read_volume(
    path: Path,
    series: str | None = None,
    reporter: Reporter = SILENT,
    available: AvailableBytes | None = None,
    labelmap: bool = False,
) -> tuple[np.ndarray, Geometry, Header]:
    """Read any 3-D volume, a scan or a labelmap, without judging its values.

    Args:
        path: as for :func:`read_scan`.
        series: as for :func:`read_scan`.
        reporter: hears warnings.
        available: tells the free memory in bytes.
        labelmap: whether it is one: several values a voxel are fine then and make a (z, y, x, layers) array.

    Returns:
        The (z, y, x) array as stored (rescale applied), the checked geometry and the file's header.

    Raises:
        ScanError, ResourceError: see :func:`read_scan`.
    """
    path = Path(path)
    _check_exists(path)
    ending = ending_of(path)
    if path.is_dir() or (not ending and _may_be_dicom(path)):
        from fseft.scan.dicom import read_dicom  # it uses this module's helpers

        return read_dicom(path, series, reporter, available)
    if not ending:
        raise _unknown_format(path)
    _check_readable(path)
    with quiet():
        return _read_file(path, ending, reporter, available, labelmap)


def read_header(path: Path) -> Header:
    """What a NIfTI, NRRD or MetaImage file says of itself, without reading its voxels or judging what it says.

    Raises:
        ScanError: "scan-missing", "scan-unknown-format", "scan-truncated", "scan-data-missing", "scan-unreadable".
    """
    path = Path(path)
    _check_exists(path)
    ending = ending_of(path)
    if not ending:
        raise _unknown_format(path)
    _check_readable(path)
    _check_data_file(path, ending)
    reader = _reader(path)
    with quiet():
        try:
            reader.ReadImageInformation()
        except RuntimeError as problem:
            raise _unreadable(path, problem) from problem
        return header_of(reader)


def ending_of(path: Path) -> str:
    """The format's ending in lower case (".nii.gz", ".seg.nrrd"), or "" when it is none of FILE_ENDINGS."""
    lower = path.name.lower()
    return next((ending for ending in FILE_ENDINGS if lower.endswith(ending)), "")


def stem_of(path: Path) -> str:
    """The name without the format's ending: "case 1.5mm.nii.gz" gives "case 1.5mm"."""
    ending = ending_of(path)
    if ending:
        return path.name[: -len(ending)] or path.name
    return path.resolve().name or "scan"


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the image library from writing warnings to the error stream; what matters is raised as an error."""
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(before)


def pixels(reader: sitk.ImageFileReader, header: Header) -> np.ndarray:
    """The voxels of an inspected reader, trailing dimensions of one voxel dropped."""
    image = reader.Execute()
    array = sitk.GetArrayFromImage(image)
    shape = header.size[2::-1] + ((header.components,) if header.components > 1 else ())
    return array.reshape(shape)


def memory_needed(header: Header) -> int:
    """Bytes at the peak of reading: the library's image, our copy, and the result as float32 or int16."""
    stored = header.voxels * header.components * header.bytes_per_component
    result = header.voxels * header.components * min(4, header.bytes_per_component)
    return 2 * stored + result


def _read_file(
    path: Path, ending: str, reporter: Reporter, available: AvailableBytes | None, labelmap: bool
) -> tuple[np.ndarray, Geometry, Header]:
    nifti = read_nifti_header(path) if ending in (".nii", ".nii.gz") else None
    _check_data_file(path, ending)
    reader = _reader(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as problem:
        if nifti is not None and "orthonormal" in str(problem):
            return _read_sheared_nifti(path, nifti, reporter, available, labelmap)
        if nifti is not None:
            check_nifti_voxels(path, nifti)  # damage near the header says what it is
        raise _unreadable(path, problem) from problem
    header = header_of(reader)
    check_shape(header, path.name, labelmap)
    geometry = checked_geometry(header, path.name, reporter)
    require_memory(memory_needed(header), f"Reading {path.name}", available)
    if nifti is not None:
        check_nifti_voxels(path, nifti)
        if not nifti.has_orientation:
            reporter.log(f"{path.name} does not say where left and right are; check the result's side.", "warning")
    try:
        return pixels(reader, header), geometry, header
    except RuntimeError as problem:
        # The header was fine, so it is the voxels that fail, whatever the library's message says.
        raise truncated(path.name) from problem


def _read_sheared_nifti(
    path: Path, nifti: NiftiHeader, reporter: Reporter, available: AvailableBytes | None, labelmap: bool
) -> tuple[np.ndarray, Geometry, Header]:
    """The library refuses any deviation from perpendicular axes; rounding is repaired here, shear is refused."""
    check_nifti_voxels(path, nifti)
    spacing, origin, direction = lps_geometry(nifti.affine)
    with without_orientation(path, nifti) as copy:
        reader = _reader(copy)
        try:
            reader.ReadImageInformation()
            header = header_of(reader)
            check_shape(header, path.name, labelmap)
            header = _with_geometry(header, spacing, origin, direction)
            geometry = checked_geometry(header, path.name, reporter)
            require_memory(memory_needed(header), f"Reading {path.name}", available)
            return pixels(reader, header), geometry, header
        except RuntimeError as problem:
            raise _unreadable(path, problem) from problem


def _with_geometry(header: Header, spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> Header:
    return replace(
        header,
        size=header.size[:3],
        spacing=tuple(float(s) if s > 0 else 1.0 for s in spacing),  # a zero column is told as a direction's fault
        origin=tuple(float(o) for o in origin),
        direction=tuple(float(d) for d in direction.ravel()),
    )


def _reader(path: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetFileName(native_path(path))
    return reader


def _check_exists(path: Path) -> None:
    if not path.exists():
        raise ScanError(
            "scan-missing",
            f"There is no file or folder {path.name} in {path.absolute().parent}.",
            "Check the path; the file may have been moved or renamed.",
        )


def _unknown_format(path: Path) -> ScanError:
    return ScanError(
        "scan-unknown-format",
        f"{path.name} is in no format that FSEFT reads.",
        "Use NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), or a folder with a DICOM series.",
    )


def _check_readable(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as problem:
        raise ScanError(
            "scan-unreadable",
            f"{path.name} could not be opened: {problem.strerror or problem}.",
            "Check that you may read the file and that its drive is connected.",
        ) from problem
    if empty:
        raise truncated(path.name, 0.0)


def _unreadable(path: Path, problem: RuntimeError) -> ScanError:
    """The library's report is long and names its own source files; only what it is about is told on."""
    text = str(problem)
    if "space" in text and "direction" in text:
        return ScanError(
            "scan-direction-singular",
            f"{path.name} has axis directions that do not span space, so nobody can tell where its voxels are.",
            "Export the scan again from its source; this file's orientation is lost.",
        )
    return ScanError(
        "scan-unreadable",
        f"{path.name} could not be read: it is damaged, or not what its name says.",
        "Open it in 3D Slicer to check it, and save it again as NIfTI or NRRD.",
    )


_DATA_FILE_FIELD = {
    ".mhd": re.compile(rb"^\s*ElementDataFile\s*=\s*(.+?)\s*$", re.MULTILINE),
    ".nhdr": re.compile(rb"^\s*data ?file:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE),
}


def _check_data_file(path: Path, ending: str) -> None:
    """A header with its voxels in another file is often copied alone; the library's message does not say so."""
    field = _DATA_FILE_FIELD.get(ending)
    if field is None:
        return
    with path.open("rb") as stream:
        found = field.search(stream.read(1 << 16))
    data = found.group(1).decode("utf-8", "replace") if found else ""
    if not data or data.split()[0].upper() in ("LOCAL", "LIST") or "%" in data:
        return
    if not (path.parent / data).exists():
        raise ScanError(
            "scan-data-missing",
            f"{path.name} keeps its voxels in {data}, and that file is not there.",
            "Copy both files into the same folder under their original names.",
        )


def _may_be_dicom(path: Path) -> bool:
    """Whether a file without a known ending could be DICOM: by the mark at byte 128, or by a usual ending or none."""
    _check_readable(path)
    with path.open("rb") as stream:
        start = stream.read(132)
    return start[128:132] == b"DICM" or path.suffix.lower() in (".dcm", ".ima", ".dic", ".dicom", "")

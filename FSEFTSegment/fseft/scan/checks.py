"""What a volume must be before the engine works with it, and the errors that say what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from fseft.errors import ScanError
from fseft.reporting import Reporter
from fseft.scan.geometry import Geometry

#: A direction whose columns' dot products stay below this is kept to the last bit (float32 headers round at 1e-7).
EXACT_TOLERANCE = 1e-4
#: Up to here (0.57 degrees, or 1 % of an axis' length) the nearest orthonormal direction is taken, with a warning.
NEAR_TOLERANCE = 1e-2
#: Plausible voxel sizes of a CT in mm.
SPACING_RANGE_MM = (0.01, 50.0)
#: Padding values such as -32768 occur in real scans; beyond this a value is no HU and no padding either.
LARGEST_HU = 40_000
#: A CT shows at least this spread between air or fat and the rest, in HU.
SMALLEST_SPREAD_HU = 100

_EXPORT_HINT = "Export the series again from 3D Slicer or the PACS, as one 3-D volume in NIfTI or NRRD."


@dataclass(frozen=True)
class Header:
    """What a file says of its image before any voxel is read; one entry per dimension of the file."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    components: int
    pixel_id: int
    metadata: dict[str, str]

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return int(np.prod([int(n) for n in self.size], dtype=object))

    @property
    def bytes_per_component(self) -> int:
        """Bytes of one component of a voxel as the file's reader will hold it."""
        bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(self.pixel_id))
        return int(bits.group(1)) // 8 if bits else 8


def header_of(reader: sitk.ImageFileReader) -> Header:
    """The header of a reader whose image information has been read."""
    keys = reader.GetMetaDataKeys()
    return Header(
        size=tuple(int(n) for n in reader.GetSize()),
        spacing=tuple(float(s) for s in reader.GetSpacing()),
        origin=tuple(float(o) for o in reader.GetOrigin()),
        direction=tuple(float(d) for d in reader.GetDirection()),
        components=int(reader.GetNumberOfComponents()),
        pixel_id=int(reader.GetPixelID()),
        metadata={key: reader.GetMetaData(key) for key in keys},
    )


def check_shape(header: Header, what: str, labelmap: bool = False) -> None:
    """Refuse everything that is not one 3-D volume; trailing dimensions of one voxel are let through.

    Args:
        header: the file's header.
        what: the file's name for messages.
        labelmap: whether it is one: layers of a segmentation are fine then, and a crop of a single slice.

    Raises:
        ScanError: "scan-2d", "scan-4d", "scan-vector".
    """
    size = " x ".join(str(n) for n in header.size)
    if len(header.size) < 3 or min(header.size[:3]) < (1 if labelmap else 2):
        raise ScanError(
            "scan-2d",
            f"{what} is a single image of {size} voxels, not a volume.",
            "Choose the whole series as a 3-D volume (for DICOM, its folder).",
        )
    if max(header.size[3:], default=1) > 1:
        raise ScanError(
            "scan-4d",
            f"{what} has {len(header.size)} dimensions ({size}); a scan has three.",
            "Export the one time point or phase you want as a 3-D volume.",
        )
    if header.components > 1 and not labelmap:
        raise ScanError(
            "scan-vector",
            f"{what} holds {header.components} values in each voxel (colour or vectors), not one Hounsfield value.",
            _EXPORT_HINT,
        )


def checked_geometry(header: Header, what: str, reporter: Reporter) -> Geometry:
    """The header's geometry, refused when it cannot be a scan's, repaired when it is off by rounding.

    Raises:
        ScanError: "scan-spacing", "scan-origin", "scan-direction-singular", "scan-direction-not-orthonormal".
    """
    spacing, origin = header.spacing[:3], header.origin[:3]
    low, high = SPACING_RANGE_MM
    if not all(low <= s <= high for s in spacing):  # false for nan as well
        told = " x ".join(f"{s:g}" for s in spacing)
        raise ScanError(
            "scan-spacing",
            f"{what} gives a voxel size of {told} mm, which cannot be right for a CT.",
            "Correct the spacing (in mm, greater than 0), for example in Slicer's Volumes module, and save it again.",
        )
    if not np.isfinite(origin).all():
        raise ScanError(
            "scan-origin",
            f"{what} has an origin that is not a position: {tuple(origin)}.",
            "Correct the origin, for example in Slicer's Volumes module, and save it again.",
        )
    dimension = len(header.size)
    matrix = np.asarray(header.direction, dtype=np.float64).reshape(dimension, dimension)[:3, :3]
    straight = checked_direction(matrix, what, reporter)
    return Geometry(
        size=header.size[:3],  # type: ignore[arg-type]
        spacing=_plain(spacing),  # type: ignore[arg-type]
        origin=_plain(origin),  # type: ignore[arg-type]
        direction=_plain(straight.ravel()),  # type: ignore[arg-type]
    )


def _plain(values: Iterable[float]) -> tuple[float, ...]:
    """Python floats without negative zeros, so that equal geometries are written, and digested, the same."""
    return tuple(float(v) + 0.0 for v in values)


def checked_direction(matrix: np.ndarray, what: str, reporter: Reporter) -> np.ndarray:
    """A (3, 3) direction with orthonormal columns: the given one, or the nearest when it is nearly so.

    Raises:
        ScanError: "scan-direction-singular", "scan-direction-not-orthonormal".
    """
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-3:
        raise ScanError(
            "scan-direction-singular",
            f"{what} has axis directions that do not span space, so nobody can tell where its voxels are.",
            "Export the scan again from its source; this file's orientation is lost.",
        )
    deviation = float(np.abs(matrix.T @ matrix - np.eye(3)).max())
    if deviation <= EXACT_TOLERANCE:
        return matrix
    if deviation > NEAR_TOLERANCE:
        raise ScanError(
            "scan-direction-not-orthonormal",
            f"{what} has sheared axes (off by {deviation:.2g}), as a tilted gantry or an affine registration leaves.",
            'Regularise it with "Acquisition Geometry Regularization" in Slicer\'s DICOM module,'
            " or resample it on a straight grid, and save it again.",
        )
    left, _, right = np.linalg.svd(matrix)
    reporter.log(f"{what} has axes that are not quite perpendicular (off by {deviation:.2g}); straightened.", "warning")
    return left @ right


def check_finite(array: np.ndarray, what: str) -> None:
    """Refuse NaN and infinite voxels, slice by slice so that no mask of the whole volume is made.

    Raises:
        ScanError: "scan-not-finite".
    """
    if array.dtype.kind != "f":
        return
    bad = sum(int(array[k].size - np.isfinite(array[k]).sum()) for k in range(array.shape[0]))
    if bad:
        raise not_finite(what, bad)


def not_finite(what: str, count: int) -> ScanError:
    """The error for voxels that are no numbers."""
    return ScanError(
        "scan-not-finite",
        f"{what} holds {count} voxels that are NaN or infinite.",
        "Replace them, for example by -1024 HU (air), and save the scan again.",
    )


def to_hounsfield(array: np.ndarray, what: str, reporter: Reporter) -> np.ndarray:
    """Stored values as int16 where every value fits exactly, else as float32; refused when they are no HU.

    Args:
        array: (z, y, x), any numeric type, rescale slope and intercept already applied.
        what: the file's name for messages.
        reporter: told when an offset was removed.

    Returns:
        (z, y, x) contiguous array, int16 or float32, in HU.

    Raises:
        ScanError: "scan-not-finite", "scan-constant", "scan-not-ct".
    """
    check_finite(array, what)
    low, high = float(array.min()), float(array.max())
    _check_range(array, low, high, what)
    offset = 0
    if low >= 0:
        if not _has_stored_offset(array):
            raise _not_ct(what, low, high, "a CT always has fat and air, below 0")
        offset = -1024
        low, high = low + offset, high + offset
        reporter.log(f"{what} stores HU + 1024 without saying so; 1024 was subtracted.", "warning")
    fits = low >= -32768 and high <= 32767
    if fits and (array.dtype.kind in "iub" or _whole_numbers(array)):
        if offset:
            return (array.astype(np.int32) + offset).astype(np.int16)
        return np.ascontiguousarray(array, dtype=np.int16)
    return np.ascontiguousarray(array, dtype=np.float32) + np.float32(offset)


def _check_range(array: np.ndarray, low: float, high: float, what: str) -> None:
    if low == high:
        raise ScanError(
            "scan-constant",
            f"{what} is empty: every voxel is {low:g}.",
            "Check that the right file was chosen, and export the scan again.",
        )
    if array.dtype.itemsize == 1:
        raise _not_ct(what, low, high, "8-bit voxels cannot hold HU")
    if high > LARGEST_HU or low < -LARGEST_HU:
        raise _not_ct(what, low, high, "no tissue or metal is that far out")
    if high - low < SMALLEST_SPREAD_HU:
        raise _not_ct(what, low, high, "the values look normalised")


def _not_ct(what: str, low: float, high: float, why: str) -> ScanError:
    return ScanError(
        "scan-not-ct",
        f"{what} is not a CT in Hounsfield units: its values run from {low:g} to {high:g}, and {why}.",
        "Choose the CT itself, not a labelmap, an MR, or a windowed or normalised copy.",
    )


def _has_stored_offset(array: np.ndarray) -> bool:
    """Whether values without negatives are clearly HU + 1024: air near 0, and most of the rest at fat or muscle.

    MR has no such peak; its tissues spread over the whole range.
    """
    step = max(1, round((array.size / 2e6) ** (1 / 3)))
    sample = np.asarray(array[::step, ::step, ::step], dtype=np.float32)
    rest = sample[sample > 200]
    if rest.size < 0.02 * sample.size or rest.size == sample.size:
        return False
    air = float((sample <= 60).mean())
    soft = float(((rest > 850) & (rest < 1250)).mean())
    return air > 0.02 and soft > 0.6


def _whole_numbers(array: np.ndarray) -> bool:
    return all(bool((np.rint(plane) == plane).all()) for plane in array)

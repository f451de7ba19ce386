"""What SimpleITK does not tell about NIfTI files: missing voxels, a missing orientation, sheared axes.

The image library reads a truncated NIfTI file without complaint, the rest of the volume being whatever was in
memory, and reads NaN as 0 HU; so the voxels are looked through here, and the check sum of compressed files is tested.
"""

from __future__ import annotations

import gzip
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from fseft.errors import ScanError
from fseft.scan.checks import not_finite

_HEADER_BYTES = 348
_FLOAT_KINDS = {16: "f4", 64: "f8"}
_PIECE_BYTES = 1 << 20  # a multiple of every voxel size
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI-1 header that are checked here.

    Attributes:
        data_start: byte of the uncompressed file where the voxels begin.
        data_end: bytes the uncompressed file has at least.
        float_type: type of the voxels when they are floating-point numbers, else None.
        qform_code, sform_code: 0 means that this way of giving the orientation is not used.
        affine: (3, 4) voxel index to RAS mm, from the sform.
    """

    data_start: int
    data_end: int
    float_type: np.dtype | None
    qform_code: int
    sform_code: int
    affine: np.ndarray

    @property
    def has_orientation(self) -> bool:
        """Whether the file says where left and right are."""
        return self.qform_code > 0 or self.sform_code > 0


def read_nifti_header(path: Path) -> NiftiHeader | None:
    """The header of a NIfTI-1 file, compressed or not; None when it is something else.

    Raises:
        ScanError: "scan-truncated" when the file ends within the header.
    """
    try:
        with _opened(path) as stream:
            raw = stream.read(_HEADER_BYTES)
    except (EOFError, OSError, zlib.error) as problem:
        raise truncated(path.name) from problem
    if len(raw) < 4:
        return None
    for order in ("<", ">"):
        if struct.unpack_from(order + "i", raw)[0] == _HEADER_BYTES:
            if len(raw) < _HEADER_BYTES:
                raise truncated(path.name)
            return _parse(raw, order)
    return None


def check_nifti_voxels(path: Path, header: NiftiHeader) -> None:
    """Refuse a file with fewer voxels than its header says, damaged compression, NaN or infinite voxels.

    All of these pass the image library without a word; NaN and infinite voxels become zero, which is water.

    Raises:
        ScanError: "scan-truncated", "scan-not-finite".
    """
    length, bad = 0, 0
    if header.float_type is None and not _is_gzip(path):
        length = path.stat().st_size
    else:
        try:
            with _opened(path) as stream:
                length = len(stream.read(header.data_start))
                while piece := stream.read(_PIECE_BYTES):
                    length += len(piece)
                    bad += _not_finite(piece, header)
        except (EOFError, OSError, zlib.error) as problem:
            raise truncated(path.name, length / header.data_end) from problem
    if length < header.data_end:
        raise truncated(path.name, length / header.data_end)
    if bad:
        raise not_finite(path.name, bad)


def _not_finite(piece: bytes, header: NiftiHeader) -> int:
    if header.float_type is None:
        return 0
    whole = len(piece) - len(piece) % header.float_type.itemsize
    values = np.frombuffer(piece[:whole], dtype=header.float_type)
    return int(values.size - np.isfinite(values).sum())


@contextmanager
def without_orientation(path: Path, header: NiftiHeader) -> Iterator[Path]:
    """A temporary copy whose orientation fields are cleared, for a reader that refuses the ones it has."""
    with tempfile.TemporaryDirectory(prefix="fseft-") as folder:
        copy = Path(folder) / "scan.nii"
        with _opened(path) as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        with copy.open("rb+") as target:
            target.seek(252)  # qform_code and sform_code, two 16-bit numbers
            target.write(bytes(4))
        yield copy


def lps_geometry(affine: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spacing (3,) in mm, origin (3,) in LPS mm and direction (3, 3) in LPS of a (3, 4) RAS affine.

    The direction's columns have unit length and are otherwise as the file gives them; a column of zeros stays so.
    """
    lps = np.diag([-1.0, -1.0, 1.0]) @ np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    return spacing, lps[:, 3], lps[:, :3] / np.where(spacing > 0, spacing, 1.0)


def truncated(name: str, share: float | None = None) -> ScanError:
    """The error for a file whose voxels are not all there."""
    told = "" if share is None else f" (about {min(99, int(100 * share))} % could be read)"
    return ScanError(
        "scan-truncated",
        f"{name} is incomplete or damaged: not all of its voxels are there{told}.",
        "Copy, download or export it again.",
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == _GZIP_MAGIC


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _parse(raw: bytes, order: str) -> NiftiHeader:
    dimensions = struct.unpack_from(order + "8h", raw, 40)
    kind, bits = struct.unpack_from(order + "2h", raw, 70)
    offset = struct.unpack_from(order + "f", raw, 108)[0]
    qform, sform = struct.unpack_from(order + "2h", raw, 252)
    rows = struct.unpack_from(order + "12f", raw, 280)
    voxels = 1
    for count in dimensions[1 : 1 + max(0, min(7, dimensions[0]))]:
        voxels *= max(1, count)
    start = max(int(offset) if np.isfinite(offset) else 0, _HEADER_BYTES)
    return NiftiHeader(
        data_start=start,
        data_end=start + (voxels * max(0, bits) + 7) // 8,
        float_type=np.dtype(order + _FLOAT_KINDS[kind]) if kind in _FLOAT_KINDS else None,
        qform_code=qform,
        sform_code=sform,
        affine=np.asarray(rows, dtype=np.float64).reshape(3, 4),
    )

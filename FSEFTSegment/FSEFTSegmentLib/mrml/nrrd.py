"""NRRD files with the exact geometry, written and read in short steps.

Slicer's own storage nodes block the interface for as long as a large file takes, ignore parent transforms, and
read only on the main thread; a raw NRRD is simple enough to do it in slabs.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from fseft.errors import ScanError
from fseft.files import replace_whole

from FSEFTSegmentLib.mrml.grid import Grid, grid_of_lps
from FSEFTSegmentLib.steps import Steps

_TYPES = {
    "int8": "signed char",
    "uint8": "unsigned char",
    "int16": "short",
    "uint16": "unsigned short",
    "int32": "int",
    "uint32": "unsigned int",
    "int64": "long long int",
    "uint64": "unsigned long long int",
    "float32": "float",
    "float64": "double",
}
_DTYPES = {
    **{name: dtype for dtype, name in _TYPES.items()},
    **{dtype: dtype for dtype in _TYPES if dtype.startswith(("int", "uint"))},
    **{f"{dtype}_t": dtype for dtype in _TYPES if dtype.startswith(("int", "uint"))},
    "uchar": "uint8",
    "ushort": "uint16",
    "unsigned long": "uint64",
    "long": "int64",
    "uint": "uint32",
    "longlong": "int64",
}
STEP_BYTES = 16 << 20


@dataclass(frozen=True)
class NrrdFile:
    """A three-dimensional NRRD file.

    Attributes:
        array: (k, j, i).
        grid: its grid.
        fields: the key/value pairs of its header.
    """

    array: np.ndarray
    grid: Grid
    fields: dict[str, str] = field(default_factory=dict)


def write_nrrd_steps(
    path: Path,
    slabs: Iterable[np.ndarray],
    dtype: np.dtype,
    grid: Grid,
    fields: Mapping[str, str] | None = None,
    compress: bool = False,
) -> Steps[None]:
    """Write a volume; the file appears when it is whole.

    Args:
        path: ends in ``.nrrd``.
        slabs: consecutive parts of the (k, j, i) array along k.
        dtype: of the voxels.
        grid: geometry of the whole.
        fields: key/value pairs for the header, written as UTF-8.
        compress: gzip the voxels.

    Raises:
        ResourceError: "disk-full", "cannot-write".
    """
    little = np.dtype(dtype).newbyteorder("<")
    total, done = float(np.prod(grid.size)) * little.itemsize, 0.0
    with replace_whole(path) as partial, partial.open("wb") as stream:
        stream.write(_header(np.dtype(dtype), grid, fields or {}, compress).encode("utf-8"))
        packer = zlib.compressobj(1, zlib.DEFLATED, 31) if compress else None
        for slab in slabs:
            flat = np.ascontiguousarray(slab, dtype=little).reshape(-1).view(np.uint8).data
            for start in range(0, len(flat), STEP_BYTES):
                part = flat[start : start + STEP_BYTES]
                stream.write(packer.compress(part) if packer else part)
                done += len(part)
                yield min(1.0, done / total)
        if packer:
            stream.write(packer.flush())


def _header(dtype: np.dtype, grid: Grid, fields: Mapping[str, str], compress: bool) -> str:
    matrix = grid.ijk_to_lps
    # repr keeps every bit of a float; the default text of most writers does not.
    axes = " ".join("(" + ",".join(repr(float(v)) for v in matrix[:3, axis]) + ")" for axis in range(3))
    origin = "(" + ",".join(repr(float(v)) for v in matrix[:3, 3]) + ")"
    lines = [
        "NRRD0005",
        f"type: {_TYPES[dtype.newbyteorder('=').name]}",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: " + " ".join(str(n) for n in grid.size),
        f"space directions: {axes}",
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compress else 'raw'}",
        f"space origin: {origin}",
        *(f"{key}:={_escaped(value)}" for key, value in fields.items()),
    ]
    return "\n".join(lines) + "\n\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def read_nrrd_steps(path: Path) -> Steps[NrrdFile]:
    """Read a three-dimensional NRRD file (raw or gzip, one file).

    Raises:
        ScanError: "file-unreadable" for anything else.
    """
    try:
        with path.open("rb") as stream:
            header, fields = _read_header(stream)
            size = tuple(int(n) for n in header["sizes"].split())
            dtype = np.dtype(_DTYPES[header["type"].lower()])
            if len(size) != 3 or header["encoding"] not in ("raw", "gzip", "gz"):
                raise ValueError(f"{len(size)} dimensions, {header['encoding']} encoding")
            if header.get("endian") == "big":
                dtype = dtype.newbyteorder(">")
            content = np.empty(int(np.prod(size)) * dtype.itemsize, np.uint8)
            filled = 0
            unpacker = zlib.decompressobj(47) if header["encoding"] != "raw" else None
            while filled < len(content):
                packed = stream.read(STEP_BYTES if unpacker is None else STEP_BYTES // 8)
                if not packed:
                    raise ValueError("the file ends too early")
                part = unpacker.decompress(packed, STEP_BYTES // 4) if unpacker else packed
                while part:
                    part = part[: len(content) - filled]
                    content[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
                    filled += len(part)
                    yield filled / len(content)
                    # A block of zeros unpacks to a thousand times its size: hand it out in steps as well.
                    part = unpacker.decompress(unpacker.unconsumed_tail, STEP_BYTES // 4) if unpacker else b""
            array = content.view(dtype).reshape(size[::-1])
            return NrrdFile(array, grid_of_lps((size[0], size[1], size[2]), _matrix(header)), fields)
    except (OSError, KeyError, ValueError, zlib.error) as problem:
        raise ScanError(
            "file-unreadable",
            f"{path.name} cannot be read: {problem}.",
            "Run the job again; check the free disk space.",
        ) from problem


def _read_header(stream: Iterable[bytes]) -> tuple[dict[str, str], dict[str, str]]:
    header: dict[str, str] = {}
    fields: dict[str, str] = {}
    lines = iter(stream)
    if not next(lines, b"").startswith(b"NRRD"):
        raise ValueError("not an NRRD file")
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return header, fields
        if line.startswith("#"):
            continue
        key, separator, value = line.partition(":=")
        if separator and ": " not in key:
            fields[key] = value.replace("\\n", "\n").replace("\\\\", "\\")
        else:
            key, _, value = line.partition(":")
            header[key.strip().lower()] = value.strip()
    raise ValueError("the header does not end")


def _matrix(header: Mapping[str, str]) -> np.ndarray:
    """4x4 index to LPS."""

    def vectors(text: str) -> np.ndarray:
        groups = text.replace(" ", "").strip("()").split(")(")
        return np.array([[float(v) for v in group.split(",")] for group in groups])

    matrix = np.eye(4)
    matrix[:3, :3] = vectors(header["space directions"]).T
    matrix[:3, 3] = vectors(header["space origin"])[0]
    space = header.get("space", "").lower()
    if space in ("right-anterior-superior", "ras"):
        matrix[:2] *= -1
    elif space not in ("left-posterior-superior", "lps"):
        raise ValueError(f"space {space!r}")
    return matrix

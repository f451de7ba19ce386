"""Small CT volumes and DICOM series, made up for the tests of scan reading and writing."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from fseft.reporting import Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan

SHARED_CT = Path(__file__).resolve().parents[3] / "shared" / "ct"

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Listener(Reporter):
    """A reporter that remembers its warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def log(self, message: str, level: str = "info") -> None:
        if level == "warning":
            self.warnings.append(message)


def ct_array(shape: tuple[int, int, int] = (6, 8, 10), seed: int = 0) -> np.ndarray:
    """(z, y, x) int16 HU: noise around air outside and soft tissue inside; no two neighbouring voxels alike."""
    rng = np.random.default_rng(seed)
    body = np.zeros(shape, bool)
    body[:, 1:-1, 1:-1] = True
    return np.where(body, rng.integers(-100, 120, shape), rng.integers(-1020, -980, shape)).astype(np.int16)


def straight(
    shape: tuple[int, int, int] = (6, 8, 10), spacing: tuple[float, float, float] = (0.7, 0.8, 2.5)
) -> Geometry:
    """A grid with axes left, posterior, superior."""
    return Geometry((shape[2], shape[1], shape[0]), spacing, (-20.5, 31.25, -700.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def ct_scan(shape: tuple[int, int, int] = (6, 8, 10), seed: int = 0) -> Scan:
    return Scan(ct_array(shape, seed), straight(shape))


def signed_axis_orders() -> list[np.ndarray]:
    """The 48 signed permutation matrices: 24 rotations by right angles, and each with a reflection."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.zeros((3, 3))
            for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            found.append(matrix)
    return found


def rotation(degrees: Sequence[float]) -> np.ndarray:
    """Rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        turn = np.eye(3)
        a, b = [i for i in range(3) if i != axis]
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def write_slice(
    path: Path,
    pixels: np.ndarray,
    position: Sequence[float],
    orientation: Sequence[float] = AXIAL,
    uid: str = "1.2.3.4",
    spacing: tuple[float, float] = (0.7, 0.8),
    **tags: str,
) -> None:
    """One DICOM CT slice with made-up tags; ``tags`` as ``t0008_0060="MR"`` replace the usual ones."""
    image = sitk.GetImageFromArray((pixels.astype(np.int32) + 1024).astype(np.uint16)[None])
    image.SetSpacing((*spacing, 1.0))
    fields = {
        "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
        "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
        "0008|0060": "CT",
        "0008|103e": "thin slices",
        "0020|000d": "1.2.3",
        "0020|000e": uid,
        "0020|0011": "2",
        "0020|0032": "\\".join(f"{p:.6g}" for p in position),
        "0020|0037": "\\".join(f"{o:.9g}" for o in orientation),
        "0028|1052": "0",
        "0028|1053": "1",
    }
    fields.update({key[1:].replace("_", "|"): value for key, value in tags.items()})
    for key, value in fields.items():
        image.SetMetaData(key, value)
    # Stored values are HU + 1024; the writer applies the inverse of intercept and slope, so give HU with them.
    shifted = sitk.Cast(image, sitk.sitkInt16) - 1024
    for key, value in fields.items():
        shifted.SetMetaData(key, value)
    shifted.SetMetaData("0028|1052", "-1024")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path))
    writer.Execute(shifted)


def write_series(
    folder: Path,
    volume: np.ndarray,
    positions: Sequence[Sequence[float]] | None = None,
    prefix: str = "slice",
    step: float = 2.5,
    **more: object,
) -> None:
    """A DICOM series of a (z, y, x) volume, its files named against the order of the slices."""
    for k, plane in enumerate(volume):
        position = positions[k] if positions is not None else (-20.5, 31.25, -700.0 + step * k)
        write_slice(folder / f"{prefix}-{len(volume) - k:03d}.dcm", plane, position, **more)  # type: ignore[arg-type]

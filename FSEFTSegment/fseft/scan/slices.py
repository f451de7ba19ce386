"""Whether slices make a straight, complete stack, judged by their positions alone."""

from __future__ import annotations

import numpy as np

from fseft.errors import ScanError

#: Positions are often written with one decimal; two roundings make distances differ by up to 0.1 mm.
POSITION_TOLERANCE_MM = 0.11
#: Slices may drift sideways this far over the whole stack, in mm, before it counts as a tilted gantry.
DRIFT_TOLERANCE_MM = 0.5

_REGULARISE = (
    'Load it in 3D Slicer with "Acquisition Geometry Regularization" switched on in the DICOM module'
    " (regularise by resampling), harden its transform, and save it as NRRD."
)


def through_plane(direction: np.ndarray) -> np.ndarray:
    """Unit normal of the image plane whose row and column directions are the first columns of a (3, 3) matrix."""
    normal: np.ndarray = np.cross(direction[:, 0], direction[:, 1])
    return normal / np.linalg.norm(normal)


def check_slices(positions: np.ndarray, normal: np.ndarray, what: str) -> float:
    """The distance of neighbouring slices in mm.

    Args:
        positions: (N, 3) LPS positions in mm of the slices' first voxels, ordered along ``normal``, N >= 2.
        normal: (3,) unit normal of the image plane.
        what: the series' name for messages.

    Raises:
        ScanError: "dicom-duplicate-slices", "dicom-gantry-tilt", "dicom-missing-slices", "dicom-uneven-slices".
    """
    heights = positions @ normal
    steps = np.diff(heights)
    _check_duplicates(steps, len(positions), what)
    _check_tilt(positions, heights, normal, what)
    step = float(np.median(steps))
    _check_missing(heights, steps, step, what)
    mean = float((heights[-1] - heights[0]) / (len(heights) - 1))
    off = np.abs(heights - (heights[0] + mean * np.arange(len(heights)))).max()
    allowed = max(POSITION_TOLERANCE_MM, 0.02 * step)
    if np.abs(steps - step).max() > allowed or off > 2 * allowed:
        raise ScanError(
            "dicom-uneven-slices",
            f"The slices of {what} are unevenly spaced, from {steps.min():.3g} to {steps.max():.3g} mm apart.",
            _REGULARISE,
        )
    return mean


def _check_duplicates(steps: np.ndarray, count: int, what: str) -> None:
    same = int((steps < 0.01).sum())
    if same == 0:
        return
    places = count - same
    if count % places == 0 and count // places > 1 and places > 1:
        why = f"every position occurs {count // places} times, as with several phases or copied files"
    else:
        why = f"{same} of its {count} slices lie where another one does"
    raise ScanError(
        "dicom-duplicate-slices",
        f"The series {what} does not make one volume: {why}.",
        "Keep one slice per position: remove the copies, or export a single phase.",
    )


def _check_tilt(positions: np.ndarray, heights: np.ndarray, normal: np.ndarray, what: str) -> None:
    offsets = positions - positions[0]
    sideways = offsets - np.outer(heights - heights[0], normal)
    drift = np.linalg.norm(sideways, axis=1)
    if drift.max() <= DRIFT_TOLERANCE_MM:
        return
    share = (heights - heights[0]) / (heights[-1] - heights[0])
    bend = np.linalg.norm(sideways - np.outer(share, sideways[-1]), axis=1).max()
    if bend > DRIFT_TOLERANCE_MM:
        raise ScanError(
            "dicom-uneven-slices",
            f"The slices of {what} are shifted sideways against each other by up to {drift.max():.3g} mm.",
            _REGULARISE,
        )
    angle = float(np.degrees(np.arctan2(drift[-1], heights[-1] - heights[0])))
    raise ScanError(
        "dicom-gantry-tilt",
        f"The series {what} was taken with the gantry tilted by {angle:.1f} degrees, so its slices are sheared.",
        _REGULARISE,
    )


def _check_missing(heights: np.ndarray, steps: np.ndarray, step: float, what: str) -> None:
    """A gap of two, three, ... ordinary distances is a lost slice, not an uneven table."""
    ratio = steps / step
    whole = np.rint(ratio)
    lost = (whole >= 2) & (np.abs(ratio - whole) < 0.1)
    if not lost.any():
        return
    at = int(np.argmax(lost))
    number = int((whole[lost] - 1).sum())
    raise ScanError(
        "dicom-missing-slices",
        f"{number} slice(s) are missing in {what}, the first after slice {at + 1} at {heights[at]:.1f} mm"
        f" (neighbours lie {step:.3g} mm apart).",
        "Copy or export the whole series again.",
    )

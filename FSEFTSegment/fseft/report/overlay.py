"""A scan with outlines of its structures in three planes, several segmentations side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fseft.report.drawing import new_figure, png_of
from fseft.report.planes import PLANES, Plane, Standing, occupied, relevant_indices, slice_of
from fseft.scan.scan import Scan
from fseft.structures import Structure

#: Soft tissue as abdominal CT is read, in HU.
SOFT_TISSUE_WINDOW_HU = (-160.0, 240.0)
_COLUMN_INCHES, _TITLE_INCHES, _LEGEND_INCHES = 4.2, 0.35, 0.6
_LEGEND_ENTRIES = 24
_TEXT = "#e8e8e8"
_BACKGROUND = "#14161a"


def overlay_png(
    scan: Scan,
    labelmaps: Sequence[tuple[str, np.ndarray]],
    structures: Sequence[Structure],
    window_hu: tuple[float, float] = SOFT_TISSUE_WINDOW_HU,
) -> bytes:
    """Draw a scan with outlines.

    The slices are those where the labelmaps disagree most; with one labelmap, or where all agree, those that hold
    most of the structures. Voxels keep their shape, and letters say where right, left, front, back, head and feet are.

    Args:
        scan: the scan.
        labelmaps: one (caption, (z, y, x) labels) per column, on the scan's grid: for example before and after.
        structures: what to outline, by value and colour.
        window_hu: shown from black to white.

    Returns:
        The content of a PNG file.

    Raises:
        ResourceError: "extra-missing" without matplotlib.
        ValueError: a labelmap is not on the scan's grid; a programming error.
    """
    for caption, labels in labelmaps:
        if labels.shape != scan.hounsfield.shape:
            raise ValueError(f"{caption!r} has shape {labels.shape}, the scan {scan.hounsfield.shape}")
    standing = Standing.of(scan.geometry)
    image = standing.turn(scan.hounsfield)
    turned = [standing.turn(labels) for _, labels in labelmaps]
    values = [s.value for s in structures]
    indices = relevant_indices(turned, values)
    views = [_cut(standing, scan, plane, indices[plane.normal], image, turned, values) for plane in PLANES]
    # Long scans would make a poster: no plane is taller than it is wide by more than a half.
    heights = [_COLUMN_INCHES * min(view.size_mm[1] / view.size_mm[0], 1.5) for view in views]
    total = sum(heights) + _TITLE_INCHES + _LEGEND_INCHES
    figure = new_figure(_COLUMN_INCHES * len(turned), total, _BACKGROUND)
    grid = figure.add_gridspec(
        len(PLANES), len(turned), height_ratios=heights, left=0.01, right=0.99, top=1 - _TITLE_INCHES / total,
        bottom=_LEGEND_INCHES / total, hspace=0.03, wspace=0.02,
    )  # fmt: skip
    shown: set[int] = set()
    for row, view in enumerate(views):
        for column, labels in enumerate(view.labels):
            axes = figure.add_subplot(grid[row, column])
            draw_slice(axes, view.grey, window_hu, view.size_mm)
            for structure in structures:
                if draw_outline(axes, labels == structure.value, structure.color, view.size_mm):
                    shown.add(structure.value)
            draw_letters(axes, view.plane, view.caption)
            if row == 0:
                axes.set_title(labelmaps[column][0], color=_TEXT, fontsize=11)
    draw_legend(figure, [s for s in structures if s.value in shown], standing.tilt_degrees)
    return png_of(figure)


@dataclass(frozen=True)
class _View:
    """One row of the picture: a slice cut to what it shows."""

    plane: Plane
    caption: str
    grey: np.ndarray
    labels: list[np.ndarray]
    size_mm: tuple[float, float]


def _cut(
    standing: Standing,
    scan: Scan,
    plane: Plane,
    index: int,
    image: np.ndarray,
    turned: Sequence[np.ndarray],
    values: Sequence[int],
) -> _View:
    grey = slice_of(image, plane, index)
    labels = [slice_of(array, plane, index) for array in turned]
    marked = np.zeros(grey.shape, dtype=bool)
    for one in labels:
        marked |= np.isin(one, values)
    box = occupied(grey, marked)
    caption = f"{plane.name}, {standing.position(scan.geometry, plane, index)}"
    return _View(plane, caption, grey[box], [one[box] for one in labels], standing.extent_mm(plane, grey[box].shape))


def draw_slice(axes: Any, grey: np.ndarray, window_hu: tuple[float, float], size_mm: tuple[float, float]) -> None:
    """Show a slice of HU on matplotlib axes whose units are mm."""
    axes.imshow(
        grey, cmap="gray", vmin=window_hu[0], vmax=window_hu[1], extent=(0, size_mm[0], size_mm[1], 0), aspect="equal",
        interpolation="bilinear",
    )  # fmt: skip
    axes.set_axis_off()
    axes.set_anchor("C")


def draw_outline(axes: Any, mask: np.ndarray, color: tuple[float, float, float], size_mm: tuple[float, float]) -> bool:
    """Outline a mask; False when it is empty."""
    if not mask.any():
        return False
    rows, columns = mask.shape
    across, down = size_mm[0] / columns, size_mm[1] / rows
    # One voxel of nothing all around closes outlines at the border of the scan.
    padded = np.pad(mask, 1).astype(np.float32)
    x, y = (np.arange(columns + 2) - 0.5) * across, (np.arange(rows + 2) - 0.5) * down
    axes.contourf(x, y, padded, levels=[0.5, 2.0], colors=[color], alpha=0.18)
    axes.contour(x, y, padded, levels=[0.5], colors=[color], linewidths=1.3)
    axes.set_xlim(0, size_mm[0])
    axes.set_ylim(size_mm[1], 0)
    return True


def draw_letters(axes: Any, plane: Plane, caption: str) -> None:
    """Write the directions of a plane at its borders, and a caption in the corner."""
    left, right, top, bottom = plane.letters
    from matplotlib.patheffects import withStroke

    dark = [withStroke(linewidth=2.5, foreground=_BACKGROUND)]
    style = {
        "path_effects": dark,
        "transform": axes.transAxes,
        "color": "#ffd75e",
        "fontsize": 10,
        "fontweight": "bold",
    }
    axes.text(0.012, 0.5, left, ha="left", va="center", **style)
    axes.text(0.988, 0.5, right, ha="right", va="center", **style)
    axes.text(0.5, 0.985, top, ha="center", va="top", **style)
    axes.text(0.5, 0.015, bottom, ha="center", va="bottom", **style)
    style.update(color=_TEXT, fontsize=8, fontweight="normal")
    axes.text(0.012, 0.015, caption, ha="left", va="bottom", **style)


def draw_legend(figure: Any, structures: Sequence[Structure], tilt_degrees: float) -> None:
    """Name the structures' colours at the bottom of a figure, and how oblique the scan is."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=s.color, linewidth=2.5, label=s.name) for s in structures[:_LEGEND_ENTRIES]]
    if len(structures) > _LEGEND_ENTRIES:
        handles.append(Line2D([], [], color="none", label=f"and {len(structures) - _LEGEND_ENTRIES} more"))
    if tilt_degrees > 1:
        handles.append(Line2D([], [], color="none", label=f"oblique scan: directions are {tilt_degrees:.0f}° off"))
    if handles:
        columns = max(1, int(figure.get_figwidth() / 1.6))
        figure.legend(
            handles=handles, loc="lower center", ncols=columns, frameon=False, labelcolor=_TEXT, fontsize=8,
            borderaxespad=0.2, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip

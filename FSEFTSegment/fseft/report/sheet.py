"""A sheet of axial slices of a segmented scan, those that somebody should look at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fseft.report.drawing import new_figure, png_of
from fseft.report.overlay import SOFT_TISSUE_WINDOW_HU, draw_legend, draw_letters, draw_outline, draw_slice
from fseft.report.planes import PLANES, Standing, occupied, slice_of
from fseft.scan.scan import Scan
from fseft.structures import Structure

AXIAL = PLANES[0]
MOST = 6
APART_MM = 8.0  # slices nearer to one that is shown already add little
_COLUMNS, _INCHES, _CAPTION, _LEGEND = 3, 3.2, 0.42, 0.5
_TEXT, _BACKGROUND = "#e8e8e8", "#14161a"


@dataclass(frozen=True)
class Shown:
    """One slice of the sheet: its index from the feet up, and why it is there."""

    index: int
    caption: str


def slices_to_show(scan: Scan, labels: np.ndarray, structures: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """At most six axial slices: through the centre of each flagged structure, then spread over what was found.

    Args:
        scan: the scan.
        labels: (z, y, x) on its grid.
        structures: entries of a segmentation's report, with ``name``, ``flags`` and ``centre_index`` (x, y, z).
    """
    standing = Standing.of(scan.geometry)
    shown: dict[int, str] = {}
    for entry in structures:
        if entry.get("flags") and entry.get("centre_index") is not None:
            index = _from_feet(standing, labels.shape, entry["centre_index"])
            text = f"{entry['name']}: {'; '.join(str(flag) for flag in entry['flags'])}"
            shown[index] = f"{shown[index]}\n{text}" if index in shown else text
    turned = standing.turn(labels)
    area = (turned > 0).sum(axis=(0, 1)).astype(float)
    if area.any():
        share = np.cumsum(area) / area.sum()
        for level in (0.5, 0.2, 0.8):
            index = int(np.searchsorted(share, level))
            if all(abs(index - other) * standing.spacing_mm[2] > APART_MM for other in shown):
                shown[index] = ""
    else:
        shown.setdefault(turned.shape[2] // 2, "")
    return [Shown(index, caption) for index, caption in list(shown.items())[:MOST]]


def sheet_png(scan: Scan, labels: np.ndarray, structures: Sequence[Structure], slices: Sequence[Shown]) -> bytes:
    """Draw slices with outlines, in the order given.

    Args:
        scan: the scan.
        labels: (z, y, x) on its grid, with the structures' own values.
        structures: what to outline.
        slices: of :func:`slices_to_show`.

    Returns:
        The content of a PNG file.

    Raises:
        ResourceError: "extra-missing" without matplotlib.
    """
    standing = Standing.of(scan.geometry)
    image, turned = standing.turn(scan.hounsfield), standing.turn(labels)
    rows = -(-len(slices) // _COLUMNS)
    height = rows * (_INCHES + _CAPTION) + _LEGEND
    columns = min(_COLUMNS, len(slices))
    figure = new_figure(columns * _INCHES, height, _BACKGROUND)
    outlined: set[int] = set()
    for number, shown in enumerate(slices):
        row, column = divmod(number, _COLUMNS)
        bottom = 1 - ((row + 1) * (_INCHES + _CAPTION)) / height
        axes = figure.add_axes((column / columns, bottom, 1 / columns * 0.98, _INCHES / height))
        grey, found = slice_of(image, AXIAL, shown.index), slice_of(turned, AXIAL, shown.index)
        box = occupied(grey, found > 0)
        size_mm = standing.extent_mm(AXIAL, grey[box].shape)
        draw_slice(axes, grey[box], SOFT_TISSUE_WINDOW_HU, size_mm)
        for structure in structures:
            if draw_outline(axes, found[box] == structure.value, structure.color, size_mm):
                outlined.add(structure.value)
        draw_letters(axes, AXIAL, standing.position(scan.geometry, AXIAL, shown.index))
        axes.set_title(_short(shown.caption), color=_TEXT, fontsize=7)
    draw_legend(figure, [s for s in structures if s.value in outlined], standing.tilt_degrees)
    return png_of(figure)


def _from_feet(standing: Standing, shape: Sequence[int], centre: Sequence[float]) -> int:
    """Index along the turned grid's superior axis of an (x, y, z) index of the scan."""
    axis = standing.permutation[2]
    index = round(float(centre[2 - axis]))
    index = min(max(index, 0), shape[axis] - 1)
    return shape[axis] - 1 - index if standing.flips[2] else index


def _short(caption: str, longest: int = 60) -> str:
    lines = caption.split("\n")[:2]
    return "\n".join(line if len(line) <= longest else line[: longest - 1] + "…" for line in lines)

"""A small curve, drawn by hand so that no plotting library is needed in Slicer's process."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr as _


def thinned(values: Sequence[float], limit: int) -> list[float]:
    """At most ``limit`` values, each the mean of a run of the given ones."""
    if len(values) <= limit:
        return list(values)
    edges = [round(n * len(values) / limit) for n in range(limit + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def draw_curve(values: Sequence[float], width: int, height: int, palette: Any) -> Any:
    """A pixmap of a falling loss.

    Args:
        values: at least two.
        width, height: pixels.
        palette: of the widget it is shown on, for the colours of a light or dark theme.
    """
    pixmap = qt.QPixmap(width, height)
    background, text = palette.color(qt.QPalette.Base), palette.color(qt.QPalette.Text)
    pixmap.fill(background)
    low, high = min(min(values), 0.0), max(values)
    span = (high - low) or 1.0
    left, right, top, bottom = 38, 8, 8, 18
    shown = thinned(values, max(2, width - left - right))

    def x(position: int) -> int:
        return left + round((width - left - right) * position / (len(shown) - 1))

    def y(value: float) -> int:
        return height - bottom - round((height - top - bottom) * (value - low) / span)

    painter = qt.QPainter(pixmap)
    painter.setPen(qt.QPen(text))
    painter.drawText(2, y(high) + 10, f"{high:.2f}")
    painter.drawText(2, y(low), f"{low:.2f}")
    painter.drawText(left, height - 4, _("Training loss, {steps} steps").format(steps=len(values)))
    grid = qt.QPen(qt.QColor(128, 128, 128))
    painter.setPen(grid)
    painter.drawLine(left, y(low), width - right, y(low))
    painter.drawLine(left, y(high), left, y(low))
    line = qt.QPen(qt.QColor(230, 126, 34))
    line.setWidth(2)
    painter.setPen(line)
    for position in range(len(shown) - 1):
        painter.drawLine(x(position), y(shown[position]), x(position + 1), y(shown[position + 1]))
    painter.end()
    return pixmap

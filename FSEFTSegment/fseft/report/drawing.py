"""Matplotlib, an optional package, used without its global state: no windows, no settings of the host changed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fseft.errors import ResourceError
from fseft.files import replace_whole

DPI = 110


def new_figure(width_inches: float, height_inches: float, background: str = "white") -> Any:
    """An empty figure (``matplotlib.figure.Figure``).

    Raises:
        ResourceError: "extra-missing" when matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as problem:
        raise ResourceError(
            "extra-missing",
            "Pictures and reports need the package matplotlib, which is not installed.",
            "Install it: pip install matplotlib (or fseft[report]).",
        ) from problem
    figure = Figure(figsize=(width_inches, height_inches), dpi=DPI, facecolor=background)
    FigureCanvasAgg(figure)
    return figure


def png_of(figure: Any) -> bytes:
    """A figure as a PNG file's content, without the date and program that matplotlib would add."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return stream.getvalue()


def write_png(png: bytes, path: Path) -> Path:
    """Write a PNG file whole.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    with replace_whole(path) as partial:
        partial.write_bytes(png)
    return path

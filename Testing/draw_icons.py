"""Draw the extension's and the module's icons: an organ outlined on a CT slice, with a few annotated points.

Run ``python Testing/draw_icons.py``; needs matplotlib.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse, FancyBboxPatch, PathPatch
from matplotlib.path import Path as Outline

REPOSITORY = Path(__file__).resolve().parents[1]
TARGETS = (
    REPOSITORY / "Resources" / "Icons" / "FSEFT.png",
    REPOSITORY / "FSEFTSegment" / "Resources" / "Icons" / "FSEFTSegment.png",
)


def blob(points: np.ndarray) -> Outline:
    """A smooth closed outline through ``points`` (Catmull-Rom as Bezier curves)."""
    count = len(points)
    vertices, codes = [points[0]], [Outline.MOVETO]
    for n in range(count):
        before, here, there, beyond = (points[(n + k) % count] for k in (-1, 0, 1, 2))
        vertices += [here + (there - before) / 6, there - (beyond - here) / 6, there]
        codes += [Outline.CURVE4] * 3
    return Outline(np.array(vertices), codes)


def draw(path: Path, pixels: int = 128) -> None:
    """Draw one icon."""
    figure = plt.figure(figsize=(1, 1), dpi=pixels)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 128)
    axes.set_ylim(0, 128)
    axes.axis("off")
    axes.add_patch(FancyBboxPatch((8, 8), 112, 112, boxstyle="round,pad=0,rounding_size=24", fc="#16324f", ec="none"))
    axes.add_patch(Ellipse((64, 64), 98, 78, fc="#5b7d9c", ec="#dbe7f2", lw=3.2 * 72 / pixels))
    axes.add_patch(Ellipse((64, 38), 16, 14, fc="#f2f6fa", ec="none"))
    organ = blob(np.array([[27, 66], [36, 86], [58, 92], [76, 80], [62, 70], [54, 52], [38, 48]], dtype=float))
    axes.add_patch(PathPatch(organ, fc="#ff9f43", ec="#ffffff", lw=4.5 * 72 / pixels, joinstyle="round"))
    axes.add_patch(Ellipse((92, 68), 24, 28, fc="#2fd0a8", ec="#ffffff", lw=4.5 * 72 / pixels))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=pixels, transparent=True, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    for target in TARGETS:
        draw(target)

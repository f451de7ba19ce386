"""Training curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fseft.report.drawing import new_figure, png_of
from fseft.structures import PALETTE


def curves_png(
    curves: Mapping[str, Sequence[float | None]],
    title: str = "Training",
    value_name: str = "Dice loss",
    step_name: str = "epoch",
    marks: Mapping[str, int] | None = None,
) -> bytes:
    """Draw curves over steps 1, 2, ...

    Args:
        curves: values by name; None or nan leaves a gap.
        title, value_name, step_name: labels.
        marks: steps to mark with a dashed line, by what happened there ("stopped early").

    Returns:
        The content of a PNG file.

    Raises:
        ResourceError: "extra-missing" without matplotlib.
    """
    figure = new_figure(7.0, 4.0)
    axes = figure.add_axes((0.1, 0.14, 0.87, 0.76))
    for number, (name, values) in enumerate(curves.items()):
        heights = [float("nan") if value is None else float(value) for value in values]
        alone = len(heights) == 1
        axes.plot(
            range(1, len(heights) + 1), heights, label=name, color=PALETTE[number % len(PALETTE)], linewidth=1.8,
            linestyle="-" if number < len(PALETTE) else "--", marker="o" if alone else None,
        )  # fmt: skip
    for name, step in (marks or {}).items():
        axes.axvline(step, color="0.45", linestyle="--", linewidth=1)
        axes.annotate(name, (step, 1), xycoords=("data", "axes fraction"), xytext=(4, -12), textcoords="offset points",
                      fontsize=8, color="0.35")  # fmt: skip
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(step_name)
    axes.set_ylabel(value_name)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if 0 < len(curves) <= 16:
        axes.legend(frameon=False, fontsize=8, ncols=1 + len(curves) // 9)
    return png_of(figure)

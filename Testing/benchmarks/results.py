"""Results of the benchmarks as files: all figures as JSON, the tables as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_pool import TOLERANCE_MM  # puts the engine on the path
from fseft.files import replace_whole


def write_outputs(name: str, result: object, text: str, folder: Path) -> str:
    """Write ``name.json`` and ``name.md``; returns the text. Called after every row: a run cut short is not lost."""
    for suffix, content in (("json", json.dumps(result, indent=1)), ("md", text)):
        with replace_whole(folder / f"{name}.{suffix}") as partial:
            partial.write_text(content, encoding="utf-8")
    return text


def rows_so_far(name: str, result: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Rows of an earlier run in the same folder, if its queries, structures and options are those of ``result``."""
    path = folder / f"{name}.json"
    if not path.is_file():
        return []
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    same = all(earlier.get(key) == value for key, value in result.items() if key != "rows")
    return list(earlier["rows"]) if same else []


def is_done(rows: Sequence[dict[str, Any]], method: str, shots: int, seed: int) -> bool:
    """Whether a row is there already."""
    return any((row["method"], row["shots"], row["seed"]) == (method, shots, seed) for row in rows)


def write_scores(name: str, result: dict[str, Any], folder: Path) -> str:
    """Write scores with the tables of Dice and surface Dice; returns the tables."""
    text = f"Dice\n\n{table(result, 0)}\n\nSurface Dice at {TOLERANCE_MM:g} mm\n\n{table(result, 1)}\n"
    return write_outputs(name, result, text, folder)


def table(result: dict[str, Any], metric: int) -> str:
    """Mean over queries and seeds per method, shots and structure; the metric is 0 Dice or 1 surface Dice."""
    structures: list[str] = result["structures"]
    groups: dict[tuple[str, int], list[dict[str, tuple[float, float]]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["method"], row["shots"]), []).extend(row["scores"])
    rows = []
    for (method, shots), scores in groups.items():
        means = []
        for name in structures:
            values = [s[name][metric] for s in scores if name in s]
            means.append(float(np.nanmean(values)) if values else float("nan"))
        rows.append([method, str(shots), *map(figure, means), figure(float(np.nanmean(means)))])
    return markdown(["method", "shots", *structures, "mean"], rows)


def figure(value: float) -> str:
    """Dice or another share of 1 in a table; a dash where there is none."""
    return "-" if np.isnan(value) else f"{value:.3f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])

"""The table that says whether pretraining pays: every method, both baselines, a random backbone, in one command.

    python Testing/benchmarks/main_table.py --output benchmark-output

Runs ``few_shot.py`` (zero-shot, linear probe, MLP and spatial adapter, each with location too), ``atlas.py`` (what
can be had without a backbone, with this project's registration and with SimpleITK's), ``from_scratch.py`` (the same
network without pretraining) and ``few_shot.py`` on a random frozen backbone, all on the same support sets and queries,
and lays their scores into one table of novel and base structures. Rows that lie in the output folder already are not
made again. Hours on two cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_pool import NOVEL, benchmark_parser, require_pool
from results import figure, markdown, table, write_outputs

HERE = Path(__file__).resolve().parent


def parts(options: argparse.Namespace) -> dict[str, list[str]]:
    """Name of every part and the command that makes its scores."""
    sets = ["--queries", options.queries, "--pool", options.pool]
    shots = ["--shots", *options.shots]
    seeds = ["--seeds", *options.seeds]
    random = options.output / "random-mini"
    commands: dict[str, list[Any]] = {
        "few_shot": ["few_shot.py", *sets, *shots, *seeds, "--location", "--settings", options.settings],
        "atlas": ["atlas.py", *sets, *shots, *seeds, "--keep"],
        "demons": ["atlas.py", *sets, *shots, *seeds, "--demons"],
        "from_scratch": [
            "from_scratch.py", *sets, "--shots", *options.scratch_shots, "--seeds", *options.scratch_seeds,
            "--steps", options.scratch_steps,
        ],
        "random": [
            "few_shot.py", *sets, *shots, "--seeds", *options.random_seeds, "--backbone", random,
            "--methods", "linear-probe", "spatial-adapter", "--settings", options.settings,
        ],
    }  # fmt: skip
    if not random.is_dir():
        call(["probe_backbone.py", "--write-random", str(random)])
    return {
        name: [str(part) for part in (*command, "--output", options.output / name)]
        for name, command in commands.items()
    }


def call(command: list[str]) -> None:
    """Run one of the benchmarks; its output is shown."""
    subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], check=True)


def load(name: str, folder: Path) -> dict[str, Any]:
    """Scores of a part, methods named after what learnt."""
    (found,) = (folder / name).glob("*.json")
    result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    for row in result["rows"]:
        row["method"] += {"random": ", random frozen backbone", "demons": ", SimpleITK's demons"}.get(name, "")
    return result


def merged(options: argparse.Namespace) -> dict[str, Any]:
    """Scores of all parts; they must have had the same queries."""
    results = [load(name, options.output) for name in options.parts]
    if any(result["queries"] != results[0]["queries"] for result in results):
        sys.exit("The parts in the output folder had different queries: give the same numbers, or another folder.")
    return {**results[0], "rows": [row for result in results for row in result["rows"]]}


def summary(result: dict[str, Any]) -> str:
    """Mean Dice and surface Dice of novel and of base structures per method and shots."""
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["shots"], row["method"]), []).append(row)
    rows = []
    for (shots, method), found in sorted(groups.items(), key=lambda item: item[0][0]):
        cells = [str(shots), method, str(len(found))]
        for metric in (0, 1):
            by_set = [means(row["scores"], result["structures"], metric) for row in found]
            for position in (0, 1):
                values = [pair[position] for pair in by_set]
                spread = f" ({min(values):.2f}-{max(values):.2f})" if metric == 0 and len(values) > 1 else ""
                cells.append(figure(float(np.mean(values))) + spread)
        rows.append(cells)
    head = ["shots", "what learns", "support sets", "novel: Dice", "base: Dice"]
    return markdown([*head, "novel: surface Dice", "base: surface Dice"], rows)


def means(scores: list[dict[str, Any]], structures: list[str], metric: int) -> tuple[float, float]:
    """Mean of a support set over novel and over base structures, each structure counting alike."""
    per_structure = {
        name: float(np.nanmean([query[name][metric] for query in scores if name in query]))
        for name in structures
        if any(name in query for query in scores)
    }
    groups = [[value for name, value in per_structure.items() if (name in NOVEL) is novel] for novel in (True, False)]
    novel, base = (float(np.mean(values)) if values else float("nan") for values in groups)
    return novel, base


def main() -> None:
    """Parse arguments, run what is missing, lay the scores together."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", default="{}", help="JSON of overrides of AdaptationSettings")
    parser.add_argument("--parts", nargs="+", default=["few_shot", "atlas", "demons", "from_scratch", "random"])
    parser.add_argument("--scratch-shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--scratch-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scratch-steps", type=int, default=600, help="training steps of the network from scratch")
    options = parser.parse_args()
    require_pool()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, command in parts(options).items():
        if name in options.parts:
            call(command)
    result = merged(options)
    text = "\n\n".join([summary(result), "Dice", table(result, 0), "Surface Dice", table(result, 1)]) + "\n"
    print("\n" + write_outputs("main_table", result, text, options.output))


if __name__ == "__main__":
    main()

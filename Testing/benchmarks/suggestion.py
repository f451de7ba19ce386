"""Suggested against random choice of the scans to annotate, on OpenKBP's few_shot pool.

    python Testing/benchmarks/suggestion.py --pool 6 --queries 4 --orders 2 --cases 4 --output benchmark-output

The suggestion starts from the most typical scan of the pool and then, after each model, asks for the next scan with
that model's uncertainty. Random choice takes the pool in a random order. After every case a linear probe is trained
and scored on the same queries, on the native grid; a structure that no annotated scan shows yet scores 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_pool import (  # puts the engine on the path
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    mean_dice,
    require_pool,
    score,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.adapter import Adapter
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import Compute, choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.reporting import Reporter
from fseft.segmentation.predict import predict_labels
from fseft.structures import Structure
from fseft.suggestion.ranking import rank_scans
from fseft.suggestion.statistics import feature_statistics
from fseft.suggestion.uncertainty import model_uncertainty
from results import figure, markdown, write_outputs


def next_case(pool: Sequence[Case], chosen: Sequence[Case], adapter: Adapter | None, compute: Compute) -> Case:
    """What the suggestion asks for after ``chosen``."""
    left = [case for case in pool if case not in chosen]
    statistics = {case.name: feature_statistics(case.support.features) for case in pool}
    doubt = None
    if adapter is not None:
        doubt = {case.name: model_uncertainty(adapter, case.support.features, compute) for case in left}
    candidates = {case.name: statistics[case.name] for case in left}
    ranking = rank_scans(candidates, {case.name: statistics[case.name] for case in chosen}, doubt)
    print(f"  next: {ranking[0].name}: {ranking[0].why}", flush=True)
    return next(case for case in left if case.name == ranking[0].name)


def learn(support: Sequence[Case], structures: Sequence[Structure], source: FeatureSource) -> Adapter:
    """A linear probe for the structures that the support set shows."""
    adapter, _ = make_trained_adapter(
        METHODS["linear-probe"], structures, to_learn_from(support, structures, source), source, AdaptationSettings(),
        source.compute, Reporter(),
    )  # fmt: skip
    return adapter


def shown(support: Sequence[Case], structures: Sequence[Structure]) -> bool:
    """Whether every structure has an example."""
    return all(any(case.support.foreground[i].size for case in support) for i in range(len(structures)))


def dice(adapter: Adapter, queries: Sequence[Case], structures: Sequence[Structure], compute: Compute) -> float:
    """Mean Dice over queries and structures."""
    plain = replace(compute, half=None)
    return mean_dice(
        [score(query, predict_labels(adapter, query.support.features, plain), structures) for query in queries]
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows: one for the suggestion, one per random order."""
    use_threads()
    compute = choose_compute(options.device)
    source = FeatureSource(options.backbone or find_backbone("fseft-mini"), compute)
    structures = all_structures()
    pool, queries = load_pool(source, structures, options.pool, options.queries)
    result: dict[str, Any] = {"pool": [c.name for c in pool], "queries": [q.name for q in queries], "rows": []}
    for number in range(-1, options.orders):
        order = None if number < 0 else np.random.default_rng(number).permutation(len(pool))
        row: dict[str, Any] = {"choice": "suggested" if order is None else f"random order {number + 1}"}
        row |= {"cases": [], "dice": []}
        result["rows"].append(row)
        chosen: list[Case] = []
        adapter: Adapter | None = None
        for step in range(options.cases):
            chosen.append(next_case(pool, chosen, adapter, compute) if order is None else pool[int(order[step])])
            if not shown(chosen, structures):
                print("  not every structure has an example yet", flush=True)
            adapter = learn(chosen, structures, source)
            row["cases"].append(chosen[-1].name)
            row["dice"].append(dice(adapter, queries, structures, compute))
            print(f"{row['choice']:16} {step + 1} cases  mean Dice {row['dice'][-1]:.3f}", flush=True)
            write(result, options.output)
    return result


def write(result: dict[str, Any], folder: Path) -> str:
    """Write scores and table; returns the table."""
    cases = max(len(row["dice"]) for row in result["rows"])
    rows = [[row["choice"], *map(figure, row["dice"]), *["-"] * (cases - len(row["dice"]))] for row in result["rows"]]
    text = markdown(["choice", *(f"{n + 1} cases" for n in range(cases))], rows) + "\n"
    return write_outputs("suggestion", result, text, folder)


def main() -> None:
    """Parse arguments, run, print and write the table."""
    parser = benchmark_parser(__doc__, queries=4)
    parser.add_argument("--orders", type=int, default=2, help="random orders to compare with")
    parser.add_argument("--cases", type=int, default=4, help="cases annotated in the end")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_pool()
    torch.manual_seed(0)
    print("\n" + write(run(options), options.output))


if __name__ == "__main__":
    main()

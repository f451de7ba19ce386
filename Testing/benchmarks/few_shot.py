"""Few-shot benchmark on OpenKBP's few_shot pool: methods x shots x seeds, scored on the native grid.

    python Testing/benchmarks/few_shot.py --shots 1 5 --seeds 0 1 2 --queries 8 --output benchmark-output

Support sets and queries are drawn as ``few_shot_pool.py`` says. One model for all structures per support set; zero-shot
covers the base structures alone. Rows that the output folder holds already are kept: a run that was cut short goes on.
With ``--location`` every result is also refined by location (the support scans registered to the query, see
``atlas.py``) and gets a second row. Registrations are taken from the cache.
"""

from __future__ import annotations

import argparse
import json
import time
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
    supports,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import base_structures
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import Compute, choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.reporting import Reporter
from fseft.segmentation.components import keep_largest
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import measure
from fseft.structures import Structure
from fseft.transduction.located import refine_by_location
from results import is_done, rows_so_far, write_scores


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run every row; returns all scores."""
    use_threads()
    compute = choose_compute(options.device)
    folder = options.backbone or find_backbone("fseft-mini")
    source = FeatureSource(folder, compute)
    structures = all_structures()
    base = base_structures(structures, source.specification)
    pool, queries = load_pool(source, structures, options.pool, options.queries)
    settings = AdaptationSettings.published() if options.protocol == "published" else AdaptationSettings()
    settings = settings.replace(**json.loads(options.settings))
    result: dict[str, Any] = {
        "queries": [q.name for q in queries],
        "structures": [s.name for s in structures],
        "options": [source.specification.weights_sha256, vars(settings), options.largest],
    }
    result["rows"] = rows = rows_so_far("few_shot", result, options.output)
    for method_name in options.methods:
        method = METHODS[method_name]
        zero_shot = method.learning_rate == 0
        learnt, shots, seeds = structures, options.shots, options.seeds
        if zero_shot:  # nothing is trained: one row, on what the backbone knows
            learnt = base
            shots, seeds = [0], options.seeds[:1]
        for k in shots:
            for seed, support in supports(pool, max(k, 1), seeds):
                last = f"{method_name} + location" if options.location and k else method_name
                if is_done(rows, last, k, seed):
                    continue
                clock = time.monotonic()
                adapter, curve = make_trained_adapter(
                    method, learnt, to_learn_from(support, learnt, source, settings.views) if k else [], source,
                    settings.replace(seed=seed), compute, Reporter(),
                )  # fmt: skip
                seconds = time.monotonic() - clock
                scores, located = [], []
                for query in queries:
                    labels = predict_labels(adapter, query.support.features, replace(compute, half=None))
                    if options.largest:
                        keep_largest(labels, len(learnt))
                    scores.append(score(query, labels, learnt))
                    if options.location and k:
                        labels = with_location(
                            adapter, query, support, learnt, labels, replace(compute, half=None), base
                        )
                        located.append(score(query, labels, learnt))
                for name, found in ((method_name, scores), (f"{method_name} + location", located)):
                    if not found:
                        continue
                    rows.append({"method": name, "shots": k, "seed": seed, "seconds": seconds, "scores": found})
                    how = f"{seconds:6.1f} s  {curve.stopped:8}"
                    print(f"{name:27} k={k} seed={seed} {how} mean Dice {mean_dice(found):.3f}", flush=True)
                write_scores("few_shot", result, options.output)
    return result


def with_location(
    adapter: Adapter,
    query: Case,
    support: Sequence[Case],
    structures: Sequence[Structure],
    labels: np.ndarray,
    compute: Compute,
    base: Sequence[Structure],
) -> np.ndarray:
    """The labels refined by location, see :mod:`fseft.transduction.located`."""
    sizes = measure(labels, range(1, len(structures) + 1), query.scan.geometry)
    cases = [case.atlas for case in support]
    features = query.support.features
    return refine_by_location(
        adapter, features, query.atlas.placed, cases, structures, labels, sizes, compute, base=base
    )[0]  # fmt: skip


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--protocol", choices=["default", "published"], default="default")
    parser.add_argument("--settings", default="{}", help="JSON of overrides of AdaptationSettings")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--location", action="store_true", help="also refine every result by location")
    parser.add_argument("--largest", action="store_true", help="keep each structure's largest component")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_pool()
    torch.manual_seed(0)
    print("\n" + write_scores("few_shot", run(options), options.output))


if __name__ == "__main__":
    main()

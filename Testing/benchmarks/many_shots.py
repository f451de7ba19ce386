"""What many annotated scans give on the same queries: how much of what few-shot models lack is a lack of scans.

    python Testing/benchmarks/many_shots.py --output benchmark-output

Learns from every scan of OpenKBP's few_shot pool that is no query of ``few_shot.py``: the pool its support sets are
drawn from and all patients that it leaves out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from few_shot_pool import (  # puts the engine on the path
    all_structures,
    benchmark_parser,
    load_pool,
    mean_dice,
    require_pool,
    score,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.segmentation.predict import predict_labels
from results import is_done, rows_so_far, write_scores


def main() -> None:
    """Run every method; print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--methods", nargs="+", default=["linear-probe", "mlp-adapter", "spatial-adapter"])
    parser.add_argument("--most", type=int, default=32, help="patients to read, those with most structures first")
    options = parser.parse_args()
    require_pool()
    use_threads()
    compute = choose_compute("auto")
    source = FeatureSource(find_backbone("fseft-mini"), compute)
    structures = all_structures()
    cases, _ = load_pool(source, structures, options.most)
    first, after = options.pool, options.pool + options.queries
    queries, support = cases[first:after], [case.support for case in (*cases[:first], *cases[after:])]
    result: dict[str, Any] = {"queries": [q.name for q in queries], "structures": [s.name for s in structures]}
    result["options"] = [source.specification.weights_sha256, options.most]
    result["rows"] = rows = rows_so_far("many_shots", result, options.output)
    for name in options.methods:
        if is_done(rows, name, len(support), 0):
            continue
        adapter, _ = make_trained_adapter(METHODS[name], structures, support, source, AdaptationSettings(), compute)
        full = replace(compute, half=None)
        scores = [score(query, predict_labels(adapter, query.support.features, full), structures) for query in queries]
        rows.append({"method": name, "shots": len(support), "seed": 0, "scores": scores})
        print(f"{name:27} k={len(support)} mean Dice {mean_dice(scores):.3f}", flush=True)
        write_scores("many_shots", result, options.output)
    print("\n" + write_scores("many_shots", result, options.output))


if __name__ == "__main__":
    main()

"""How much say the location should have beside the adapter: every query refined with a grid of says.

    python Testing/benchmarks/location_say.py --queries 8 --shots 1 3 5 --seeds 0 1 2

On patients of OpenKBP's *pretraining* half, so that the few_shot pool stays untouched by the choice: the backbone knows
their base structures (spinal cord, parotids, brain stem), which flatters the adapter there, and never saw a label of
the novel ones. ``fseft/transduction/say.py`` holds what came of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from few_shot_pool import (  # puts the engine on the path
    NOVEL,
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    require_pool,
    score,
    supports,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.adapter import Adapter
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import Compute, choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import measure
from fseft.structures import Structure
from fseft.transduction.located import refine_by_location
from results import write_scores

SAYS = (0.25, 0.5, 0.75, 0.9, 0.99)


def with_says(
    adapter: Adapter, query: Case, support: Sequence[Case], structures: Sequence[Structure], compute: Compute
) -> dict[str, np.ndarray]:
    """The query's labels without location and with every say of :data:`SAYS`; registrations are made once and kept."""
    labels = predict_labels(adapter, query.support.features, compute)
    sizes = measure(labels, range(1, len(structures) + 1), query.scan.geometry)
    found = {"off": labels}
    for share in SAYS:

        def fixed(knowing: np.ndarray, recognised: float, base: bool, share: float = share) -> np.ndarray:
            return np.where(knowing > 0, np.float32(share), np.float32(0))

        found[f"say {share:g}"], _ = refine_by_location(
            adapter, query.support.features, query.atlas.placed, [case.atlas for case in support], structures, labels,
            sizes, compute, say=fixed,
        )  # fmt: skip
    return found


def main() -> None:
    """Run every support set; print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="linear-probe")
    options = parser.parse_args()
    require_pool()
    use_threads()
    compute = choose_compute("auto")
    source = FeatureSource(find_backbone("fseft-mini"), compute)
    structures = all_structures()
    pool, queries = load_pool(source, structures, options.pool, options.queries, "pretraining")
    rows: list[dict[str, Any]] = []
    result = {"queries": [q.name for q in queries], "structures": [s.name for s in structures], "rows": rows}
    for k in options.shots:
        for seed, support in supports(pool, k, options.seeds):
            adapter, _ = make_trained_adapter(
                METHODS[options.method], structures, to_learn_from(support, structures, source), source,
                AdaptationSettings(seed=seed), compute,
            )  # fmt: skip
            scores: dict[str, list[dict[str, tuple[float, float]]]] = {}
            for query in queries:
                for way, labels in with_says(adapter, query, support, structures, replace(compute, half=None)).items():
                    scores.setdefault(way, []).append(score(query, labels, structures))
            for way, found in scores.items():
                rows.append({"method": way, "shots": k, "seed": seed, "scores": found})
                novel = [figures[0] for one in found for name, figures in one.items() if name in NOVEL]
                print(f"{way:9} k={k} seed={seed} novel structures, mean Dice {np.mean(novel):.3f}", flush=True)
            write_scores("location_say", result, options.output)
    print("\n" + write_scores("location_say", result, options.output))


if __name__ == "__main__":
    main()

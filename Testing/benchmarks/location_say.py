"""Whether leave-one-out tells how much say the location should have, structure by structure.

    python Testing/benchmarks/location_say.py --queries 4 --shots 3 5 --seeds 0 1 2

For every support set the adapter's and the atlas' leave-one-out Dice are measured as validation does, then every query
is refined by location twice: with the say that follows from the number of cases alone ("fixed"), and with the one that
also heeds by how much the atlas was ahead ("leads", see ``fseft/transduction/say.py``). Needs a registration for every
pair of the pool's cases and of cases and queries; they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from few_shot_pool import (  # puts the engine on the path
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    mean_dice,
    require_pool,
    score,
    supports,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.location.leave_one_out import score_left_out
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import measure
from fseft.structures import Structure
from fseft.transduction.located import refine_by_location
from fseft.transduction.say import Lead
from fseft.validation.validate import validate
from results import write_scores


def leads(
    support: Sequence[Case], structures: Sequence[Structure], source: FeatureSource, method: str, seed: int
) -> dict[str, Lead]:
    """What leave-one-out tells of the atlas beside a method on a support set."""
    settings = AdaptationSettings(seed=seed)
    own = validate(structures, [case.support for case in support], source, settings, methods=[method]).table[method]
    atlas = score_left_out([case.atlas for case in support], structures)
    return {
        name: Lead(
            float(np.mean([figures[0] for figures in scores])) - own[name].dice, min(len(scores), own[name].cases)
        )
        for name, scores in atlas.items()
        if scores and own[name].cases
    }


def main() -> None:
    """Run every support set; print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="linear-probe")
    options = parser.parse_args()
    require_pool()
    use_threads()
    compute = choose_compute("auto")
    source = FeatureSource(find_backbone("fseft-mini"), compute)
    structures = all_structures()
    pool, queries = load_pool(source, structures, options.pool, options.queries)
    rows: list[dict[str, Any]] = []
    result = {"queries": [q.name for q in queries], "structures": [s.name for s in structures], "rows": rows}
    for k in options.shots:
        for seed, support in supports(pool, k, options.seeds):
            told = leads(support, structures, source, options.method, seed)
            adapter, _ = make_trained_adapter(
                METHODS[options.method], structures, [case.support for case in support], source,
                AdaptationSettings(seed=seed), compute,
            )  # fmt: skip
            ways: dict[str, list[dict[str, tuple[float, float]]]] = {"fixed": [], "leads": []}
            for query in queries:
                features = query.support.features
                labels = predict_labels(adapter, features, replace(compute, half=None))
                sizes = measure(labels, range(1, len(structures) + 1), query.scan.geometry)
                for way, scores in ways.items():
                    after, _ = refine_by_location(
                        adapter, features, query.atlas.placed, [case.atlas for case in support], structures, labels,
                        sizes, replace(compute, half=None), leads=told if way == "leads" else None,
                    )  # fmt: skip
                    scores.append(score(query, after, structures))
            for way, scores in ways.items():
                rows.append({"method": way, "shots": k, "seed": seed, "scores": scores})
                print(f"{way:6} k={k} seed={seed} mean Dice {mean_dice(scores):.4f}", flush=True)
            rows[-1]["leads"] = {name: [lead.dice, lead.cases] for name, lead in told.items()}
            write_scores("location_say", result, options.output)
    print("\n" + write_scores("location_say", result, options.output))


if __name__ == "__main__":
    main()

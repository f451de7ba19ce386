"""Atlas propagation on OpenKBP's few_shot pool: the support sets and queries of ``few_shot.py``, nothing learnt.

    python Testing/benchmarks/atlas.py --shots 1 3 --seeds 0 1 2 --queries 8 --output benchmark-output

Dice and surface Dice on the native grid, to be laid beside the tables of ``few_shot.py``. Registrations are made anew
unless ``--keep`` allows those that are cached, so that the seconds mean something. With ``--demons`` the deformation is
that of SimpleITK, which is what can be had without this project.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from demons import use_demons
from few_shot_pool import (  # puts the engine on the path
    all_structures,
    benchmark_parser,
    mean_dice,
    read_pool,
    require_pool,
    score,
    supports,
)
from fseft.compute import use_threads
from fseft.location.atlas import propose
from fseft.location.cache import RegistrationCache
from fseft.location.support import AtlasCase, Placed
from fseft.scan.annotation import Annotation
from fseft.scan.scan import Scan
from results import is_done, rows_so_far, write_scores


@dataclass
class Case:
    """One patient: scan, reference labels and its view for registration."""

    scan: Scan
    annotation: Annotation
    atlas: AtlasCase


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run every row; returns all scores."""
    use_threads()
    structures = all_structures()
    cases = []
    for scan, annotation in read_pool(structures, options.queries + options.pool):
        cases.append(Case(scan, annotation, AtlasCase(Placed.of_scan(scan), annotation)))
    pool, queries = cases[: options.pool], cases[options.pool :]
    cache = RegistrationCache() if options.keep else RegistrationCache(enabled=False)
    position = np.zeros(max(s.value for s in structures) + 1, dtype=np.uint8)
    for number, structure in enumerate(structures, start=1):
        position[structure.value] = number
    result: dict[str, Any] = {
        "queries": [q.scan.name for q in queries],
        "structures": [s.name for s in structures],
    }
    result["rows"] = rows = rows_so_far("atlas", result, options.output)
    for k in options.shots:
        for seed, support in supports(pool, k, options.seeds):
            if is_done(rows, "atlas", k, seed):
                continue
            scores, failed, seconds = [], 0, []
            for query in queries:
                clock = time.monotonic()
                found = propose(query.atlas.placed, [case.atlas for case in support], structures, cache=cache)
                seconds.append((time.monotonic() - clock) / k)
                failed += len(found.failed)
                scores.append(score(query, position[found.labels], structures))
            rows.append(
                {
                    "method": "atlas",
                    "shots": k,
                    "seed": seed,
                    "seconds": float(np.mean(seconds)),
                    "failed": failed,
                    "scores": scores,
                }
            )
            how = f"{np.mean(seconds):5.1f} s a pair  {failed} of {k * len(queries)} refused"
            print(f"atlas k={k} seed={seed} {how}  mean Dice {mean_dice(scores):.3f}", flush=True)
            write_scores("atlas", result, options.output)
    return result


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", action="store_true", help="use and fill the cache of registrations")
    parser.add_argument("--demons", action="store_true", help="deform by SimpleITK's demons")
    options = parser.parse_args()
    require_pool()
    if options.demons:
        use_demons()
        options.keep = False
    print("\n" + write_scores("atlas", run(options), options.output))


if __name__ == "__main__":
    main()

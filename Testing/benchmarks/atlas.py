"""Atlas propagation on OpenKBP's few_shot pool: the support sets and queries of ``few_shot.py``, nothing learnt.

    python Testing/benchmarks/atlas.py --shots 1 3 --seeds 0 1 2 --queries 8 --output benchmark-output

Dice and surface Dice on the native grid, to be laid beside the tables of ``few_shot.py``. Registrations are made anew
unless ``--keep`` allows those that are cached, so that the seconds mean something.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from few_shot import POOL, TOLERANCE_MM, read_pool, score, supports, table  # puts the engine on the path
from fseft.compute import use_threads
from fseft.files import replace_whole
from fseft.location.atlas import propose
from fseft.location.cache import RegistrationCache
from fseft.location.support import AtlasCase, Placed
from fseft.scan.annotation import Annotation, structures_from_json
from fseft.scan.scan import Scan


@dataclass
class Case:
    """One patient: scan, reference labels and its view for registration."""

    scan: Scan
    annotation: Annotation
    atlas: AtlasCase


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run every row; returns all scores."""
    use_threads()
    structures = structures_from_json(POOL / "pt_109.json")  # one of the cases that list all seven
    cases = []
    for scan, annotation in read_pool(structures, options.queries + options.pool):
        cases.append(Case(scan, annotation, AtlasCase(Placed.of_scan(scan), annotation)))
        print(f"\r{len(cases)} cases ready", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    pool, queries = cases[: options.pool], cases[options.pool :]
    cache = RegistrationCache() if options.keep else RegistrationCache(enabled=False)
    position = np.zeros(max(s.value for s in structures) + 1, dtype=np.uint8)
    for number, structure in enumerate(structures, start=1):
        position[structure.value] = number
    rows: list[dict[str, Any]] = []
    result = {"queries": [q.scan.name for q in queries], "structures": [s.name for s in structures], "rows": rows}
    for k in options.shots:
        for seed, support in supports(pool, k, options.seeds):
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
            mean = np.nanmean([value[0] for by_name in scores for value in by_name.values()])
            how = f"{np.mean(seconds):5.1f} s a pair  {failed} of {k * len(queries)} refused"
            print(f"atlas k={k} seed={seed} {how}  mean Dice {mean:.3f}", flush=True)
            write(result, options.output)  # after every row: a run that is cut short is not lost
    return result


def write(result: dict[str, Any], folder: Path) -> str:
    """Write all scores and the tables; returns the tables."""
    text = "Dice\n\n" + table(result, 0) + f"\n\nSurface Dice at {TOLERANCE_MM:g} mm\n\n" + table(result, 1) + "\n"
    for name, content in (("atlas.json", json.dumps(result, indent=1)), ("atlas.md", text)):
        with replace_whole(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    return text


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--pool", type=int, default=8, help="cases that support sets are drawn from")
    parser.add_argument("--keep", action="store_true", help="use and fill the cache of registrations")
    parser.add_argument("--output", type=Path, default=Path("benchmark-output"))
    options = parser.parse_args()
    if not POOL.is_dir():
        sys.exit(f"This benchmark needs the OpenKBP cases in {POOL.name}/, which are not here.")
    print("\n" + write(run(options), options.output))


if __name__ == "__main__":
    main()

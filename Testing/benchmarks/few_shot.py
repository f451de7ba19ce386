"""Few-shot benchmark on OpenKBP's few_shot pool: methods x shots x seeds, scored on the native grid.

    python Testing/benchmarks/few_shot.py --shots 1 5 --seeds 0 1 2 --queries 8 --output benchmark-output

Not every patient has every structure. The patients with most structures form the pool that support sets are drawn
from, the first of a support set has all of them; the next ones are the queries, the same for every row, scored on
the structures they have. One model for all structures per support set; zero-shot covers the base structures alone.
With ``--location`` every result is also refined by location (the support scans registered to the query, see
``atlas.py``) and gets a second row. Registrations are taken from the cache.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "FSEFTSegment"))

from fseft.adaptation.adapt import make_trained_adapter  # noqa: E402
from fseft.adaptation.settings import AdaptationSettings  # noqa: E402
from fseft.adaptation.support import SupportCase, make_support_case  # noqa: E402
from fseft.adapters.adapter import Adapter  # noqa: E402
from fseft.adapters.initialisation import pretrained_row  # noqa: E402
from fseft.adapters.registry import METHODS  # noqa: E402
from fseft.backbones.library import find_backbone  # noqa: E402
from fseft.compute import Compute, choose_compute, use_threads  # noqa: E402
from fseft.evaluation.metrics import structure_metrics  # noqa: E402
from fseft.features.source import FeatureSource  # noqa: E402
from fseft.files import replace_whole  # noqa: E402
from fseft.location.support import AtlasCase, Placed  # noqa: E402
from fseft.reporting import Reporter  # noqa: E402
from fseft.scan.annotation import Annotation, read_annotation, structures_from_json  # noqa: E402
from fseft.scan.reading import read_scan  # noqa: E402
from fseft.scan.scan import Scan  # noqa: E402
from fseft.segmentation.components import keep_largest  # noqa: E402
from fseft.segmentation.predict import predict_labels  # noqa: E402
from fseft.segmentation.volumes import measure  # noqa: E402
from fseft.structures import Structure  # noqa: E402
from fseft.transduction.located import refine_by_location  # noqa: E402

POOL = ROOT / ".." / "shared" / "ct" / "openkbp"
TOLERANCE_MM = 2.0


class Annotated(Protocol):
    """What drawing support sets and scoring need of a patient."""

    scan: Scan
    annotation: Annotation


AnyCase = TypeVar("AnyCase", bound=Annotated)


@dataclass
class Case:
    """One patient: scan, reference labels and, when it serves as support, its view for training."""

    name: str
    scan: Scan
    annotation: Annotation
    support: SupportCase
    atlas: AtlasCase


def read_pool(structures: Sequence[Structure], limit: int) -> Iterator[tuple[Scan, Annotation]]:
    """Read the few_shot pool, cases with most structures first; an annotation lists the structures it has."""
    splits = json.loads((POOL / "splits.json").read_text())
    names = splits["few_shot"]
    described = {name: json.loads((POOL / f"{name}.json").read_text()) for name in names}
    usable = {name: [s for s in structures if s.name in described[name]["usable_labels"]] for name in names}
    for name in sorted(names, key=lambda n: -len(usable[n]))[:limit]:
        scan = read_scan(POOL / f"{name}_ct.nii.gz", name=name)
        yield scan, read_annotation(POOL / f"{name}_seg.nii.gz", scan, usable[name], others="background")


def load_pool(source: FeatureSource, structures: Sequence[Structure], limit: int) -> list[Case]:
    """The few_shot pool in the order of :func:`read_pool`, features cached."""
    cases = []
    for scan, annotation in read_pool(structures, limit):
        support = make_support_case(scan.name, source.features(scan), annotation, structures)
        atlas = AtlasCase(Placed.of_scan(scan), annotation)
        cases.append(Case(scan.name, scan, annotation, support, atlas))
        print(f"\r{len(cases)} cases ready", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return cases


def supports(pool: list[AnyCase], shots: int, seeds: Sequence[int]) -> Iterator[tuple[int, list[AnyCase]]]:
    """Support sets per seed; the first case has every structure, another one for every seed while there are any."""
    most = max(len(case.annotation.structures) for case in pool)
    complete = [case for case in pool if len(case.annotation.structures) == most]
    for seed in seeds:
        first = complete[seed % len(complete)]
        others = [case for case in pool if case is not first]
        chosen = np.random.default_rng(1000 + seed).permutation(len(others))[: shots - 1]
        yield seed, [first, *(others[i] for i in chosen)]


def score(case: Annotated, labels: np.ndarray, structures: Sequence[Structure]) -> dict[str, tuple[float, float]]:
    """Dice and surface Dice per structure on the native grid."""
    spacing = case.scan.geometry.spacing[::-1]
    scores = {}
    there = {structure.name for structure in case.annotation.structures}
    for position, structure in enumerate(structures, start=1):
        if structure.name not in there:
            continue
        metrics = structure_metrics(
            labels == position, case.annotation.labels == structure.value, spacing, TOLERANCE_MM
        )
        scores[structure.name] = (metrics.dice, metrics.surface_dice)
    return scores


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run every row; returns all scores."""
    use_threads()
    compute = choose_compute(options.device)
    folder = options.backbone or find_backbone("fseft-mini")
    source = FeatureSource(folder, compute)
    structures = structures_from_json(POOL / "pt_109.json")  # one of the cases that list all seven
    cases = load_pool(source, structures, options.queries + options.pool)
    pool, queries = cases[: options.pool], cases[options.pool :]
    settings = AdaptationSettings.published() if options.protocol == "published" else AdaptationSettings()
    settings = settings.replace(**json.loads(options.settings))
    rows: list[dict[str, Any]] = []
    result = {"queries": [q.name for q in queries], "structures": [s.name for s in structures], "rows": rows}
    for method_name in options.methods:
        method = METHODS[method_name]
        zero_shot = method.learning_rate == 0
        learnt, shots, seeds = structures, options.shots, options.seeds
        if zero_shot:  # nothing is trained: one row, on what the backbone knows
            learnt = tuple(s for s in structures if pretrained_row(s, source.specification) is not None)
            shots, seeds = [0], options.seeds[:1]
        for k in shots:
            for seed, support in supports(pool, max(k, 1), seeds):
                clock = time.monotonic()
                adapter, curve = make_trained_adapter(
                    method, learnt, [c.support for c in support] if k else [], source,
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
                        labels = with_location(adapter, query, support, learnt, labels, replace(compute, half=None))
                        located.append(score(query, labels, learnt))
                for name, found in ((method_name, scores), (f"{method_name} + location", located)):
                    if not found:
                        continue
                    rows.append({"method": name, "shots": k, "seed": seed, "seconds": seconds, "scores": found})
                    mean = np.nanmean([value[0] for by_name in found for value in by_name.values()])
                    how = f"{seconds:6.1f} s  {curve.stopped:8}"
                    print(f"{name:27} k={k} seed={seed} {how} mean Dice {mean:.3f}", flush=True)
                write(result, options.output)  # after every row: a run that is cut short is not lost
    return result


def with_location(
    adapter: Adapter,
    query: Case,
    support: Sequence[Case],
    structures: Sequence[Structure],
    labels: np.ndarray,
    compute: Compute,
) -> np.ndarray:
    """The labels refined by location, see :mod:`fseft.transduction.located`."""
    sizes = measure(labels, range(1, len(structures) + 1), query.scan.geometry)
    cases = [case.atlas for case in support]
    features = query.support.features
    return refine_by_location(
        adapter, features, query.atlas.placed, cases, structures, labels, sizes, compute
    )[0]  # fmt: skip


def write(result: dict[str, Any], folder: Path) -> str:
    """Write all scores and the tables; returns the tables."""
    text = "Dice\n\n" + table(result, 0) + f"\n\nSurface Dice at {TOLERANCE_MM:g} mm\n\n" + table(result, 1) + "\n"
    for name, content in (("few_shot.json", json.dumps(result, indent=1)), ("few_shot.md", text)):
        with replace_whole(folder / name) as partial:
            partial.write_text(content, encoding="utf-8")
    return text


def table(result: dict[str, Any], metric: int) -> str:
    """Mean over queries and seeds per method, shots and structure; the metric is 0 Dice or 1 surface Dice."""
    structures: list[str] = result["structures"]
    head = ["method", "shots", *structures, "mean"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    groups: dict[tuple[str, int], list[dict[str, tuple[float, float]]]] = {}
    for row in result["rows"]:
        groups.setdefault((row["method"], row["shots"]), []).extend(row["scores"])
    for (method, shots), scores in groups.items():
        cells, means = [], []
        for name in structures:
            values = [s[name][metric] for s in scores if name in s]
            means.append(float(np.nanmean(values)) if values else float("nan"))
            cells.append(f"{means[-1]:.3f}" if values else "-")
        lines.append("| " + " | ".join([method, str(shots), *cells, f"{np.nanmean(means):.3f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--queries", type=int, default=8)
    parser.add_argument("--pool", type=int, default=8, help="cases that support sets are drawn from")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--protocol", choices=["default", "published"], default="default")
    parser.add_argument("--settings", default="{}", help="JSON of overrides of AdaptationSettings")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--location", action="store_true", help="also refine every result by location")
    parser.add_argument("--largest", action="store_true", help="keep each structure's largest component")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("benchmark-output"))
    options = parser.parse_args()
    if not POOL.is_dir():
        sys.exit(f"This benchmark needs the OpenKBP cases in {POOL.name}/, which are not here.")
    torch.manual_seed(0)
    print("\n" + write(run(options), options.output))


if __name__ == "__main__":
    main()

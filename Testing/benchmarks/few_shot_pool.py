"""OpenKBP's few_shot pool as the benchmarks use it: patients, support sets, queries and their scores.

Not every patient has every structure. The patients with most structures form the pool that support sets are drawn
from, the first of a support set has all of them; the next ones are the queries, the same for every benchmark that is
given the same numbers, scored on the structures they have.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "FSEFTSegment"))

from fseft.adaptation.support import SupportCase, make_support_case  # noqa: E402
from fseft.adaptation.views import views_for, with_views  # noqa: E402
from fseft.evaluation.metrics import structure_metrics  # noqa: E402
from fseft.features.source import FeatureSource  # noqa: E402
from fseft.location.support import AtlasCase, Placed  # noqa: E402
from fseft.models.adapted_model import SizePrior  # noqa: E402
from fseft.priors.from_support import prior_from_volumes  # noqa: E402
from fseft.scan.annotation import Annotation, read_annotation, structures_from_json  # noqa: E402
from fseft.scan.reading import read_scan  # noqa: E402
from fseft.scan.scan import Scan  # noqa: E402
from fseft.segmentation.volumes import measure  # noqa: E402
from fseft.structures import Structure  # noqa: E402

POOL = ROOT / ".." / "shared" / "ct" / "openkbp"
TOLERANCE_MM = 2.0

#: Structures that the bundled backbone was never shown.
NOVEL = ("Esophagus", "Larynx", "Mandible")


class Annotated(Protocol):
    """What drawing support sets and scoring need of a patient."""

    scan: Scan
    annotation: Annotation


AnyCase = TypeVar("AnyCase", bound=Annotated)


@dataclass
class Case:
    """One patient: scan, reference labels, and the views for training and for registration."""

    name: str
    scan: Scan
    annotation: Annotation
    support: SupportCase
    atlas: AtlasCase


def all_structures() -> tuple[Structure, ...]:
    """The seven structures, as a patient who has them all lists them."""
    return structures_from_json(POOL / "pt_109.json")


def read_pool(
    structures: Sequence[Structure], limit: int, split: str = "few_shot"
) -> Iterator[tuple[Scan, Annotation]]:
    """Read a split's patients, those with most structures first; an annotation lists the structures it has."""
    names = json.loads((POOL / "splits.json").read_text())[split]
    described = {name: json.loads((POOL / f"{name}.json").read_text()) for name in names}
    usable = {name: [s for s in structures if s.name in described[name]["usable_labels"]] for name in names}
    for number, name in enumerate(sorted(names, key=lambda n: -len(usable[n]))[:limit], start=1):
        scan = read_scan(POOL / f"{name}_ct.nii.gz", name=name)
        yield scan, read_annotation(POOL / f"{name}_seg.nii.gz", scan, usable[name], others="background")
        print(f"\r{number} cases ready", end="\n" if number == limit else "", file=sys.stderr, flush=True)


def load_pool(
    source: FeatureSource, structures: Sequence[Structure], pool: int, queries: int = 0, split: str = "few_shot"
) -> tuple[list[Case], list[Case]]:
    """Cases that support sets are drawn from, and queries, in the order of :func:`read_pool`; features cached."""
    cases = []
    for scan, annotation in read_pool(structures, pool + queries, split):
        cases.append(make_case(scan, annotation, structures, source))
    return cases[:pool], cases[pool:]


def make_case(scan: Scan, annotation: Annotation, structures: Sequence[Structure], source: FeatureSource) -> Case:
    """A patient with features, ready to be learnt from and registered."""
    support = make_support_case(scan.name, source.features(scan), annotation, structures)
    return Case(scan.name, scan, annotation, support, AtlasCase(Placed.of_scan(scan), annotation))


def supports(pool: list[AnyCase], shots: int, seeds: Sequence[int]) -> Iterator[tuple[int, list[AnyCase]]]:
    """Support sets per seed; the first case has every structure, another one for every seed while there are any."""
    most = max(len(case.annotation.structures) for case in pool)
    complete = [case for case in pool if len(case.annotation.structures) == most]
    for seed in seeds:
        first = complete[seed % len(complete)]
        others = [case for case in pool if case is not first]
        chosen = np.random.default_rng(1000 + seed).permutation(len(others))[: shots - 1]
        yield seed, [first, *(others[i] for i in chosen)]


def to_learn_from(
    support: Sequence[Case], structures: Sequence[Structure], source: FeatureSource, views: int | None = None
) -> list[SupportCase]:
    """A support set with the views that adaptation learns from beside the scans, as many as asked or as by default."""
    count = views_for(len(support), views)
    return [with_views(case.support, case.scan, case.annotation, structures, source, count) for case in support]


def size_priors(support: Sequence[Case]) -> dict[str, SizePrior]:
    """Size priors as adaptation makes them: from annotations that their scans do not cut."""
    volumes: dict[str, list[float]] = {}
    for case in support:
        there = case.annotation.structures
        sizes = measure(case.annotation.labels, [s.value for s in there], case.scan.geometry)
        for structure, size in zip(there, sizes, strict=True):
            if size.voxels and not size.cut_by_border:
                volumes.setdefault(structure.name, []).append(size.volume_ml)
    made = {name: prior_from_volumes(values) for name, values in volumes.items()}
    return {name: prior for name, prior in made.items() if prior is not None}


def score(case: Annotated, labels: np.ndarray, structures: Sequence[Structure]) -> dict[str, tuple[float, float]]:
    """Dice and surface Dice per structure on the native grid; structure i has the label i + 1."""
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


def mean_dice(scores: Sequence[dict[str, tuple[float, float]]]) -> float:
    """Mean over all results of some queries."""
    return float(np.nanmean([value[0] for by_name in scores for value in by_name.values()]))


def benchmark_parser(description: str | None, queries: int = 8, pool: int = 6) -> argparse.ArgumentParser:
    """A parser of what all benchmarks of the pool are told: how many queries and cases, and where results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=queries)
    parser.add_argument("--pool", type=int, default=pool, help="cases that support sets are drawn from")
    parser.add_argument("--output", type=Path, default=Path("benchmark-output"))
    return parser


def require_pool() -> None:
    """End with a sentence where the patients are not here."""
    if not POOL.is_dir():
        sys.exit(f"This benchmark needs the OpenKBP cases in {POOL.name}/, which are not here.")

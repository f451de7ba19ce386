"""Beyond one data set: torsos learnt from one patient and tested on others, and necks of another hospital.

    python Testing/benchmarks/other_bodies.py --tasks torso neck --location --output benchmark-output

``torso``: twelve abdominal structures, learnt from one of two patients and scored on the other two (the third is a slab
of 20 slices). Labels are automatic ones, and the bundled backbone was pretrained on these very scans and labels:
what adapters reach here says how much of the features' knowledge one scan calls up, not how it generalises. Atlas,
random backbone and training from scratch know nothing of them.

``neck``: support sets of OpenKBP's few_shot pool as everywhere, scored on a patient of another hospital, of another
resolution, drawn by others, whom no backbone was trained on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import from_scratch
import numpy as np
import torch
from few_shot import with_location
from few_shot_pool import (  # puts the engine on the path
    POOL,
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    make_case,
    mean_dice,
    require_pool,
    score,
    supports,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.initialisation import base_structures
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import Compute, choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.location.atlas import propose
from fseft.reporting import Reporter
from fseft.scan.annotation import read_annotation
from fseft.scan.reading import read_scan
from fseft.segmentation.predict import predict_labels
from fseft.structures import Structure, canonical_name, number_structures
from results import is_done, rows_so_far, write_scores

TORSO = (
    "liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas", "duodenum", "aorta", "inferior_vena_cava",
    "portal_vein_and_splenic_vein", "adrenal_gland_right", "adrenal_gland_left",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Structures in the order of their label values 1, 2, ..., support sets and the scans they are scored on.

    Attributes:
        structures: what is learnt.
        sets: shots, number of the support set, its cases, its queries.
    """

    structures: tuple[Structure, ...]
    sets: list[tuple[int, int, list[Case], list[Case]]]


def load_case(folder: Path, name: str, structures: Sequence[Structure], source: FeatureSource) -> Case:
    """A patient with the structures that its labels have, renumbered as ``structures`` are."""
    scan = read_scan(folder / f"{name}_ct.nii.gz", name=name)
    labels = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["labels"]
    values = {canonical_name(given): value for given, value in labels.items()}
    named = [Structure(s.name, values[s.canonical], s.color) for s in structures if s.canonical in values]
    read = read_annotation(folder / f"{name}_seg.nii.gz", scan, named, others="background")
    table = np.zeros(max(values.values()) + 1, dtype=np.uint8)
    for structure in read.structures:
        table[structure.value] = next(s.value for s in structures if s.name == structure.name)
    there = {structure.name for structure in read.structures}
    annotation = replace(read, labels=table[read.labels], structures=tuple(s for s in structures if s.name in there))
    return make_case(scan, annotation, structures, source)


def torso(source: FeatureSource, options: argparse.Namespace) -> Task:
    """Two patients to learn from, each scored on the two others."""
    structures, folder = number_structures(TORSO), POOL.parent / "torso"
    names = ("LIDC-IDRI-0001", "ts_example_ct", "ts_example_dicom")
    cases = [load_case(folder, name, structures, source) for name in names]
    return Task(structures, [(1, n, [cases[n]], [c for c in cases if c is not cases[n]]) for n in (0, 1)])


def neck(source: FeatureSource, options: argparse.Namespace) -> Task:
    """Support sets of the pool, one patient of another hospital."""
    structures = all_structures()
    pool, _ = load_pool(source, structures, options.pool)
    query = load_case(POOL.parent / "headneck", "FRM2_submGlTumor", structures, source)
    chosen = [(k, seed, cases, [query]) for k in options.shots for seed, cases in supports(pool, k, options.seeds)]
    return Task(structures, chosen)


TASKS = {"torso": torso, "neck": neck}


def rows_of(
    what: str, task: Task, source: FeatureSource, options: argparse.Namespace, rows: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Rows of every support set by one way to learn, unless they are there: ``what`` is a method or a baseline."""
    learn = {"atlas": by_atlas, "from scratch": by_training}.get(what, by_adapter)
    for k, seed, support, queries in task.sets:
        if is_done(rows, what, 0 if what == "zero-shot" else k, seed):
            continue
        clock = time.process_time()
        for name, scores in learn(what, task, support, queries, seed, source, options):
            seconds = time.process_time() - clock
            print(f"{name:32} k={k} set {seed}  mean Dice {mean_dice(scores):.3f}", flush=True)
            shots = 0 if what == "zero-shot" else k
            yield {"method": name, "shots": shots, "seed": seed, "seconds": seconds, "scores": scores}


Scores = list[dict[str, tuple[float, float]]]


def by_adapter(
    what: str,
    task: Task,
    support: list[Case],
    queries: list[Case],
    seed: int,
    source: FeatureSource,
    options: argparse.Namespace,
) -> Iterator[tuple[str, Scores]]:
    """An adapter on frozen features, and its result after refinement by location where something was learnt."""
    method, settings = METHODS[what], AdaptationSettings().replace(seed=seed)
    zero_shot, compute = method.learning_rate == 0, replace(source.compute, half=None)
    learnt = task.structures
    base = base_structures(learnt, source.specification)
    if zero_shot:
        learnt = base
    cases = [] if zero_shot else to_learn_from(support, learnt, source, settings.views)
    adapter, _ = make_trained_adapter(method, learnt, cases, source, settings, source.compute, Reporter())
    labels = [predict_labels(adapter, query.support.features, compute) for query in queries]
    yield what, [score(query, found, learnt) for query, found in zip(queries, labels, strict=True)]
    if options.location and not zero_shot:
        located = [
            with_location(adapter, query, support, learnt, found, compute, base)
            for query, found in zip(queries, labels, strict=True)
        ]
        yield f"{what} + location", [score(query, found, learnt) for query, found in zip(queries, located, strict=True)]


def by_atlas(what: str, task: Task, support: list[Case], queries: list[Case], *_: Any) -> Iterator[tuple[str, Scores]]:
    """Registration alone; a refused pair finds nothing."""
    cases, scores = [case.atlas for case in support], []
    for query in queries:
        found = propose(query.atlas.placed, cases, task.structures)
        if found.failed:
            print(f"{query.name}: {' '.join(found.failed)}")
        scores.append(score(query, found.labels, task.structures))
    yield what, scores


def by_training(
    what: str,
    task: Task,
    support: list[Case],
    queries: list[Case],
    seed: int,
    source: FeatureSource,
    options: argparse.Namespace,
) -> Iterator[tuple[str, Scores]]:
    """The bundled network with random weights, trained on the support set alone, see ``from_scratch.py``."""
    specification = replace(source.specification, classes=())
    cases = [from_scratch.make_case(case.scan, case.annotation, task.structures, specification) for case in support]
    settings = from_scratch.settings_of(options)
    network, head, _, _ = from_scratch.learn(cases, task.structures, specification, settings, seed, what)
    compute = Compute(torch.device("cpu"), None)
    yield what, from_scratch.score_queries(network, head, queries, task.structures, compute)


def main() -> None:
    """Parse arguments, run what is missing, print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    ways = ["zero-shot", "linear-probe", "mlp-adapter", "spatial-adapter", "atlas", "from scratch"]
    parser.add_argument("--ways", nargs="+", choices=ways, default=ways)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--location", action="store_true", help="also refine what adapters find by location")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--steps", type=int, default=600, help="of training from scratch")
    parser.add_argument("--learning-rate", type=float, default=from_scratch.PretrainingSettings().learning_rate)
    options = parser.parse_args()
    require_pool()
    use_threads()
    torch.manual_seed(0)
    source = FeatureSource(options.backbone or find_backbone("fseft-mini"), choose_compute("cpu"))
    for name in options.tasks:
        task = TASKS[name](source, options)
        result: dict[str, Any] = {
            "queries": sorted({query.name for *_, queries in task.sets for query in queries}),
            "structures": [s.name for s in task.structures],
            "backbone": source.specification.weights_sha256,
        }
        result["rows"] = rows = rows_so_far(name, result, options.output)
        for what in options.ways:
            for row in rows_of(what, task, source, options, rows):
                rows.append(row)
                write_scores(name, result, options.output)
        print(f"\n{name}\n\n" + write_scores(name, result, options.output))


if __name__ == "__main__":
    main()

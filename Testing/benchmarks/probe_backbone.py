"""How much of a structure a linear classifier finds in a frozen backbone's features, against random weights.

    python Testing/benchmarks/probe_backbone.py --shots 1 3 --queries 6

For each support set a balanced logistic regression is fitted per structure to sampled voxels' features (all levels;
pretrained head rows are not used) and scored by Dice on the queries' own grid. Scans are cropped to a box around the
structures, which keeps the probe cheap: it compares backbones and says nothing about false positives far away.
Supports and queries come from OpenKBP's few_shot pool, which no pretraining run may use. Supports hold all
structures; where too few cases do, queries may lack some, and a structure's mean is over the queries that hold it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_pool import POOL, TOLERANCE_MM, require_pool  # puts the engine on the path
from fseft.adaptation.head_fitting import fit_head
from fseft.adaptation.support import SupportCase, make_support_case
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.backbones.library import find_backbone
from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.specification import BackboneSpecification
from fseft.backbones.weights import load_backbone, load_specification, save_backbone
from fseft.compute import Compute, choose_compute, use_threads
from fseft.evaluation.metrics import structure_metrics
from fseft.features.extraction import extract_features
from fseft.preprocessing.grid import make_grid
from fseft.preprocessing.intensity import AIR_HU, window
from fseft.scan.annotation import Annotation, read_annotation
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.segmentation.predict import predict_labels
from fseft.structures import Structure

MARGIN_MM = 30.0


def choose_cases(names: Sequence[str], queries: int, supports: int) -> list[str]:
    """Names of queries, then of supports: complete cases in the pool's order, then those that hold most structures."""
    pool = json.loads((POOL / "splits.json").read_text(encoding="utf-8"))["few_shot"]
    held = {case: len(set(names) & set(_notes(case)["usable_labels"])) for case in pool}
    complete = [case for case in pool if held[case] == len(names)][: queries + supports]
    partial = [case for case in sorted(pool, key=lambda case: -held[case]) if 0 < held[case] < len(names)]
    first, last = complete[:-supports], complete[-supports:]
    return [*first, *partial[: queries - len(first)], *last]


def load_case(case: str, names: Sequence[str]) -> tuple[str, Scan, Annotation]:
    """A case of the pool with the structures that it holds, cropped to a box around them."""
    notes = _notes(case)
    structures = [Structure(name, notes["labels"][name]) for name in names if name in notes["usable_labels"]]
    scan = read_scan(POOL / f"{case}_ct.nii.gz", name=case)
    annotation = read_annotation(POOL / f"{case}_seg.nii.gz", scan, structures, others="background")
    return (case, *crop_around(scan, annotation))


def _notes(case: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((POOL / f"{case}.json").read_text(encoding="utf-8"))
    return content


def crop_around(scan: Scan, annotation: Annotation) -> tuple[Scan, Annotation]:
    """Scan and annotation inside the box of all structures and a margin."""
    wanted = np.isin(annotation.labels, [structure.value for structure in annotation.structures])
    region = []
    for axis, spacing in enumerate(scan.geometry.spacing[::-1]):
        inside = np.flatnonzero(wanted.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(np.ceil(MARGIN_MM / spacing))
        region.append(slice(max(0, inside[0] - margin), inside[-1] + 1 + margin))
    hounsfield, labels = scan.hounsfield[tuple(region)], annotation.labels[tuple(region)]
    first = np.array([[part.start for part in reversed(region)]])
    x, y, z = (float(value) for value in scan.geometry.to_world(first)[0])
    geometry = dataclasses.replace(scan.geometry, size=hounsfield.shape[::-1], origin=(x, y, z))
    return Scan(hounsfield, geometry, scan.name), dataclasses.replace(annotation, labels=labels)


def random_backbone(specification: BackboneSpecification, scans: Sequence[Scan], seed: int) -> Backbone:
    """The same network with random weights; its batch normalisation has seen the given scans."""
    torch.manual_seed(seed)
    network = build_network(specification)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None  # plain average over all scans
    network.train()
    with torch.no_grad():
        for scan in scans:
            grid = make_grid(scan, specification)
            volume = grid.to_network(scan.hounsfield, specification.antialias, AIR_HU)
            middle = tuple(slice(max(0, extent // 2 - 32), extent // 2 + 32) for extent in volume.shape)
            network.features(window(torch.from_numpy(volume[middle])[None], specification.windows_hu))
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def probe(
    network: Backbone,
    cases: Sequence[tuple[str, Scan, Annotation]],
    structures: Sequence[Structure],
    options: argparse.Namespace,
    compute: Compute,
) -> dict[int, np.ndarray]:
    """Dice per number of shots: (support sets times queries, structures)."""
    support = [
        make_support_case(name, extract_features(network, scan, compute), annotation, structures)
        for name, scan, annotation in cases
    ]
    queries, candidates = range(options.queries), range(options.queries, len(cases))
    scores: dict[int, np.ndarray] = {}
    for shots in options.shots:
        rows = []
        for seed in options.seeds:
            chosen = np.random.default_rng(seed).permutation(candidates)[:shots]
            adapter = fitted(network, [support[i] for i in chosen], structures, seed)
            rows += [score(support[query], cases[query], adapter, structures, compute) for query in queries]
        scores[shots] = np.array(rows)
    return scores


def fitted(network: Backbone, support: list[SupportCase], structures: Sequence[Structure], seed: int) -> Adapter:
    """A linear probe of the support set: background scores zero, structures as the regressions say."""
    torch.manual_seed(seed)
    adapter = make_adapter(find_method("linear-probe"), network.specification, structures)
    with torch.no_grad():
        for parameter in adapter.head.parameters():
            parameter.zero_()
    fit_head(adapter.head, support, [False] * len(structures), np.random.default_rng(seed))
    return adapter.eval()


def score(
    query: SupportCase,
    case: tuple[str, Scan, Annotation],
    adapter: Adapter,
    structures: Sequence[Structure],
    compute: Compute,
) -> list[float]:
    """Dice of every structure on the query's own grid; nan where the query does not hold it."""
    _, scan, annotation = case
    labels = predict_labels(adapter, query.features, dataclasses.replace(compute, half=None))
    spacing = scan.geometry.spacing[::-1]
    values = {structure.name: structure.value for structure in annotation.structures}
    dice = []
    for number, structure in enumerate(structures, start=1):
        if structure.name not in values:
            dice.append(float("nan"))
            continue
        reference = annotation.labels == values[structure.name]
        dice.append(structure_metrics(labels == number, reference, spacing, TOLERANCE_MM).dice)
    return dice


def main() -> None:
    """Parse arguments, probe, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--structures", nargs="+", default=["Mandible", "Larynx", "RightParotid"])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--queries", type=int, default=6)
    parser.add_argument("--pool", type=int, default=4, help="cases that support sets are drawn from")
    parser.add_argument("--random", action="store_true", help="probe random weights too")
    parser.add_argument(
        "--write-random", type=Path, help="only write a backbone folder with random weights, for few_shot.py"
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_pool()
    use_threads()
    compute = choose_compute(options.device)
    folder = options.backbone or find_backbone("fseft-mini")
    chosen = choose_cases(options.structures, options.queries, options.pool)
    if len(chosen) < options.queries + max(options.shots):
        sys.exit(f"Only {len(chosen)} cases of the pool serve these structures: ask for fewer queries or shots.")
    cases = [load_case(case, options.structures) for case in chosen]
    structures = [Structure(name, number) for number, name in enumerate(options.structures, start=1)]
    if options.write_random:
        # Without classes: a random row is no start for a base structure.
        specification = dataclasses.replace(load_specification(folder), classes=())
        scans = [scan for _, scan, _ in cases[options.queries :]]
        save_backbone(random_backbone(specification, scans, seed=0), options.write_random)
        return
    networks = {"pretrained": load_backbone(folder)}
    if options.random:
        scans = [scan for _, scan, _ in cases[options.queries :]]
        networks["random"] = random_backbone(load_specification(folder), scans, seed=0)
    print("| weights | shots | " + " | ".join(options.structures) + " | mean |")
    print("|---|---|" + "---|" * (len(structures) + 1))
    for name, network in networks.items():
        for shots, dice in probe(network, cases, structures, options, compute).items():
            means = np.nanmean(dice, axis=0)
            cells = " | ".join(f"{value:.3f}" for value in (*means, means.mean()))
            print(f"| {name} | {shots} | {cells} |", flush=True)


if __name__ == "__main__":
    main()

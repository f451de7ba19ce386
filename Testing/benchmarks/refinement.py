"""Refinement on heads and torsos: off, default, by location and as published, on whole scans and on cut ones.

    python Testing/benchmarks/refinement.py --output benchmark-output
    python Testing/benchmarks/refinement.py --ways off location paper --shots 1 5 --seeds 0  # minutes a scan
    python Testing/benchmarks/refinement.py --task torso

Heads are OpenKBP's few_shot pool, with the support sets and queries of ``few_shot_pool.py``. A cut scan ends in the
middle of the parotids: everything above is taken away before features are computed, so most structures are shown in
part. Torsos (see ``other_bodies.py``) are learnt from one of two patients and refined in the other ("whole") and in a
slab of 20 slices, which cuts every organ. Dice and volume error per structure on the native grid. One adapter per
support set and one first segmentation per scan serve all ways.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import other_bodies
from few_shot_pool import (  # puts the engine on the path
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    read_pool,
    require_pool,
    score,
    size_priors,
    supports,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.location.propagation import sub_grid
from fseft.models.adapted_model import AdaptedModel
from fseft.scan.annotation import Annotation
from fseft.scan.scan import Scan
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import StructureVolume, measure
from fseft.structures import Structure
from fseft.transduction.apply import refine_labels
from fseft.transduction.survey import Survey
from fseft.transduction.ways import Refining
from results import markdown, write_outputs

CUT_AT = ("RightParotid", "LeftParotid")  # a cut scan ends at the middle of whichever it has


@dataclass(frozen=True)
class Query:
    """A scan to segment and what it should be."""

    scan: Scan
    annotation: Annotation


def cut(query: Query) -> Query:
    """The scan below the middle of its parotids, with its labels."""
    values = [s.value for s in query.annotation.structures if s.name in CUT_AT]
    planes = np.flatnonzero(np.isin(query.annotation.labels, values).any(axis=(1, 2)))
    if not planes.size:
        raise SystemExit(f"{query.scan.name} has no parotid to cut through.")
    whole, middle = query.scan.geometry, int(planes.mean())
    upwards = whole.direction[8] > 0
    keep = slice(0, middle) if upwards else slice(middle, whole.size[2])
    geometry = sub_grid(whole, (keep, slice(0, whole.size[1]), slice(0, whole.size[0])))
    scan = Scan(query.scan.hounsfield[keep].copy(), geometry, f"{query.scan.name} cut")
    return Query(scan, Annotation(query.annotation.labels[keep].copy(), query.annotation.structures))


@dataclass(frozen=True)
class First:
    """A query as the adapter alone segments it, which every way starts from."""

    query: Query
    labels: np.ndarray
    sizes: list[StructureVolume]
    survey: Survey


def segment_once(query: Query, model: AdaptedModel, source: FeatureSource) -> First:
    """Segment a query without refinement."""
    survey = Survey(model.adapter.head.outputs)
    features, compute = source.features(query.scan), replace(source.compute, half=None)
    labels = predict_labels(model.adapter, features, compute, witness=survey.add)
    return First(query, labels, measure(labels, range(1, len(model.structures) + 1), query.scan.geometry), survey)


@dataclass(frozen=True)
class Task:
    """What is learnt and refined.

    Attributes:
        structures: in the order of their label values 1, 2, ...
        sets: shots, number of the support set, its cases, and the queries by scene.
    """

    structures: Sequence[Structure]
    sets: list[tuple[int, int, list[Case], dict[str, list[Query]]]]


def heads(source: FeatureSource, options: argparse.Namespace) -> Task:
    """OpenKBP's few_shot pool, whole and cut."""
    structures = all_structures()
    everyone = list(read_pool(structures, options.queries + options.pool))
    pool, _ = load_pool(source, structures, options.pool)
    whole = [Query(*pair) for pair in everyone[options.pool :]]
    scenes = {"whole": whole, "cut": [cut(query) for query in whole]}
    chosen = [(k, seed, cases, scenes) for k in options.shots for seed, cases in supports(pool, k, options.seeds)]
    return Task(structures, chosen)


def torsos(source: FeatureSource, options: argparse.Namespace) -> Task:
    """One of two patients learnt from, the other and a slab refined."""
    task = other_bodies.torso(source, options)
    sets = []
    for k, seed, support, cases in task.sets:
        queries = [Query(case.scan, case.annotation) for case in cases]
        sets.append((k, seed, support, {"whole": queries[:1], "slab": queries[1:]}))
    return Task(task.structures, sets)


TASKS = {"heads": heads, "torso": torsos}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All support sets, ways and queries."""
    use_threads()
    source = FeatureSource(find_backbone("fseft-mini"), choose_compute(options.device))
    task = TASKS[options.task](source, options)
    structures = task.structures
    result: dict[str, Any] = {"structures": [s.name for s in structures], "rows": []}
    for k, seed, support, scenes in task.sets:
        settings = AdaptationSettings(seed=seed)
        adapter, _ = make_trained_adapter(
            METHODS[options.method],
            structures,
            to_learn_from(support, structures, source),
            source,
            settings,
            source.compute,
        )
        model = AdaptedModel(
            "benchmark", tuple(structures), options.method, source.specification.id,
            source.specification.weights_sha256, adapter, k, size_priors(support),
            {"settings": vars(settings)},
        )  # fmt: skip
        for scene, queries in scenes.items():
            first = [segment_once(query, model, source) for query in queries]
            for way in options.ways:
                row = measure_row(way, model, first, support, source)
                result["rows"].append({"way": way, "scans": scene, "shots": k, "seed": seed, **row})
                mean = np.nanmean([v["dice"] for scan in row["scores"] for v in scan.values()])
                print(f"{way:9} {scene:6} k={k} seed={seed} mean Dice {mean:.3f}  {row['seconds']:.1f} s a scan",
                      flush=True)  # fmt: skip
                write_outputs("refinement", result, tables(result), options.output)
    return result


def measure_row(
    way: str, model: AdaptedModel, first: Sequence[First], support: Sequence[Case], source: FeatureSource
) -> dict[str, Any]:
    """Refine every query in one way."""
    priors = [model.priors.get(structure.name) for structure in model.structures]
    compute = replace(source.compute, half=None)
    scores, seconds = [], []
    for start in first:
        clock, query = time.monotonic(), start.query
        labels, refined = start.labels, [False] * len(priors)
        if way != "off":
            refining = Refining(
                way,
                [case.support for case in support] if way in ("default", "paper") else (),
                [case.atlas for case in support] if way == "location" else (),
            )
            found = refine_labels(
                refining, query.scan, model, source, source.features(query.scan), labels, start.sizes, start.survey,
                priors, compute,
            )  # fmt: skip
            labels, refined = found.labels, [outcome.action == "refined" for outcome in found.outcomes]
        seconds.append(time.monotonic() - clock)
        scores.append(compare(labels, query, model.structures, refined))
    return {"scores": scores, "seconds": float(np.mean(seconds))}


def compare(
    labels: np.ndarray, query: Query, structures: Sequence[Structure], refined: Sequence[bool]
) -> dict[str, dict[str, Any]]:
    """Dice and volumes per structure that the query shows, and whether refinement acted on it."""
    dice = score(query, labels, structures)
    ml = query.scan.geometry.voxel_volume_ml
    compared: dict[str, dict[str, Any]] = {}
    for position, structure in enumerate(structures, start=1):
        true = float((query.annotation.labels == structure.value).sum()) * ml
        if structure.name in dice and true > 0:
            compared[structure.name] = {
                "dice": dice[structure.name][0], "ml": float((labels == position).sum()) * ml, "true_ml": true,
                "refined": refined[position - 1],
            }  # fmt: skip
    return compared


def tables(result: dict[str, Any]) -> str:
    """Dice and relative volume error by scans, shots and way."""
    lines = []
    for scene in dict.fromkeys(row["scans"] for row in result["rows"]):
        for title, figure in (("Dice", dice_of), ("mean absolute volume error, %", volume_error_of)):
            lines += [f"{scene} scans: {title}", ""]
            found = []
            rows = [row for row in result["rows"] if row["scans"] == scene]
            for key in dict.fromkeys((row["shots"], row["way"]) for row in rows):
                scans = [s for row in rows if (row["shots"], row["way"]) == key for s in row["scores"]]
                cells = [figure([s[name] for s in scans if name in s]) for name in result["structures"]]
                found.append([str(key[0]), key[1], *map(cell, cells), cell(float(np.nanmean(cells)))])
            lines += [markdown(["shots", "refinement", *result["structures"], "mean"], found), ""]
    return "\n".join([*lines, acted_table(result), ""])


def acted_table(result: dict[str, Any]) -> str:
    """What became of the single results that a way changed."""
    plain = {(row["scans"], row["shots"], row["seed"]): row for row in result["rows"] if row["way"] == "off"}
    pairs: dict[tuple[str, int, str], list[tuple[float, float]]] = {}
    for row in result["rows"]:
        before = plain.get((row["scans"], row["shots"], row["seed"]))
        if before is None or row["way"] == "off":
            continue
        found = pairs.setdefault((row["scans"], row["shots"], row["way"]), [])
        for was, now in zip(before["scores"], row["scores"], strict=True):
            found += [(was[name]["dice"], now[name]["dice"]) for name in now if now[name]["refined"]]
    rows = []
    for (scene, shots, way), found in pairs.items():
        cells = ["0", "-", "-", "-", "-"]
        if found:
            before, after = np.array(found).T
            better, worse = int((after > before).sum()), int((after < before - 0.005).sum())
            cells = [str(len(found)), cell(before.mean()), cell(after.mean()), str(better), str(worse)]
        rows.append([scene, str(shots), way, *cells])
    head = ["scans", "shots", "refinement", "refined", "Dice before", "after", "better", "worse by over 0.005"]
    return markdown(head, rows)


def dice_of(entries: Sequence[dict[str, float]]) -> float:
    """Mean Dice."""
    return float(np.mean([e["dice"] for e in entries])) if entries else float("nan")


def volume_error_of(entries: Sequence[dict[str, float]]) -> float:
    """Mean absolute volume error in per cent of the true volume."""
    return (
        float(np.mean([100 * abs(e["ml"] - e["true_ml"]) / e["true_ml"] for e in entries])) if entries else float("nan")
    )


def cell(value: float) -> str:
    """A figure of a table."""
    if np.isnan(value):
        return "-"
    return f"{value:.3f}" if value <= 1 else f"{value:.0f}"


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = benchmark_parser(__doc__, queries=4)
    parser.add_argument("--task", choices=list(TASKS), default="heads")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="linear-probe")
    parser.add_argument("--ways", nargs="+", default=["off", "default"])
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_pool()
    print("\n" + tables(run(options)))


if __name__ == "__main__":
    main()

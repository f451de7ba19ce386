"""Does the estimate hold? Leave-one-out, predicted Dice and flags against the truth on OpenKBP's few_shot pool.

    python Testing/benchmarks/quality.py --shots 3 --seeds 0 --queries 4 --pool 6 --methods linear-probe \
        --output benchmark-output

For every support set: leave-one-out validation on the network grid, then a model of all its cases, whose results on the
queries are scored on the native grid. Three questions, over all support sets:

* the leave-one-out Dice of a structure against its mean Dice on the queries;
* "auto" against each fixed method (methods given with --methods);
* the Dice predicted for one structure of one result, and the flags, against its Dice.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from few_shot_pool import (  # puts the engine on the path
    Case,
    all_structures,
    benchmark_parser,
    load_pool,
    require_pool,
    score,
    size_priors,
    supports,
    to_learn_from,
)
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.adapter import Adapter
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import SizePrior
from fseft.quality.confidence import ConfidenceTally
from fseft.quality.predicted_dice import Calibration
from fseft.quality.sides import body_centre_x, side_flags
from fseft.quality.typicality import support_statistics, unlike
from fseft.reporting import Reporter
from fseft.segmentation.flags import flags_of, notes_of
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import measure
from fseft.structures import Structure
from fseft.validation.choice import choose
from fseft.validation.record import Validation
from fseft.validation.validate import validate
from results import figure, markdown, write_outputs

POOR = 0.7  # Dice; what a flag should catch


def segment(
    query: Case,
    adapter: Adapter,
    structures: Sequence[Structure],
    source: FeatureSource,
    priors: dict[str, SizePrior],
    calibration: Calibration | None,
) -> dict[str, dict[str, Any]]:
    """One result: Dice, expected and predicted Dice and flags per structure that the query has."""
    tally = ConfidenceTally(len(structures))
    labels = predict_labels(
        adapter, query.support.features, replace(source.compute, half=None),
        witness=lambda box, block: tally.add(block),
    )  # fmt: skip
    sizes = measure(labels, range(1, len(structures) + 1), query.scan.geometry)
    centres = {
        s.name: query.scan.geometry.to_world(np.array([size.centre]))[0]
        for s, size in zip(structures, sizes, strict=True)
        if size.centre is not None
    }
    sides = side_flags(centres, body_centre_x(query.support.features))
    true = score(query, labels, structures)
    found: dict[str, dict[str, Any]] = {}
    for structure, size, confidence in zip(structures, sizes, tally.results(), strict=True):
        if structure.name not in true:
            continue
        predicted = calibration.predict(structure.name, confidence.expected_dice) if calibration else None
        prior = priors.get(structure.name)
        flags = {"volume or not found": bool(flags_of(size, prior))}
        flags["boundary"] = confidence.flag is not None
        flags["sides"] = structure.name in sides
        notes = {
            "volume outside 30 %": any("range" in note for note in notes_of(size, prior)),
            "pieces": size.pieces > 1,
            "cut by the border": size.cut_by_border,
        }
        flags["predicted"] = predicted is not None and predicted.flag is not None
        found[structure.name] = {
            "dice": true[structure.name][0],
            "expected": confidence.expected_dice,
            "predicted": None if predicted is None else [predicted.value, predicted.low, predicted.high],
            "low_boundary": confidence.low_boundary_share,
            "size": {"ml": size.volume_ml, "pieces": size.pieces, "cut": size.cut_by_border},
            "prior": None if prior is None else vars(prior),
            "flags": flags,
            "notes": notes,
        }
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All support sets and methods."""
    use_threads()
    source = FeatureSource(options.backbone or find_backbone("fseft-mini"), choose_compute(options.device))
    structures = all_structures()
    pool, queries = load_pool(source, structures, options.pool, options.queries)
    settings = AdaptationSettings().replace(**json.loads(options.settings))
    result: dict[str, Any] = {"queries": [q.name for q in queries], "rows": [], "auto": []}
    for seed, support in supports(pool, options.shots, options.seeds):
        own = settings.replace(seed=seed)
        training = to_learn_from(support, structures, source, own.views)
        priors = size_priors(support)
        statistics = support_statistics([case.features for case in training])
        tables: dict[str, Any] = {}
        dice: dict[str, float] = {}
        for name in options.methods:
            clock = time.monotonic()
            judged = validate(structures, training, source, own, Reporter(), [name])
            validating = time.monotonic() - clock
            tables |= judged.table
            clock = time.monotonic()
            adapter, _ = make_trained_adapter(METHODS[name], structures, training, source, own, source.compute)
            learning = time.monotonic() - clock
            scans = [segment(q, adapter, structures, source, priors, judged.calibration) for q in queries]
            row = make_row(name, seed, judged, scans, validating, learning)
            row["unlike"] = [unlike(statistics, q.support.features) for q in queries]
            for scan, distance in zip(scans, row["unlike"], strict=True):
                for entry in scan.values():
                    entry["flags"]["unlike"] = distance > 1
            result["rows"].append(row)
            dice[name] = float(np.nanmean([entry["dice"] for scan in scans for entry in scan.values()]))
            print(f"{name} seed {seed}: leave-one-out {validating:.0f} s, learning {learning:.0f} s, "
                  f"mean Dice {dice[name]:.3f}; {judged.verdict}", flush=True)  # fmt: skip
            write_outputs("quality", result, summary(result), options.output)
        chosen, reason = choose(tables, options.methods, options.shots)
        result["auto"].append({"seed": seed, "chosen": chosen, "reason": reason, "dice": dice})
        write_outputs("quality", result, summary(result), options.output)
    return result


def make_row(
    method: str,
    seed: int,
    judged: Validation,
    scans: list[dict[str, dict[str, Any]]],
    validating: float,
    learning: float,
) -> dict[str, Any]:
    """One support set and method."""
    record = judged.as_json()
    estimates = {name: entry["dice"] for name, entry in record["table"][method].items()}
    return {
        "method": method, "seed": seed, "estimates": estimates, "table": record["table"],
        "calibration": record["calibration"], "verdict": judged.verdict, "advice": judged.advice, "scans": scans,
        "validation_seconds": round(validating, 1), "learning_seconds": round(learning, 1),
    }  # fmt: skip


def agreement(estimated: Sequence[float], true: Sequence[float]) -> dict[str, float]:
    """Correlation, mean absolute error and bias (estimated minus true)."""
    difference = np.asarray(estimated) - np.asarray(true)
    varied = len(true) > 2 and np.std(estimated) > 0 and np.std(true) > 0
    return {
        "n": len(true),
        "correlation": float(np.corrcoef(estimated, true)[0, 1]) if varied else math.nan,
        "error": float(np.abs(difference).mean()) if len(true) else math.nan,
        "bias": float(difference.mean()) if len(true) else math.nan,
    }


def summary(result: dict[str, Any]) -> str:
    """The answers as Markdown."""
    lines: list[list[str]] = []
    coverage, methods = [], list(dict.fromkeys(row["method"] for row in result["rows"]))
    for method in methods:
        rows = [row for row in result["rows"] if row["method"] == method]
        estimated, true = [], []
        for row in rows:
            for name, estimate in row["estimates"].items():
                values = [scan[name]["dice"] for scan in row["scans"] if name in scan]
                if estimate is not None and values:
                    estimated.append(estimate)
                    true.append(float(np.nanmean(values)))
        lines.append(line("leave-one-out Dice of a structure", method, agreement(estimated, true)))
        entries = [entry for row in rows for scan in row["scans"] for entry in scan.values()]
        usable = [entry for entry in entries if not math.isnan(entry["expected"])]
        truth = [entry["dice"] for entry in usable]
        lines.append(line("expected Dice of a result", method, agreement([e["expected"] for e in usable], truth)))
        usable = [entry for entry in entries if entry["predicted"] is not None]
        truth = [entry["dice"] for entry in usable]
        lines.append(line("predicted Dice of a result", method, agreement([e["predicted"][0] for e in usable], truth)))
        inside = [entry["predicted"][1] <= entry["dice"] <= entry["predicted"][2] for entry in usable]
        width = np.mean([entry["predicted"][2] - entry["predicted"][1] for entry in usable]) if usable else math.nan
        seconds = [row["validation_seconds"] for row in rows]
        coverage.append(f"{method}: {sum(inside)} of {len(inside)} within the interval (mean width {width:.2f}); "
                        f"leave-one-out took {', '.join(f'{s:.0f}' for s in seconds)} s")  # fmt: skip
    entries = [entry for row in result["rows"] for scan in row["scans"] for entry in scan.values()]
    chosen = [
        f"seed {row['seed']}: auto takes {row['chosen']}; mean query Dice "
        + ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
        for row in result["auto"]
    ]
    agreements = markdown(["what", "method", "n", "correlation", "mean absolute error", "bias"], lines)
    return "\n".join([agreements, "", *coverage, "", flag_table(entries), "", *chosen, ""])


def flag_table(entries: Sequence[dict[str, Any]]) -> str:
    """How often each flag catches a poor result, and how often it is a false alarm."""
    poor = [entry for entry in entries if entry["dice"] < POOR]
    fine = [entry for entry in entries if entry["dice"] >= POOR]
    rows = []
    for kind in [*(entries[0]["flags"] if entries else ()), "any that a report shows"]:
        caught, false = (sum(raised(entry["flags"], kind) for entry in group) for group in (poor, fine))
        rows.append([kind, str(caught), str(false)])
    for kind in entries[0]["notes"] if entries else ():
        caught, false = (sum(entry["notes"][kind] for entry in group) for group in (poor, fine))
        rows.append([f"(a note) {kind}", str(caught), str(false)])
    return markdown(["flag", f"catches, of {len(poor)} below {POOR}", f"false alarms, of {len(fine)} others"], rows)


def raised(flags: dict[str, bool], kind: str) -> bool:
    """Whether a flag is raised, or any that a report shows: beside a predicted Dice it leaves out the boundary's."""
    return flags[kind] if kind in flags else any(up for name, up in flags.items() if name != "boundary")


def line(what: str, method: str, found: dict[str, float]) -> list[str]:
    """A row of the table."""
    return [
        what,
        method,
        str(found["n"]),
        f"{found['correlation']:.2f}",
        figure(found["error"]),
        f"{found['bias']:+.3f}",
    ]


def main() -> None:
    """Parse arguments, run, print and write."""
    parser = benchmark_parser(__doc__, queries=4)
    parser.add_argument("--shots", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["linear-probe"])
    parser.add_argument("--settings", default="{}", help="JSON of overrides of AdaptationSettings")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    require_pool()
    print("\n" + summary(run(options)))


if __name__ == "__main__":
    main()

"""The demonstration: synthetic scans, a support set of three, two queries, a table and pictures."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fseft.adaptation.adapt import AUTO
from fseft.adapters.registry import find_method
from fseft.compute import choose_compute
from fseft.evaluation.evaluate import evaluate
from fseft.files import replace_whole
from fseft.jobs.job import Job
from fseft.jobs.kinds import run_job
from fseft.phantom.command import write_phantoms
from fseft.reporting import Reporter
from fseft.scan.annotation import read_annotation
from fseft.scan.reading import read_scan
from fseft.scan.segments import structures_from_json
from fseft.structures import Structure, canonical_name

SUPPORT_CASES = 3
QUERIES = 2
REGION = "abdomen"
SPACING_MM = (3.0, 3.0, 5.0)
#: Large, small, tubular, hollow: what a first user might want.
STRUCTURES = ("liver", "spleen", "right kidney", "left kidney", "aorta", "stomach")


def run_demo(output: Path, seed: int, method: str, device: str, reporter: Reporter) -> dict[str, Any]:
    """Run the whole chain and print its table.

    Args:
        output: folder for scans, the model, labelmaps, reports, ``scores.json`` and ``overlay.png``.
        seed: of the synthetic patients and of training.
        method: see :data:`fseft.adapters.registry.METHODS`.
        device: see :func:`fseft.compute.choose_compute`.
        reporter: hears the jobs.

    Returns:
        The evaluation as JSON.
    """
    clock = time.monotonic()
    if method != AUTO:
        find_method(method)
    choose_compute(device)  # what cannot be is told before the scans are made
    written = write_phantoms(
        output / "scans", SUPPORT_CASES + QUERIES, seed, REGION, SPACING_MM, reporter, overwrite=True
    )
    structures = demo_structures(output / "scans" / "dataset.json")
    adapted = run_job(_adapt_job(written[:SUPPORT_CASES], structures, output, seed, method, device), reporter)
    queries = written[SUPPORT_CASES:]
    run_job(_segment_job(queries, output, device), reporter)
    pairs = [(_result(output, scan), labels) for scan, labels in queries]
    table = evaluate(pairs, structures, reporter=reporter)
    with replace_whole(output / "scores.json") as partial:
        partial.write_text(json.dumps(table.to_json(), indent=1) + "\n", encoding="utf-8")
    print(f"\n{method} adapted on {SUPPORT_CASES} synthetic scans, scored on {QUERIES} new ones:\n")
    print(table.to_text())
    print(f"\nMean Dice {table.mean_dice():.3f} in {time.monotonic() - clock:.0f} s. Everything is in {output}:")
    print(f"  model      {adapted['model']}")
    for path, _ in pairs:
        print(f"  labelmap   {path}")
    picture = _picture(queries[0], pairs[0][0], structures, output, reporter)
    if picture is not None:
        print(f"  picture    {picture}")
    return table.to_json()


def demo_structures(description: Path) -> tuple[Structure, ...]:
    """The demonstration's structures with the phantoms' label values."""
    wanted = [canonical_name(name) for name in STRUCTURES]
    return tuple(s for s in structures_from_json(description) if s.canonical in wanted)


def _adapt_job(
    cases: list[tuple[Path, Path]],
    structures: tuple[Structure, ...],
    output: Path,
    seed: int,
    method: str,
    device: str,
) -> Job:
    return Job(
        "adapt",
        {
            "name": "demo",
            "cases": [
                {"scan": str(scan), "annotation": str(labels), "name": scan.name, "others": "background"}
                for scan, labels in cases
            ],
            "structures": [{"name": s.name, "value": s.value, "color": list(s.color)} for s in structures],
            "method": method,
            "seed": seed,
            "device": device,
            # Synthetic organs are easy; half the usual steps keep the demonstration short on two cores.
            "settings": {"steps": 60},
            "output": str(output / "model"),
        },
    )


def _segment_job(queries: list[tuple[Path, Path]], output: Path, device: str) -> Job:
    scans = [{"scan": str(scan), "output": str(_result(output, scan)), "name": scan.name} for scan, _ in queries]
    return Job("segment", {"model": str(output / "model"), "scans": scans, "device": device})


def _result(output: Path, scan: Path) -> Path:
    return output / "results" / (scan.name.removesuffix(".nii.gz") + ".seg.nrrd")


def _picture(
    query: tuple[Path, Path], result: Path, structures: tuple[Structure, ...], output: Path, reporter: Reporter
) -> Path | None:
    """An overlay of the reference and the result on the first query; None, with a word, without matplotlib."""
    from fseft.errors import ResourceError
    from fseft.report.overlay import overlay_png

    scan = read_scan(query[0])
    labels = [read_annotation(path, scan, structures, others="background").labels for path in (query[1], result)]
    try:
        picture = overlay_png(scan, [("reference", labels[0]), ("segmented", labels[1])], structures)
    except ResourceError as problem:
        reporter.log(f"No picture: {problem.message} {problem.hint}", "warning")
        return None
    path = output / "overlay.png"
    with replace_whole(path) as partial:
        partial.write_bytes(picture)
    return path

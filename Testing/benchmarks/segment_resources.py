"""Time and peak memory of adapting on sparse slices of one large scan and segmenting it, through the real worker.

    python Testing/benchmarks/segment_resources.py SCAN ANNOTATION --structure "right lung=1,2" --structure heart=5

The annotation keeps every ``--every``-th slice. Structures join several label values. Prints seconds per phase, the
worker's peak memory, whether the labelmap's grid equals the scan's, and Dice against the dense annotation.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "FSEFTSegment"))

from fseft.scan.annotation import read_annotation  # noqa: E402
from fseft.scan.reading import read_scan  # noqa: E402
from fseft.scan.writing import write_labelmap  # noqa: E402


def run_worker(kind: str, parameters: dict[str, Any], folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run one job to its end; returns its result with wall time and peak memory added."""
    job = folder / f"{kind}.json"
    job.write_text(json.dumps({"format": "fseft-job", "version": 1, "kind": kind, "parameters": parameters}))
    clock = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "fseft.worker", str(job)], capture_output=True, text=True, env=environment
    )
    seconds = time.monotonic() - clock
    if done.returncode:
        sys.exit(done.stdout.splitlines()[-1] if done.stdout else done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    # The largest of all children so far: the first job is measured exactly, later ones as "at most".
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return {**result, "wall_seconds": seconds, "peak_gb": peak}


def main() -> None:
    """Parse arguments, run both jobs, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("annotation", type=Path)
    parser.add_argument("--structure", action="append", required=True, metavar="NAME=VALUE[,VALUE...]")
    parser.add_argument("--every", type=int, default=8, help="annotated slices: every n-th")
    parser.add_argument("--fresh", action="store_true", help="segment without the features that adapting cached")
    options = parser.parse_args()
    scan = read_scan(options.scan)
    dense = read_annotation(options.annotation, scan).labels
    wanted = [text.partition("=")[::2] for text in options.structure]
    labels = np.zeros(dense.shape, dtype=np.uint16)
    for number, (_, values) in enumerate(wanted, start=1):
        labels[np.isin(dense, [int(v) for v in values.split(",")])] = number
    sparse = np.zeros_like(labels)
    sparse[:: options.every] = labels[:: options.every]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_labelmap(sparse, scan.geometry, folder / "sparse.nii.gz")
        environment = {**os.environ, "FSEFT_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT / "FSEFTSegment")}
        adapt = {
            "name": "bench",
            "cases": [{"scan": str(options.scan), "annotation": str(folder / "sparse.nii.gz"), "sparse": "z"}],
            "structures": [{"name": text, "value": number} for number, (text, _) in enumerate(wanted, start=1)],
            "method": "spatial-adapter",
            "device": "cpu",
            "output": str(folder / "model"),
        }
        adapted = run_worker("adapt", adapt, folder, environment)
        print(f"adapt    {adapted['wall_seconds']:6.1f} s  peak {adapted['peak_gb']:.2f} GB", flush=True)
        if options.fresh:
            environment["FSEFT_CACHE"] = "off"
        output = folder / "out.nii.gz"
        segment = {"model": str(folder / "model"), "scans": [{"scan": str(options.scan), "output": str(output)}]}
        segmented = run_worker("segment", {**segment, "device": "cpu"}, folder, environment)
        print(f"segment  {segmented['wall_seconds']:6.1f} s  peak at most {segmented['peak_gb']:.2f} GB")
        print(f"phases   {segmented['scans'][0]['seconds']}")
        result = read_annotation(output, scan)
        print(f"grid     {'identical' if same_grid(output, scan) else 'DIFFERENT'}")
        for number, (text, _) in enumerate(wanted, start=1):
            ours, truth = result.labels == number, labels == number
            print(f"Dice     {text:14} {2 * (ours & truth).sum() / max(1, ours.sum() + truth.sum()):.3f}")


def same_grid(output: Path, scan: Any) -> bool:
    """Whether the written labelmap has the scan's grid, by its own header."""
    from fseft.evaluation.labelmap import read_labelmap

    return bool(read_labelmap(output).geometry.same_grid(scan.geometry))


if __name__ == "__main__":
    main()

"""How long re-adapting takes after a correction, and where the time goes.

    OMP_NUM_THREADS=2 python Testing/benchmarks/readaptation.py

What a person waits for who corrected an annotation: ``fseft adapt ... --continue MODEL`` as a process of its own, with
three of OpenKBP's cases, seven structures, the spatial adapter and cached feature volumes. The model to go on from is
made first, in few steps, which also fills the cache. Times are told from the start of the process, as wall time and
as processor time of all threads; the second is what to compare on a machine that does other things too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
POOL = ROOT / ".." / "shared" / "ct" / "openkbp"

#: The functions of :mod:`fseft.adaptation.adapt` and :mod:`fseft.jobs.adapt_job` behind each part.
PARTS = {
    "reading": ("read_scan", "read_annotation", "_whole_volumes"),
    "features and labels on the network grid": ("features", "make_support_case"),
    "start of the adapter": ("initial_adapter",),
    "training steps": ("train_adapter",),
    "statistics": ("support_statistics",),
    "writing": ("save_model",),
}


class Clock:
    """Seconds of parts of this process, wall and processor."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.parts: dict[str, list[float]] = {"interpreter and imports": self.now()}

    def now(self) -> list[float]:
        """Wall and processor seconds since the process was started."""
        return [time.time() - self.started, time.process_time()]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted."""

        def call(*arguments: Any, **named: Any) -> Any:
            before = self.now()
            try:
                return function(*arguments, **named)
            finally:
                spent = [after - start for after, start in zip(self.now(), before, strict=True)]
                self.parts[part] = [a + b for a, b in zip(self.parts.get(part, [0.0, 0.0]), spent, strict=True)]

        return call


def measured(arguments: list[str]) -> None:
    """Run a command line in this process; prints JSON with the parts as the last line."""
    started = float(os.environ["FSEFT_BENCHMARK_STARTED"])
    from fseft.adaptation import adapt
    from fseft.cli.main import main
    from fseft.features.source import FeatureSource
    from fseft.jobs import adapt_job, kinds  # noqa: F401

    clock = Clock(started)
    for part, names in PARTS.items():
        for name in names:
            owner: Any = next(o for o in (adapt, adapt_job, FeatureSource) if hasattr(o, name))
            setattr(owner, name, clock.timed(part, getattr(owner, name)))
    code = main(arguments)
    print(json.dumps({"parts": clock.parts, "whole": clock.now()}), flush=True)
    sys.exit(code)


def run(arguments: list[str], home: Path) -> dict[str, Any]:
    """The same in a process of its own, with a model library of its own; returns its figures."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "FSEFTSegment"),
        "FSEFT_HOME": str(home),
        "FSEFT_BENCHMARK_STARTED": str(time.time()),
    }
    command = [sys.executable, __file__, "--measured", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def support_set(cases: int) -> list[str]:
    """Arguments that name the first cases which have all structures."""
    splits = json.loads((POOL / "splits.json").read_text())
    described = {name: json.loads((POOL / f"{name}.json").read_text()) for name in splits["few_shot"]}
    most = max(len(entry["usable_labels"]) for entry in described.values())
    chosen = [name for name, entry in described.items() if len(entry["usable_labels"]) == most][:cases]
    arguments = []
    for name in chosen:
        arguments += ["--case", str(POOL / f"{name}_ct.nii.gz"), str(POOL / f"{name}_seg.nii.gz")]
    for name, value in described[chosen[0]]["labels"].items():
        arguments += ["--structure", f"{name}={value}"]
    return arguments


def main() -> None:
    """Make a model, go on from it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--method", default="spatial-adapter")
    parser.add_argument("--repeat", type=int, default=1, help="go on so many times; the fastest is told")
    options = parser.parse_args()
    if not POOL.is_dir():
        sys.exit(f"This benchmark needs the OpenKBP cases in {POOL.name}/, which are not here.")
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home"
        arguments = ["--quiet", "adapt", "corrected", *support_set(options.cases)]
        run([*arguments, "--method", options.method, "--setting", "steps=3"], home)
        runs = [run([*arguments, "--continue", "corrected"], home) for _ in range(options.repeat)]
    best = min(runs, key=lambda result: result["whole"][0])
    print("| part | wall | processor | share |\n|---|---|---|---|")
    told = [0.0, 0.0]
    for part, (wall, processor) in best["parts"].items():
        print(f"| {part} | {wall:.1f} s | {processor:.1f} s | {processor / best['whole'][1]:.0%} |")
        told = [told[0] + wall, told[1] + processor]
    wall, processor = best["whole"]
    print(f"| the rest | {wall - told[0]:.1f} s | {processor - told[1]:.1f} s | {1 - told[1] / processor:.0%} |")
    print(f"| whole | {wall:.1f} s | {processor:.1f} s | |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measured"]:
        measured(sys.argv[2:])
    else:
        main()

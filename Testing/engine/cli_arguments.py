"""Arguments of a small model, for the tests of the command line."""

from __future__ import annotations

from worker_runs import Workplace

SMALL = ["--setting", "crop=32", "--setting", "crops_per_step=2", "--setting", "steps=5"]


def adapt_arguments(workplace: Workplace, name: str = "pair") -> list[str]:
    cases = [part for scan, annotation in workplace.scans[:2] for part in ("--case", str(scan), str(annotation))]
    structures = ["--structure", "ball=1", "--structure", "rod=4"]
    return ["--quiet", "adapt", name, *cases, *structures, "--backbone", "tiny", "--device", "cpu", *SMALL]

"""``fseft demo``: the main job on scans that it makes itself."""

from __future__ import annotations

import argparse
from pathlib import Path

from fseft.reporting import Reporter

SUMMARY = "Make synthetic scans, adapt on three of them, segment two new ones and score the result."
EXAMPLES = """\
Examples:
  fseft demo
  fseft demo --output somewhere/ --seed 7"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--output", type=Path, default=Path("fseft-demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="spatial-adapter")
    parser.add_argument("--device", default="auto")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.demo import run_demo

    run_demo(options.output, options.seed, options.method, options.device, reporter)

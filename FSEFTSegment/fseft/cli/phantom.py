"""``fseft phantom``: synthetic CT scans with organs."""

from __future__ import annotations

import argparse
from pathlib import Path

from fseft.reporting import Reporter

SUMMARY = "Write synthetic CT scans with labelled organs, to try things without patient data."
EXAMPLES = """\
Examples:
  fseft phantom practice/ --count 5
  fseft phantom neck/ --count 2 --region head-neck --spacing 2 2 3"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("folder", type=Path, help="images/, labels/ and dataset.json are written here")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--region", choices=["torso", "abdomen", "chest", "head-neck", "whole"], default="abdomen")
    parser.add_argument("--spacing", type=float, nargs=3, default=[3.0, 3.0, 3.0], metavar="MM")
    parser.add_argument("--overwrite", action="store_true", help="replace scans and labels of these names")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.phantom.command import write_phantoms

    x, y, z = options.spacing
    written = write_phantoms(
        options.folder, options.count, options.seed, options.region, (x, y, z), reporter, options.overwrite
    )
    for scan, labels in written:
        print(f"{scan}  {labels}")

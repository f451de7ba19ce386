"""``fseft priors``: volumes of normal adult organs that can serve as size priors."""

from __future__ import annotations

import argparse
import dataclasses
import json

from fseft.cli.tables import print_table
from fseft.reporting import Reporter

SUMMARY = "List volumes of normal adult organs, with their sources."
EXAMPLES = """\
They are offered, never used by themselves: ask for one with --prior NAME=preset.

Examples:
  fseft priors
  fseft priors --json
  fseft segment my-model ct.nii.gz --output result.seg.nrrd --prior spleen=preset"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print them as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.priors.presets import PRESETS

    if options.json:
        print(json.dumps([dataclasses.asdict(preset) for preset in PRESETS.values()], indent=1, ensure_ascii=False))
        return
    rows = [
        [p.structure, f"{p.mean_ml:g}", f"{p.low_ml:g} - {p.high_ml:g}", f"{p.citation}: {p.basis}"]
        for p in PRESETS.values()
    ]
    print_table(["structure", "mean ml", "range ml", "source"], rows)

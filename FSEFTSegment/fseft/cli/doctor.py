"""``fseft doctor``: is this machine ready?"""

from __future__ import annotations

import argparse
import json

from fseft.reporting import Reporter

SUMMARY = "Check packages, devices, memory and disk, and say what will be slow."
EXAMPLES = """\
Examples:
  fseft doctor
  fseft doctor --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.system.doctor import examine

    findings = examine()
    print(json.dumps(findings.report, indent=1) if options.json else findings.text)

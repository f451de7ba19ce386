"""``fseft cache``: the feature cache."""

from __future__ import annotations

import argparse
import math
import time

from fseft.cli.tables import print_table
from fseft.errors import InputError
from fseft.reporting import Reporter

SUMMARY = "Show, shrink or clear the feature cache."
EXAMPLES = """\
Examples:
  fseft cache show
  fseft cache shrink --gigabytes 5
  fseft cache clear"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("show", help="where it is and what it holds")
    actions.add_parser("clear", help="remove every feature volume")
    shrink = actions.add_parser("shrink", help="remove the least recently used feature volumes")
    shrink.add_argument("--gigabytes", type=float, required=True)


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.features.cache import FeatureCache

    cache = FeatureCache()
    if options.action == "clear":
        print(f"Freed {cache.clear() / 1e9:.2f} GB")
    elif options.action == "shrink":
        if not 0 <= options.gigabytes < math.inf:
            raise InputError(
                "size-invalid", f"A cache cannot have {options.gigabytes:g} gigabytes.", "Give 0 or more gigabytes."
            )
        limited = FeatureCache(cache.folder, int(options.gigabytes * 1e9), cache.enabled)
        print(f"Freed {limited.shrink() / 1e9:.2f} GB")
    else:
        entries = cache.entries()
        state = "" if cache.enabled else " (switched off)"
        used = sum(entry.nbytes for entry in entries)
        print(f"{cache.folder}{state}: {used / 1e9:.2f} GB of {cache.limit_bytes / 1e9:.0f} GB")
        now = time.time()
        rows = [[e.key[:16], f"{e.nbytes / 1e6:.0f}", f"{(now - e.last_used) / 3600:.1f}"] for e in entries]
        if rows:
            print_table(["feature volume", "MB", "hours since use"], rows)

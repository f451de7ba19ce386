"""The command line ``fseft``: see :mod:`fseft.cli.main`."""

from __future__ import annotations


def run() -> int:
    """What the installed command calls; returns the exit code.

    Loading the program takes a moment, and Ctrl-C in that moment is a cancellation like any other.
    """
    try:
        from fseft.cli.main import main

        return main()
    except KeyboardInterrupt:
        import sys

        print("\nfseft: The job was cancelled.\n       Nothing was changed. [cancelled]", file=sys.stderr)
        return 4

"""The command ``fseft``. A new command is one file and one line here."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import fseft
from fseft.cli import (
    adapt,
    backbones,
    cache,
    demo,
    doctor,
    evaluate,
    models,
    phantom,
    pretrain,
    priors,
    propose,
    segment,
    suggest,
    validate,
)
from fseft.cli.progress import TerminalReporter
from fseft.errors import Cancelled, FseftError
from fseft.worker import as_fseft_error

COMMANDS = {
    "adapt": adapt,
    "segment": segment,
    "validate": validate,
    "suggest": suggest,
    "propose": propose,
    "evaluate": evaluate,
    "models": models,
    "priors": priors,
    "backbones": backbones,
    "cache": cache,
    "doctor": doctor,
    "demo": demo,
    "phantom": phantom,
    "pretrain": pretrain,
}

_EPILOG = """\
Exit codes: 0 done, 1 unexpected error, 2 unusable input, 3 the machine lacks something, 4 cancelled.
Folders: FSEFT_HOME holds models and backbones, FSEFT_CACHE feature volumes ("off" disables the cache).

Examples:
  fseft adapt my-model --folder annotated/ --method spatial-adapter
  fseft segment my-model new1.nii.gz new2.nii.gz --output results/
  fseft evaluate --prediction results/ --reference truth/

Research use only; not a medical device."""


class _Parser(argparse.ArgumentParser):
    """Complains about arguments as about everything else: what is wrong, what to do, a code."""

    _takes_mixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Files may stand before and after options: ``segment model --output results scan`` is what people type."""
        if self._subparsers is not None or self._takes_mixed:
            return super().parse_known_args(args, namespace)
        self._takes_mixed = True  # argparse comes back here to do it
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._takes_mixed = False

    def error(self, message: str) -> NoReturn:
        sentence = message[:1].upper() + message[1:].rstrip(".")
        self.exit(2, f"\nfseft: {sentence}.\n       See '{self.prog} --help'. [arguments-invalid]\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = _Parser(
        prog="fseft",
        description="Adapt a CT backbone to your own structures with a handful of annotated scans, "
        "and segment new ones. Everything stays on this machine.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fseft {fseft.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--quiet", action="store_true", help="no progress, only results and warnings")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an old console may lack "±": better a question mark than an error
    options = build_parser().parse_args(arguments)
    try:
        options.run(options, TerminalReporter(options.quiet))
        if sys.stdout is not None:
            sys.stdout.flush()  # here, where a closed pipe is no error, and not when the interpreter ends
        return 0
    except KeyboardInterrupt:
        return _complain(Cancelled(), options.debug)
    except BrokenPipeError:
        _discard_output()
        return 0  # the reader, `head` for example, has seen enough
    except Exception as problem:
        return _complain(problem, options.debug)


def _discard_output() -> None:
    """What is left in the buffer goes nowhere, so that the interpreter does not complain about it at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        return


def _complain(problem: Exception, debug: bool) -> int:
    known: FseftError = as_fseft_error(problem)
    if debug:
        traceback.print_exception(problem)
    print(f"\nfseft: {known.message}\n       {known.hint} [{known.code}]", file=sys.stderr)
    return known.exit_code


if __name__ == "__main__":
    sys.exit(main())

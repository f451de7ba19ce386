"""Arguments that the commands which learn share: the support set and how to train."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from fseft.errors import InputError

SUPPORT_SET = """\
The support set comes from one of:
  --case SCAN ANNOTATION          pairs of files, repeated
  --folder FOLDER                 images/ and labels/, or an nnU-Net or MSD folder with dataset.json
  --csv FILE                      columns scan, annotation and optionally name, sparse, structures"""


def add_support_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name the support set and its structures."""
    support = parser.add_mutually_exclusive_group()
    support.add_argument("--case", nargs=2, action="append", metavar=("SCAN", "ANNOTATION"), help="an annotated scan")
    support.add_argument("--folder", type=Path, help="a folder with annotated scans")
    support.add_argument("--csv", type=Path, help="a table of annotated scans")
    parser.add_argument(
        "--structure", action="append", metavar="NAME=VALUE", help="structure and its label value; default: all found"
    )
    add_sparse_argument(parser)


def add_sparse_argument(parser: argparse.ArgumentParser, of: str = "") -> None:
    """How the annotated scans ``of`` an argument were annotated."""
    parser.add_argument(
        "--sparse", choices=["no", "auto", "x", "y", "z"], help=f"only some slices{of} are annotated, along this axis"
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that say how and where to train."""
    parser.add_argument("--backbone", help="what gives the features; default: fseft-mini")
    parser.add_argument("--protocol", choices=["default", "published"], default="default", help="training protocol")
    parser.add_argument("--setting", action="append", metavar="NAME=VALUE", help="override one number of the protocol")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")


def training_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """A job's parameters of these arguments."""
    return {
        **({} if options.backbone is None else {"backbone": options.backbone}),
        "protocol": options.protocol,
        "settings": dict(_setting(text) for text in options.setting or []),
        "device": options.device,
        "seed": options.seed,
    }


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError as problem:
        if value and value.replace("-", "").isalpha():
            return name, value
        raise InputError("setting-invalid", f"{text!r} is not a setting.", "Write NAME=VALUE.") from problem

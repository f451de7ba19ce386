"""``fseft pretrain``: train a backbone."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from fseft.reporting import Reporter

SUMMARY = "Train a backbone on partially labelled scans and phantoms."
EXAMPLES = """\
Sources, repeated, each KIND:PLACE[,OPTION=VALUE...]:
  folder:PATH        <case>_ct.nii.gz, <case>_seg.nii.gz and <case>.json ({"labels": {"liver": 1}}) for every case;
                     options structures=A+B, except=A+B, cases=A+B or cases=splits.json#key, weight=1,
                     template=CASE (all others are registered to it: the backbone learns where in the body it is)
  phantoms:REGION    synthetic scans; options count=40, seed=0, randomised=0.4, except=A+B, weight=1
  shapes:PATH        synthetic scans from the shapes of a folder's labels; options of both

Examples:
  fseft pretrain --source folder:scans --source phantoms:torso --minutes 60 --output my-backbone
  fseft pretrain --source folder:scans,structures=liver+spleen,weight=2 --minutes 120 --resume --output my-backbone
  torchrun --nproc-per-node 4 -m fseft.cli.main pretrain --source folder:scans --minutes 600 --output my-backbone

The result is a backbone folder; `fseft backbones import ID FOLDER` installs it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--source", action="append", required=True, metavar="SOURCE", help="where scans come from")
    parser.add_argument("--output", type=Path, required=True, help="folder of the new backbone")
    parser.add_argument("--minutes", type=float, help="training time; default 60 unless --steps is given")
    parser.add_argument("--steps", type=int, help="optimiser steps, at most")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the output folder")
    parser.add_argument(
        "--start-from",
        metavar="BACKBONE",
        help="backbone whose weights training starts with: a folder, or a listed one",
    )
    parser.add_argument("--loss", choices=["points", "published"], help="the default, or the paper's masked Dice alone")
    parser.add_argument("--settings", type=Path, help="JSON file with other settings than the default")
    parser.add_argument("--name", help="identifier of the new backbone; default: the output folder's name")
    parser.add_argument("--work", type=Path, help="folder for prepared scans; default: OUTPUT-work")
    parser.add_argument(
        "--workers",
        type=int,
        help="processes that prepare scans, and that make crops; on a GPU crops are made there without",
    )
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.pretraining.command import run_pretraining
    from fseft.pretraining.settings import PretrainingSettings, read_overrides
    from fseft.pretraining.sources import parse_source

    overrides: dict[str, Any] = read_overrides(options.settings) if options.settings else {}
    if options.steps is not None and options.minutes is None and "minutes" not in overrides:
        overrides["minutes"] = None
    for name in ("minutes", "steps", "loss", "workers", "seed"):
        if getattr(options, name) is not None:
            overrides[name] = getattr(options, name)
    named = overrides.get("network", {})
    if isinstance(named, dict):
        identifier = options.name or named.get("id") or options.output.resolve().name
        overrides["network"] = {"title": f"{identifier}: compact U-Net", **named, "id": identifier}
    settings = PretrainingSettings().with_overrides(overrides)
    sources = [parse_source(text) for text in options.source]
    work = options.work or options.output.with_name(options.output.name + "-work")
    start = _start(options.start_from)
    result = run_pretraining(sources, settings, options.output, work, options.device, options.resume, reporter, start)
    if os.environ.get("RANK", "0") != "0":
        return  # torchrun starts this several times; one of them tells the result
    progress, specification = result.progress, result.specification
    count = len(specification.classes)
    print(f"Backbone {specification.id!r}, {count} class{'es' if count > 1 else ''}, is in {options.output}")
    print(f"{progress.step} steps in {progress.seconds / 60:.1f} min, loss {_last(progress.history)}")


def _last(history: list[dict[str, float]]) -> str:
    return f"{history[-1]['loss']:.3f}" if history else "unknown"


def _start(given: str | None) -> Path | None:
    """The folder of the backbone to start with, which may be given by its name among the installed ones."""
    from fseft.backbones.library import find_backbone

    return None if given is None else Path(given) if Path(given).is_dir() else find_backbone(given)

"""A whole pretraining run: sources to a backbone folder with its record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import fseft
from fseft.backbones.networks import Backbone
from fseft.backbones.weights import load_backbone
from fseft.compute import choose_compute, usable_cores, use_threads
from fseft.errors import InputError
from fseft.files import replace_whole
from fseft.pretraining.checkpoint import has_checkpoint
from fseft.pretraining.distributed import join_processes
from fseft.pretraining.loop import CHECKPOINT_FOLDER, Result, Trainer
from fseft.pretraining.preparation import Pool, prepare
from fseft.pretraining.settings import PretrainingSettings
from fseft.pretraining.sources import Source
from fseft.reporting import SILENT, Reporter

RECORD_FILE = "pretraining.json"


def run_pretraining(
    sources: Sequence[Source],
    settings: PretrainingSettings,
    output: Path,
    work: Path,
    device: str = "auto",
    resume: bool = False,
    reporter: Reporter = SILENT,
    start_from: Path | None = None,
) -> Result:
    """Prepare the sources, train, and write the backbone.

    Args:
        sources: where cases come from.
        settings: the run's numbers.
        output: the backbone's folder: specification, weights, ``pretraining.json`` and the checkpoint.
        work: folder for prepared cases; they are kept for the next run.
        device: see :func:`fseft.compute.choose_compute`.
        resume: go on from the checkpoint in ``output``.
        reporter: hears phases "cases" and "pretraining" and the losses.
        start_from: folder of a backbone with the same network whose weights come first.

    Raises:
        InputError: for unusable sources, settings or checkpoints, each with its own code.
        ResourceError: "device-unavailable", "disk-full", "cannot-write".
        Cancelled: with a checkpoint in ``output``.
    """
    compute = choose_compute(device)
    use_threads()
    with join_processes(compute) as processes:
        grid = settings.network.specification(())
        initial = load_backbone(start_from) if start_from else None  # what is wrong with it is told before the work
        if processes.leads:
            _refuse_a_folder_in_use(output)  # the work may go below it
            if resume and not has_checkpoint(output / CHECKPOINT_FOLDER):
                reporter.log(f"{output.name!r} holds no run to go on with: a new one starts.", "warning")
            workers = max(1, usable_cores() - 1) if settings.workers is None else settings.workers
            prepare(sources, grid, work, workers, reporter)
        processes.wait()
        pool = prepare(sources, grid, work)
        heard = reporter if processes.leads else SILENT
        trainer = Trainer(pool, settings, compute, processes, output, resume, heard, initial)
        result = trainer.run()
        if processes.leads:
            _write_record(output / RECORD_FILE, sources, pool, settings, result, processes.count, initial)
    return result


def _refuse_a_folder_in_use(output: Path) -> None:
    """A backbone gets a folder of its own: neither another one nor somebody's files are written over."""
    if has_checkpoint(output / CHECKPOINT_FOLDER) or not output.is_dir():
        return
    if any(not path.name.startswith(".") for path in output.iterdir()):
        raise InputError(
            "pretraining-output-in-use",
            f"{output.name!r} holds files, and no run to go on with.",
            "Choose another folder for the backbone.",
        )


def _write_record(
    path: Path,
    sources: Sequence[Source],
    pool: Pool,
    settings: PretrainingSettings,
    result: Result,
    processes: int,
    initial: Backbone | None,
) -> None:
    """What was done, for the model card; no path and no case name."""
    record = {
        "format": "fseft-pretraining-record",
        "version": 1,
        "fseft": fseft.__version__,
        "sources": [source.description for source in sources],
        # A registration that was refused leaves a case without dense places: how many have them is worth knowing.
        "cases": [{"all": len(group), "placed densely": sum(case.dense for case in group)} for group in pool.groups],
        "settings": settings.to_json(),
        "processes": processes,
        "started_from": None if initial is None else initial.specification.weights_sha256,
        "steps": result.progress.step,
        "seconds": round(result.progress.seconds, 1),
        "classes": list(result.specification.classes),
        "history": result.progress.history,
    }
    with replace_whole(path) as partial:
        partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

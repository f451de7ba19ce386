"""Cases of all sources, made once and kept in a work folder."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from fseft.backbones.specification import BackboneSpecification
from fseft.errors import InputError
from fseft.pretraining.cases import PreparedCase, is_prepared
from fseft.pretraining.class_map import known_classes, ordered_classes
from fseft.pretraining.sources import Preparation, Source
from fseft.reporting import SILENT, Reporter


@dataclass(frozen=True)
class Pool:
    """All cases of a run.

    Attributes:
        groups: the cases of each source.
        weights: share of crops of each source; they sum to 1.
        classes: every class that some source decides.
    """

    groups: tuple[tuple[PreparedCase, ...], ...]
    weights: tuple[float, ...]
    classes: tuple[str, ...]


def prepare(
    sources: Sequence[Source],
    specification: BackboneSpecification,
    work: Path,
    workers: int = 0,
    reporter: Reporter = SILENT,
) -> Pool:
    """Bring every case to the network grid; those already in the work folder are taken as they are.

    Args:
        sources: where cases come from.
        specification: whose grid they are brought to.
        work: folder for the prepared cases.
        workers: processes to use; 0 and 1 use this one.
        reporter: hears phase "cases".

    Raises:
        InputError: "pretraining-no-source", "pretraining-no-label", or as the sources do.
    """
    if not sources:
        raise InputError("pretraining-no-source", "There is nothing to learn from.", "Give at least one --source.")
    groups = [source.preparations(specification) for source in sources]
    every = [preparation for group in groups for preparation in group]
    needed = list({need.folder(work): need for preparation in every for need in preparation.needs()}.values())
    done: dict[Path, PreparedCase] = {}
    stages = chain(_run(needed, work, workers), _run(every, work, workers))
    for number, (folder, case) in enumerate(stages, start=1):
        done[folder] = case
        reporter.progress("cases", number, len(needed) + len(every))
        reporter.check_cancelled()
    cases = tuple(tuple(done[preparation.folder(work)] for preparation in group) for group in groups)
    classes = ordered_classes(
        {name for group in cases for case in group for name in known_classes(case.structures, case.left_out)}
    )
    if not classes:
        raise InputError(
            "pretraining-no-label", "No source has a label that may be used.", "Allow at least one structure."
        )
    total = sum(source.weight for source in sources)
    return Pool(cases, tuple(source.weight / total for source in sources), classes)


def _run(preparations: Sequence[Preparation], work: Path, workers: int) -> Iterator[tuple[Path, PreparedCase]]:
    missing = [p for p in preparations if not is_prepared(p.folder(work))]
    if workers < 2 or len(missing) < 2:
        yield from ((p.folder(work), p.run(work)) for p in preparations)
        return
    yield from ((p.folder(work), p.run(work)) for p in preparations if is_prepared(p.folder(work)))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {pool.submit(p.run, work): p.folder(work) for p in missing}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)

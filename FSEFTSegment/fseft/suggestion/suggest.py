"""Suggest what to annotate next, from scans on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fseft.errors import InputError, ScanError
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import AdaptedModel
from fseft.preprocessing.body import find_body
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import read_annotation
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.segmentation.left_out import LeftOut
from fseft.structures import Structure
from fseft.suggestion.ranking import Ranked, rank_scans
from fseft.suggestion.slices import SliceAdvice, advise_slices
from fseft.suggestion.statistics import feature_statistics
from fseft.suggestion.uncertainty import model_uncertainty


@dataclass(frozen=True)
class ScanFile:
    """A scan that could be annotated, or is.

    Attributes:
        scan: file or DICOM folder.
        name: for the ranking.
        series: DICOM series, where the folder holds several.
        labelmap: a rough labelmap of the structures, if there is one.
    """

    scan: Path
    name: str
    series: str | None = None
    labelmap: Path | None = None


@dataclass(frozen=True)
class Suggestion:
    """What to annotate next.

    Attributes:
        ranking: scans without annotation, the first to annotate first.
        slices: advice for the first of them, None without a ranking.
        left_out: scans that could not be used, and why.
    """

    ranking: list[Ranked]
    slices: SliceAdvice | None
    left_out: LeftOut


def suggest(
    scans: Sequence[ScanFile],
    annotated: Sequence[ScanFile],
    source: FeatureSource,
    model: AdaptedModel | None = None,
    structures: Sequence[Structure] = (),
    reporter: Reporter = SILENT,
) -> Suggestion:
    """Rank scans by what annotating them would add.

    Args:
        scans: candidates; one that is annotated already, whatever its file is called, is left out.
        annotated: the support set so far; only its scans are read.
        source: feature volumes.
        model: adapted from the support set; adds its uncertainty to the ranking.
        structures: which values of a rough labelmap count; all when empty.
        reporter: hears phases "scans" and "features".

    Raises:
        InputError: "no-scans", "scan-name-twice".
        ScanError: the first one's, when no scan could be read.
    """
    if not scans:
        raise InputError("no-scans", "There is no scan to choose from.", "Name at least one scan without annotation.")
    _require_distinct([*scans, *annotated])
    total = len(scans) + len(annotated)
    known: dict[str, np.ndarray] = {}
    candidates: dict[str, np.ndarray] = {}
    uncertainty: dict[str, float] = {}
    seen: set[str] = set()
    left_out = LeftOut(total, reporter)
    for number, entry in enumerate([*annotated, *scans]):
        reporter.progress("scans", number, total, entry.name)
        reporter.check_cancelled()
        try:
            scan = read_scan(entry.scan, series=entry.series, name=entry.name, reporter=reporter)
        except ScanError as problem:
            left_out.add(entry.name, problem)
            continue
        if scan.content_key in seen:
            reporter.log(f"{entry.name} is a scan that is there already; it is left out.", "warning")
            continue
        seen.add(scan.content_key)
        features = source.features(scan, reporter)
        (known if number < len(annotated) else candidates)[entry.name] = feature_statistics(features)
        if model is not None and entry.name in candidates:
            uncertainty[entry.name] = model_uncertainty(model.adapter, features, source.compute)
    reporter.progress("scans", total, total)
    ranking = rank_scans(candidates, known, None if model is None else uncertainty)
    if not ranking:
        return Suggestion([], None, left_out)
    first = next(entry for entry in scans if entry.name == ranking[0].name)
    return Suggestion(ranking, _slices(first, structures, reporter), left_out)


def _slices(entry: ScanFile, structures: Sequence[Structure], reporter: Reporter) -> SliceAdvice:
    scan: Scan = read_scan(entry.scan, series=entry.series, name=entry.name)
    body = find_body(scan)
    labels = None
    if entry.labelmap is not None:
        labels = read_annotation(
            entry.labelmap, scan, structures or None, None, reporter, "background" if structures else "refuse"
        ).labels
    return advise_slices(scan.geometry, (body.start[0], body.stop[0]), labels)


def _require_distinct(entries: Sequence[ScanFile]) -> None:
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise InputError("scan-name-twice", f"Two scans are called {name!r}.", "Give every scan a name of its own.")

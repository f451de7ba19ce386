"""Segment: new scans with an adapted model, to labelmaps and reports."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fseft.compute import Compute
from fseft.errors import ScanError
from fseft.features.source import FeatureSource
from fseft.features.volume import FeatureVolume
from fseft.models.adapted_model import AdaptedModel, SizePrior
from fseft.quality.confidence import Confidence, ConfidenceTally
from fseft.quality.typicality import unlike
from fseft.reporting import SILENT, Reporter
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap
from fseft.segmentation.components import keep_largest
from fseft.segmentation.left_out import LeftOut
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.report import make_report, write_report
from fseft.segmentation.scoring import Box
from fseft.segmentation.volumes import StructureVolume, measure
from fseft.transduction.apply import Refinement, refine_labels
from fseft.transduction.plan import Outcome
from fseft.transduction.survey import Survey
from fseft.transduction.ways import OFF, Refining


@dataclass(frozen=True)
class Query:
    """A scan to segment.

    Attributes:
        scan: a scan file or DICOM folder.
        output: labelmap to write; its suffix chooses NIfTI, NRRD, MHA or ``.seg.nrrd``.
        name: for messages and the report.
        series: DICOM series, where the folder holds several.
        before: where to write the labelmap before refinement; written only when refinement changed something.
    """

    scan: Path
    output: Path
    name: str
    series: str | None = None
    before: Path | None = None


@dataclass(frozen=True)
class Batch:
    """What became of several scans.

    Attributes:
        reports: of those that were segmented, in order, each with the paths "output", "report" and perhaps "before".
        left_out: those that could not be used, and why.
    """

    reports: list[dict[str, Any]]
    left_out: LeftOut


@dataclass(frozen=True)
class Segmentation:
    """A segmented scan in memory.

    Attributes:
        labels: (z, y, x) on the scan's grid, with the structures' own label values.
        sizes: per structure, in the model's order.
        confidence: of the prediction before refinement, in that order.
        features: the scan's.
        outcomes: of refinement, in that order; empty without refinement.
        before: the labels before refinement, None when nothing changed.
        unlike: distance from the support set as a multiple of what is usual there; nan when unknown.
        seconds: wall time by phase.
    """

    labels: np.ndarray
    sizes: list[StructureVolume]
    confidence: list[Confidence]
    features: FeatureVolume
    outcomes: list[Outcome] = field(default_factory=list)
    before: np.ndarray | None = None
    unlike: float = float("nan")
    seconds: dict[str, float] = field(default_factory=dict)


def segment_scan(
    scan: Scan,
    model: AdaptedModel,
    source: FeatureSource,
    largest_component: bool = False,
    reporter: Reporter = SILENT,
    refining: Refining = OFF,
    priors: Mapping[str, SizePrior] | None = None,
) -> Segmentation:
    """Segment one scan in memory.

    Args:
        scan: the query.
        model: an adapted model for the source's backbone.
        source: feature volumes.
        largest_component: keep only each structure's largest 26-connected component.
        reporter: hears phases "features", "segmentation" and "refinement".
        refining: whether and how to refine.
        priors: expected volumes by structure name; the model's by default.
    """
    clock = _Clock()
    features = source.features(scan, reporter)
    clock.lap("features")
    compute = _adapter_compute(source.compute)
    survey, tally = Survey(model.adapter.head.outputs), ConfidenceTally(len(model.structures))

    def witness(box: Box, probabilities: np.ndarray) -> None:
        survey.add(box, probabilities)
        tally.add(probabilities)

    labels = predict_labels(model.adapter, features, compute, reporter, scan.name, witness=witness)
    values = range(1, len(model.structures) + 1)
    if largest_component:
        keep_largest(labels, len(values))
    sizes = measure(labels, values, scan.geometry)
    clock.lap("segmentation")
    refinement = Refinement(labels, [])
    if refining.mode != "off":
        known = model.priors if priors is None else priors
        expected = [known.get(structure.name) for structure in model.structures]
        refinement = refine_labels(
            refining, scan, model, source, features, labels, sizes, survey, expected, compute, reporter
        )
        if refinement.labels is not labels and largest_component:
            keep_largest(refinement.labels, len(values))
        if np.array_equal(refinement.labels, labels):
            refinement = Refinement(labels, refinement.outcomes)
        else:
            sizes = measure(refinement.labels, values, scan.geometry)
        clock.lap("refinement")
    return Segmentation(
        _with_own_values(refinement.labels, model),
        sizes,
        tally.results(),
        features,
        refinement.outcomes,
        None if refinement.labels is labels else _with_own_values(labels, model),
        unlike(model.quality.get("typicality", {}), features),
        clock.seconds,
    )


def segment_files(
    queries: Sequence[Query],
    model: AdaptedModel,
    source: FeatureSource,
    priors: Mapping[str, SizePrior] | None = None,
    largest_component: bool = False,
    reporter: Reporter = SILENT,
    refining: Refining = OFF,
) -> Batch:
    """Segment scans from disk to labelmaps with a JSON report beside each.

    A labelmap appears only when it is complete, its report right after it. A scan that cannot be used does not keep
    the others from being segmented.

    Args:
        queries: what to segment and where to write it.
        model: the adapted model.
        source: feature volumes.
        priors: size priors that replace the model's, by structure name.
        largest_component: see :func:`segment_scan`.
        reporter: hears phase "scans" besides those of :func:`segment_scan`.
        refining: whether and how to refine.

    Raises:
        ScanError: the first one's, when no scan could be used.
    """
    expected = {**model.priors, **(priors or {})}
    batch = Batch([], LeftOut(len(queries), reporter))
    for number, query in enumerate(queries):
        reporter.progress("scans", number, len(queries), query.name)
        clock = _Clock()
        try:
            scan = read_scan(query.scan, series=query.series, name=query.name)
            clock.lap("reading")
            result = segment_scan(scan, model, source, largest_component, reporter, refining, expected)
        except ScanError as problem:
            batch.left_out.add(query.name, problem)
            continue
        clock = _Clock({**clock.seconds, **result.seconds})
        batch.reports.append(_write(query, scan, model, result, expected, clock))
    reporter.progress("scans", len(queries), len(queries))
    return batch


def _write(
    query: Query,
    scan: Scan,
    model: AdaptedModel,
    result: Segmentation,
    expected: Mapping[str, SizePrior],
    clock: _Clock,
) -> dict[str, Any]:
    """Write a scan's labelmaps and its report; returns the report with where everything is."""
    kept = query.before if result.before is not None else None
    if kept is not None and result.before is not None:
        write_labelmap(result.before, scan.geometry, kept, model.structures)
    write_labelmap(result.labels, scan.geometry, query.output, model.structures)
    clock.lap("writing")
    report = make_report(query.name, model, result, expected, clock.seconds)
    path = write_report(report, query.output)
    before = None if kept is None else {"output": str(kept)}
    return {**report, "output": str(query.output), "report": str(path), "before": before}


class _Clock:
    """Wall time by phase."""

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})
        self._since = time.monotonic()

    def lap(self, phase: str) -> None:
        """Everything since the last lap was this phase."""
        now = time.monotonic()
        self.seconds[phase] = now - self._since
        self._since = now


def _with_own_values(labels: np.ndarray, model: AdaptedModel) -> np.ndarray:
    """Output numbers replaced by the structures' label values."""
    values = [0, *(structure.value for structure in model.structures)]
    if values == list(range(len(values))):
        return labels
    table = np.array(values, dtype=np.uint8 if max(values) <= 255 else np.uint16)
    return table[labels]


def _adapter_compute(compute: Compute) -> Compute:
    """Adapters run in single precision: they are small, and half a rounding error decides voxels at the surface."""
    return Compute(compute.device, None)

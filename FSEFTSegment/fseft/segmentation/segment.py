"""Segment: new scans with an adapted model, to labelmaps and reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fseft.compute import Compute
from fseft.features.source import FeatureSource
from fseft.files import replace_whole
from fseft.models.adapted_model import AdaptedModel, SizePrior, current_versions
from fseft.reporting import SILENT, Reporter
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap
from fseft.segmentation.components import keep_largest
from fseft.segmentation.flags import flags_of
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.volumes import StructureVolume, measure


@dataclass(frozen=True)
class Query:
    """A scan to segment.

    Attributes:
        scan: a scan file or DICOM folder.
        output: labelmap to write; its suffix chooses NIfTI, NRRD, MHA or ``.seg.nrrd``.
        name: for messages and the report.
        series: DICOM series, where the folder holds several.
    """

    scan: Path
    output: Path
    name: str
    series: str | None = None


@dataclass(frozen=True)
class Segmentation:
    """A segmented scan in memory.

    Attributes:
        labels: (z, y, x) on the scan's grid, with the structures' own label values.
        sizes: per structure, in the model's order.
        seconds: wall time by phase.
    """

    labels: np.ndarray
    sizes: list[StructureVolume]
    seconds: dict[str, float]


def segment_scan(
    scan: Scan,
    model: AdaptedModel,
    source: FeatureSource,
    largest_component: bool = False,
    reporter: Reporter = SILENT,
) -> Segmentation:
    """Segment one scan in memory.

    Args:
        scan: the query.
        model: an adapted model for the source's backbone.
        source: feature volumes.
        largest_component: keep only each structure's largest 26-connected component.
        reporter: hears phases "features" and "segmentation".
    """
    clock = time.monotonic()
    features = source.features(scan, reporter)
    seconds = {"features": time.monotonic() - clock}
    clock = time.monotonic()
    labels = predict_labels(model.adapter, features, _adapter_compute(source.compute), reporter, scan.name)
    if largest_component:
        keep_largest(labels, len(model.structures))
    sizes = measure(labels, range(1, len(model.structures) + 1), scan.geometry)
    labels = _with_own_values(labels, model)
    seconds["segmentation"] = time.monotonic() - clock
    return Segmentation(labels, sizes, seconds)


def segment_files(
    queries: Sequence[Query],
    model: AdaptedModel,
    source: FeatureSource,
    priors: Mapping[str, SizePrior] | None = None,
    largest_component: bool = False,
    reporter: Reporter = SILENT,
) -> list[dict[str, Any]]:
    """Segment scans from disk to labelmaps with a JSON report beside each.

    A labelmap appears only when it is complete, its report right after it.

    Args:
        queries: what to segment and where to write it.
        model: the adapted model.
        source: feature volumes.
        priors: size priors that replace the model's, by structure name.
        largest_component: see :func:`segment_scan`.
        reporter: hears phase "scans" besides those of :func:`segment_scan`.

    Returns:
        The reports, one per query.
    """
    expected = {**model.priors, **(priors or {})}
    reports = []
    for number, query in enumerate(queries):
        reporter.progress("scans", number, len(queries), query.name)
        clock = time.monotonic()
        scan = read_scan(query.scan, series=query.series, name=query.name)
        reading = time.monotonic() - clock
        result = segment_scan(scan, model, source, largest_component, reporter)
        clock = time.monotonic()
        write_labelmap(result.labels, scan.geometry, query.output, model.structures)
        seconds = {"reading": reading, **result.seconds, "writing": time.monotonic() - clock}
        report = make_report(query, model, result, expected, seconds)
        path = report_path(query.output)
        with replace_whole(path) as partial:
            partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        reports.append({**report, "output": str(query.output), "report": str(path)})
    reporter.progress("scans", len(queries), len(queries))
    return reports


def make_report(
    query: Query,
    model: AdaptedModel,
    result: Segmentation,
    priors: Mapping[str, SizePrior],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The JSON report of one segmented scan: volumes, expectations, flags, times and identities."""
    structures = []
    for structure, size in zip(model.structures, result.sizes, strict=True):
        prior = priors.get(structure.name)
        structures.append(
            {
                "name": structure.name,
                "value": structure.value,
                "volume_ml": round(size.volume_ml, 4),
                "expected_ml": None if prior is None else [round(prior.low_ml, 4), round(prior.high_ml, 4)],
                "flags": flags_of(size, prior),
                "centre_index": size.centre,
            }
        )
    return {
        "format": "fseft-segmentation",
        "version": 1,
        "name": query.name,
        "structures": structures,
        "model": {"name": model.name, "method": model.method, "shots": model.shots, "created": model.created},
        "backbone": {"id": model.backbone, "sha256": model.backbone_sha256},
        "seconds": {phase: round(value, 2) for phase, value in seconds.items()},
        "versions": current_versions(),
    }


def report_path(output: Path) -> Path:
    """Where a labelmap's report goes: beside it, ending in ``.report.json``."""
    name = output.name
    for suffix in (".nii.gz", ".seg.nrrd"):
        if name.lower().endswith(suffix):
            return output.with_name(name[: -len(suffix)] + ".report.json")
    return output.with_name(output.stem + ".report.json")


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

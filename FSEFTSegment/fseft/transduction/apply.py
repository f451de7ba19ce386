"""Refinement of one segmented scan, from its first labels to the refined ones and what to say about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fseft.adaptation.adapt import initial_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adapters.initialisation import base_structures
from fseft.adapters.registry import find_method
from fseft.compute import Compute
from fseft.errors import InputError
from fseft.features.source import FeatureSource
from fseft.features.volume import FeatureVolume
from fseft.location.support import Placed
from fseft.models.adapted_model import AdaptedModel, SizePrior
from fseft.priors.from_support import published_prior
from fseft.reporting import SILENT, Reporter
from fseft.scan.scan import Scan
from fseft.segmentation.predict import predict_labels
from fseft.segmentation.scoring import Box
from fseft.segmentation.volumes import StructureVolume
from fseft.transduction.located import refine_by_location
from fseft.transduction.plan import Outcome
from fseft.transduction.published import refine_published
from fseft.transduction.refine import refine
from fseft.transduction.support_anchor import support_anchor
from fseft.transduction.survey import Survey
from fseft.transduction.ways import Refining


@dataclass(frozen=True)
class Refinement:
    """A refined labelmap.

    Attributes:
        labels: (z, y, x), 0 background, i + 1 structure i; the first labels where nothing changed.
        outcomes: per structure.
    """

    labels: np.ndarray
    outcomes: list[Outcome]


def refine_labels(
    refining: Refining,
    scan: Scan,
    model: AdaptedModel,
    source: FeatureSource,
    features: FeatureVolume,
    labels: np.ndarray,
    sizes: Sequence[StructureVolume],
    survey: Survey,
    priors: Sequence[SizePrior | None],
    compute: Compute,
    reporter: Reporter = SILENT,
) -> Refinement:
    """Refine the labels of one scan.

    Args:
        refining: how; not "off".
        scan: the query.
        model: the adapted model that made them.
        source: for the published way, which starts from a fresh adapter.
        features: the scan's.
        labels: (z, y, x), i + 1 structure i.
        sizes, survey: of the same prediction.
        priors: expected volumes, in the model's order.
        compute: the adapter's.
        reporter: hears phase "refinement", by location also "registration", in the published way "training".
    """
    if refining.mode == "location":
        after, outcomes = refine_by_location(
            model.adapter, features, Placed.of_scan(scan), refining.atlas, model.structures, labels, sizes, compute,
            reporter, base=base_structures(model.structures, source.specification),
        )  # fmt: skip
        return _changed(labels, after, outcomes, features)
    if refining.mode == "paper":
        return _as_published(refining, model, source, features, labels, sizes, priors, compute, reporter)
    anchor = support_anchor(model.adapter, refining.support)
    refined = refine(model.adapter, features, sizes, survey, priors, compute, anchor, reporter)
    if refined.adapter is None or refined.region is None:
        return Refinement(labels, refined.outcomes)
    found = predict_labels(refined.adapter, features, compute, reporter, "refinement", refined.region)
    after = labels.copy()
    inner = scan_box(features, refined.region)
    moved = [i + 1 for i, outcome in enumerate(refined.outcomes) if outcome.action == "refined"]
    # Other structures only give way to the refined ones, or take over what these let go.
    involved = np.isin(found[inner], moved) | np.isin(labels[inner], moved)
    after[inner][involved] = found[inner][involved]
    return _changed(labels, after, refined.outcomes, features)


def _changed(before: np.ndarray, after: np.ndarray, outcomes: Sequence[Outcome], features: FeatureVolume) -> Refinement:
    return Refinement(after, describe_changes(before, after, outcomes, features.grid.geometry.voxel_volume_ml))


def _as_published(
    refining: Refining,
    model: AdaptedModel,
    source: FeatureSource,
    features: FeatureVolume,
    labels: np.ndarray,
    sizes: Sequence[StructureVolume],
    priors: Sequence[SizePrior | None],
    compute: Compute,
    reporter: Reporter,
) -> Refinement:
    settings = AdaptationSettings(**model.training.get("settings", {}))
    method = find_method(model.method)
    if method.learning_rate == 0:
        raise InputError(
            "refinement-not-for-zero-shot",
            "The published refinement trains an adapter, and this model has none.",
            "Refine with 'default', or adapt with another method.",
        )
    adapter = initial_adapter(method, model.structures, refining.support, source, settings)
    names = [structure.name for structure in model.structures]
    expected = [_published_size(prior) for prior in priors]
    rate = method.learning_rate if settings.learning_rate is None else settings.learning_rate
    refine_published(
        adapter, refining.support, names, features, expected, rate, settings, compute, reporter
    )  # fmt: skip
    after = predict_labels(adapter, features, compute, reporter, "refinement")
    outcomes = [
        Outcome("none" if size is None else "refined", "", was.volume_ml, was.volume_ml)
        for size, was in zip(expected, sizes, strict=True)
    ]
    return _changed(labels, after, outcomes, features)


def _published_size(prior: SizePrior | None) -> float | None:
    """The paper's expected volume (ml): the mean of the support's; of an edited range its middle."""
    if prior is None:
        return None
    published = published_prior(prior.volumes_ml)
    return prior.mean_ml if published is None else published.mean_ml


def describe_changes(
    before: np.ndarray, after: np.ndarray, outcomes: Sequence[Outcome], voxel_ml: float
) -> list[Outcome]:
    """Volumes after refinement, and where each structure changed.

    Args:
        before, after: (z, y, x), i + 1 structure i.
        outcomes: per structure.
        voxel_ml: volume of a scan voxel.
    """
    different = before != after
    where = np.flatnonzero(different)
    old, new = before[different], after[different]
    described = []
    for value, outcome in enumerate(outcomes, start=1):
        joined, left = new == value, old == value
        changed = joined | left
        if not changed.any():
            described.append(outcome)
            continue
        z, y, x = (float(np.median(c)) for c in np.unravel_index(where[changed], before.shape))
        volume = outcome.before_ml + (int(joined.sum()) - int(left.sum())) * voxel_ml
        size = int(changed.sum()) * voxel_ml
        described.append(replace(outcome, after_ml=volume, changed_ml=size, centre_index=(x, y, z)))
    return described


def scan_box(features: FeatureVolume, region: Box) -> tuple[slice, slice, slice]:
    """Scan voxels (z, y, x) that lie wholly between the voxels of a network box."""
    slices: list[slice] = [slice(0, 0)] * 3
    for axis, (begin, end) in zip(features.grid.axes, region, strict=True):
        positions = axis.network_positions()
        low = positions >= begin if begin > 0 else np.ones(len(positions), dtype=bool)
        high = positions <= end - 1 if end < axis.size else np.ones(len(positions), dtype=bool)
        inside = np.flatnonzero(low & high)
        slices[axis.scan_axis] = slice(int(inside[0]), int(inside[-1]) + 1) if inside.size else slice(0, 0)
    return (slices[0], slices[1], slices[2])

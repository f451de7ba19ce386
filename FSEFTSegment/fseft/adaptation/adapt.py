"""Adapt: from annotated scans to an adapted model."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from fseft.adaptation.continuing import go_on_from, kinship, require_same_kind, shortened
from fseft.adaptation.head_fitting import fit_head
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import SupportCase, make_support_case
from fseft.adaptation.training import TrainingCurve, train_adapter
from fseft.adaptation.views import views_for, with_views
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import make_adapter, pretrained_row, require_base, start_from_pretrained
from fseft.adapters.registry import Method, find_method
from fseft.compute import Compute
from fseft.errors import AnnotationError, InputError
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import AdaptedModel, SizePrior, check_name
from fseft.priors.from_support import prior_from_volumes
from fseft.quality.typicality import support_statistics
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import Annotation, SparseSlices, read_annotation
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_scan
from fseft.segmentation.volumes import measure
from fseft.structures import Structure

AUTO = "auto"
FIT_SEED = 7_919  # an own stream, so that fitting the head does not move the crops


@dataclass(frozen=True)
class CaseFiles:
    """One support case on disk.

    Attributes:
        scan: a scan file or DICOM folder.
        annotation: a labelmap; None only for zero-shot models.
        name: for messages; never stored.
        sparse: "no", or "auto" / "x" / "y" / "z" when only some slices along that index axis are annotated.
        structures: names annotated in this case; None means all of the support set that the file declares.
        others: what becomes of labels that are no structure of the support set.
    """

    scan: Path
    annotation: Path
    name: str
    sparse: str = "no"
    structures: tuple[str, ...] | None = None
    others: Literal["refuse", "background"] = "refuse"


@dataclass(frozen=True)
class LoadedCase:
    """A support case in memory: training's view and the structure volumes for the size prior."""

    case: SupportCase
    volumes_ml: dict[str, float]
    key: str


def adapt(
    name: str,
    cases: Sequence[CaseFiles],
    structures: Sequence[Structure],
    source: FeatureSource,
    method: str = "spatial-adapter",
    settings: AdaptationSettings | None = None,
    reporter: Reporter = SILENT,
    validated: bool = False,
    previous: AdaptedModel | None = None,
    atlas: bool = False,
) -> AdaptedModel:
    """Make an adapted model from annotated scans.

    Args:
        name: the model's name.
        cases: the support set; may be empty for ``zero-shot``.
        structures: what to learn, in output order.
        source: feature volumes and backbone.
        method: a name of :data:`fseft.adapters.registry.METHODS`, or "auto": the best by leave-one-out validation.
        settings: the protocol.
        reporter: hears phases "features", "training", and "validation" where there is one.
        validated: leave-one-out validation of a fixed method, beside zero-shot; "auto" always validates.
        previous: a model to go on from, with few steps; its method comes before ``method``. Validation does not go on
            from it, see :func:`fseft.validation.validate.validate_for_model`.
        atlas: where there is validation, compare with annotations carried over by registration.

    Raises:
        InputError: for unusable scans, annotations or combinations, each with its own code.
        ModelError: "previous-model-does-not-fit".
    """
    check_name(name)
    method = method if previous is None else previous.method
    chosen = None if method == AUTO else find_method(method, AUTO)
    settings = settings or AdaptationSettings()
    if previous is not None and chosen is not None:
        require_same_kind(previous, chosen, source.specification)
    structures = check_structures(structures)
    if chosen is not None and chosen.learning_rate == 0:
        require_base(structures, source.specification)
    elif not cases:
        raise InputError("support-empty", "There is no annotated scan to learn from.", "Annotate at least one scan.")
    learns = previous is None and (chosen is None or chosen.learning_rate > 0)
    views = views_for(len(cases), settings.views) if learns else 0
    loaded = load_cases(cases, structures, source, reporter, views)
    validation: dict[str, Any] = {}
    if chosen is None or (validated and loaded):
        # Validation trains with this module's own function.
        from fseft.validation.validate import validate_for_model

        support = [entry.case for entry in loaded]
        files = cases if atlas else ()
        validation, chosen = validate_for_model(
            chosen, structures, support, source, settings, reporter, files, previous is not None
        )
    started = time.monotonic()
    origin: dict[str, Any] = {}
    if previous is not None:
        settings = shortened(settings)
        related = kinship(structures, previous)
        reporter.log(f"Going on from {previous.name!r}. " + " ".join(_told(related)))
        origin = {"continued": {"model": previous.name, "created": previous.created, **related}}
    adapter, curve = make_trained_adapter(
        chosen, structures, [entry.case for entry in loaded], source, settings, source.compute, reporter, previous
    )
    return AdaptedModel(
        name=name,
        structures=tuple(structures),
        method=chosen.name,
        backbone=source.specification.id,
        backbone_sha256=source.specification.weights_sha256,
        adapter=adapter,
        shots=len(loaded),
        priors=size_priors(structures, loaded),
        training={**_training_record(settings, curve, time.monotonic() - started), **origin},
        validation=validation,
        quality={"typicality": support_statistics([entry.case.features for entry in loaded])} if loaded else {},
    )


def _told(related: dict[str, list[str]]) -> list[str]:
    """Sentences on what going on from a model means for its structures."""
    words = {"kept": "Goes on", "new": "Starts anew", "dropped": "No longer there"}
    return [f"{words[kind]}: {', '.join(names)}." for kind, names in related.items() if names]


def make_trained_adapter(
    method: Method,
    structures: Sequence[Structure],
    cases: Sequence[SupportCase],
    source: FeatureSource,
    settings: AdaptationSettings,
    compute: Compute,
    reporter: Reporter = SILENT,
    previous: AdaptedModel | None = None,
) -> tuple[Adapter, TrainingCurve]:
    """Initialise and train one adapter on loaded cases and their views; the core of adaptation and validation."""
    cases = [seen for case in cases for seen in (case, *case.views)]
    adapter = initial_adapter(method, structures, cases, source, settings, previous)
    if method.learning_rate == 0:
        return adapter.eval(), TrainingCurve(stopped="not trained")
    rate = method.learning_rate if settings.learning_rate is None else settings.learning_rate
    names = [structure.name for structure in structures]
    return adapter, train_adapter(adapter, cases, names, rate, settings, compute, reporter)


def initial_adapter(
    method: Method,
    structures: Sequence[Structure],
    cases: Sequence[SupportCase],
    source: FeatureSource,
    settings: AdaptationSettings,
    previous: AdaptedModel | None = None,
) -> Adapter:
    """An adapter as training starts with it: pretrained rows, a fitted head, or what a previous model had learnt."""
    # Not the global stream's state: a model depends on its seed and its input alone.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        adapter = make_adapter(method, source.specification, structures)
        start_from_pretrained(adapter, source.head, source.specification, structures, settings.background)
    if method.learning_rate == 0:
        return adapter
    fresh = list(structures) if previous is None else go_on_from(adapter, structures, previous)
    if settings.head_start == "fitted" and fresh:
        base = [pretrained_row(s, source.specification) is not None for s in structures]
        wanted = [structure in fresh for structure in structures]
        fit_head(adapter.head, cases, base, np.random.default_rng(settings.seed + FIT_SEED), wanted)
    return adapter


def check_structures(structures: Sequence[Structure]) -> tuple[Structure, ...]:
    """Structures that can be told apart.

    Raises:
        InputError: "structures-empty", "structure-name-twice", "structure-value-twice", "structure-value-invalid".
    """
    if not structures:
        raise InputError("structures-empty", "No structure is given.", "Name at least one structure to learn.")
    for attribute in ("name", "value"):
        seen: set[object] = set()
        for structure in structures:
            key = getattr(structure, attribute)
            if key in seen:
                raise InputError(
                    f"structure-{attribute}-twice",
                    f"Two structures have the {attribute} {key!r}.",
                    f"Give every structure its own {attribute}.",
                )
            seen.add(key)
    for structure in structures:
        if not 1 <= structure.value <= 65535:
            raise InputError(
                "structure-value-invalid",
                f"The label value {structure.value} of {structure.name!r} is out of range.",
                "Use whole numbers from 1 to 65535.",
            )
    return tuple(structures)


def load_cases(
    cases: Sequence[CaseFiles],
    structures: Sequence[Structure],
    source: FeatureSource,
    reporter: Reporter = SILENT,
    views: int = 0,
) -> list[LoadedCase]:
    """Read, check and featurise a support set, one scan in memory at a time.

    Args:
        cases: the files.
        structures: of the support set.
        source: of features.
        reporter: hears phases "cases" and "features".
        views: how many views of each scan to learn from beside it.

    Raises:
        InputError: for unusable scans or annotations; "scan-twice" when two cases hold the same scan.
    """
    loaded: list[LoadedCase] = []
    seen: dict[str, str] = {}
    shown: set[str] = set()
    for number, files in enumerate(cases):
        reporter.progress("cases", number, len(cases), files.name)
        reporter.check_cancelled()
        scan = read_scan(files.scan, name=files.name, reporter=reporter)
        if scan.content_key in seen:
            raise InputError(
                "scan-twice",
                f"{files.name!r} and {seen[scan.content_key]!r} are the same scan.",
                "Keep one of them: a scan that counts twice makes the model look better than it is.",
            )
        seen[scan.content_key] = files.name
        wanted = [s for s in structures if files.structures is None or s.name in files.structures]
        sparse = None if files.sparse == "no" else SparseSlices(axis=_sparse_axis(files.sparse))
        others = files.others if files.structures is None else "background"
        annotation = read_annotation(files.annotation, scan, wanted, sparse, reporter, others)
        shown |= {s.name for s in annotation.structures if (annotation.labels == s.value).any()}
        if number == len(cases) - 1:
            _require_examples(structures, shown)  # before the last features, which are the only ones with one scan
        features = source.features(scan, reporter)
        case = make_support_case(files.name, features, annotation, structures)
        case = with_views(case, scan, annotation, structures, source, views, reporter)
        loaded.append(LoadedCase(case, _whole_volumes(annotation, scan.geometry), scan.content_key))
    reporter.progress("cases", len(cases), max(1, len(cases)))
    return loaded


def _sparse_axis(text: str) -> Literal["auto", 0, 1, 2]:
    axes: dict[str, Literal["auto", 0, 1, 2]] = {"auto": "auto", "x": 0, "y": 1, "z": 2}
    if text not in axes:
        raise InputError(
            "sparse-axis-unknown", f"{text!r} is not a way to annotate slices.", "Use no, auto, x, y or z."
        )
    return axes[text]


def _require_examples(structures: Sequence[Structure], shown: AbstractSet[str]) -> None:
    missing = [structure.name for structure in structures if structure.name not in shown]
    if missing:
        raise AnnotationError(
            "structure-without-example",
            f"No annotated scan shows: {', '.join(missing)}.",
            "Annotate each structure in at least one scan, or remove it from the structures.",
        )


def _whole_volumes(annotation: Annotation, geometry: Geometry) -> dict[str, float]:
    """Volumes (ml) of structures that are wholly annotated and not cut by the scan's border."""
    if annotation.annotated is not None:
        return {}
    values = [structure.value for structure in annotation.structures]
    measured = measure(annotation.labels, values, geometry)
    return {
        structure.name: size.volume_ml
        for structure, size in zip(annotation.structures, measured, strict=True)
        if size.voxels and not size.cut_by_border
    }


def size_priors(structures: Sequence[Structure], loaded: Sequence[LoadedCase]) -> dict[str, SizePrior]:
    """Size priors of the structures that some case shows whole."""
    priors = {}
    for structure in structures:
        volumes = [entry.volumes_ml[structure.name] for entry in loaded if structure.name in entry.volumes_ml]
        prior = prior_from_volumes(volumes)
        if prior is not None:
            priors[structure.name] = prior
    return priors


def _training_record(settings: AdaptationSettings, curve: TrainingCurve, seconds: float) -> dict[str, object]:
    return {
        "settings": dataclasses.asdict(settings),
        "stopped": curve.stopped,
        "seconds": round(seconds, 1),
        "loss": [round(value, 5) for value in curve.loss],
        "structure_dice_loss": {
            name: [None if math.isnan(value) else round(value, 5) for value in values]
            for name, values in curve.structure_loss.items()
        },
    }

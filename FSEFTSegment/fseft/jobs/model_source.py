"""Features for a model: of the backbone that it was made with."""

from __future__ import annotations

from pathlib import Path

from fseft.backbones.registry import PUBLISHED
from fseft.compute import Compute
from fseft.errors import BackboneError
from fseft.features.source import FeatureSource
from fseft.models.description import read_description


def chosen_source(backbone: str | None, model: Path | None, compute: Compute) -> FeatureSource:
    """The feature source of the backbone that a job names; else of its model's; else of the bundled one.

    Args:
        backbone: identifier, where one is named.
        model: folder of the model that the job starts from, where there is one.
        compute: device and precision.
    """
    if backbone is None and model is not None:
        return source_of_model(model, compute)
    return FeatureSource.of_backbone(backbone or "fseft-mini", compute)


def source_of_model(folder: Path, compute: Compute) -> FeatureSource:
    """The feature source of a model's backbone.

    Args:
        folder: of the model.
        compute: device and precision.

    Raises:
        ModelError: when the model cannot be read.
        BackboneError: "backbone-not-installed" where the backbone is not here any more, else as
            :func:`fseft.backbones.library.find_backbone`.
    """
    description = read_description(folder)
    name, identifier = str(description["name"]), str(description["backbone"])
    try:
        return FeatureSource.of_backbone(identifier, compute)
    except BackboneError as problem:
        if problem.code not in ("backbone-unknown", "backbone-not-installed"):
            raise
        hint = problem.hint if identifier in PUBLISHED else "Import that backbone again, or adapt anew with another."
        message = f"The model {name!r} needs the backbone {identifier!r}, which is not installed."
        raise BackboneError("backbone-not-installed", message, hint) from problem

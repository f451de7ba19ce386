"""The adapted model: what Adapt makes. A folder with ``model.json`` and ``weights.safetensors``.

It holds no scan, no patient name, no path and no DICOM tag: volumes, scores and weights only.
"""

from __future__ import annotations

import dataclasses
import json
import platform
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

import fseft
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.backbones.specification import BackboneSpecification
from fseft.backbones.weights import file_sha256, save_tensors
from fseft.errors import ModelError
from fseft.files import replace_folder
from fseft.models.description import (
    MODEL_FILE,
    WEIGHTS_FILE,
    checksum_of,
    damaged,
)
from fseft.models.description import (
    check_name as check_name,
)
from fseft.models.description import (
    read_description as read_description,
)
from fseft.models.lock import replacing
from fseft.models.versions import keep_versions
from fseft.structures import Structure


@dataclass(frozen=True)
class SizePrior:
    """What is known of a structure's volume.

    Attributes:
        mean_ml, low_ml, high_ml: expected volume and range, millilitres.
        source: where it comes from, for people ("3 annotated cases", "edited").
        volumes_ml: the volumes behind it, one per whole annotation.
    """

    mean_ml: float
    low_ml: float
    high_ml: float
    source: str
    volumes_ml: tuple[float, ...] = ()


@dataclass(frozen=True)
class AdaptedModel:
    """Structures, adapter weights, and everything needed to use and judge them.

    Attributes:
        name: what the user calls it.
        structures: outputs in order.
        method: a name of :data:`fseft.adapters.registry.METHODS`.
        backbone: id of the backbone it was made for.
        backbone_sha256: digest of that backbone's weights.
        adapter: the trained network.
        shots: annotated scans used.
        priors: per structure name.
        training: settings, curve and how it stopped.
        validation: leave-one-out results, empty when none were made.
        quality: what single results are judged by: "typicality", see :mod:`fseft.quality.typicality`; empty in
            models without support set and in older ones.
        created: ISO date, UTC.
        versions: of the packages that made it.
    """

    name: str
    structures: tuple[Structure, ...]
    method: str
    backbone: str
    backbone_sha256: str
    adapter: Adapter
    shots: int
    priors: dict[str, SizePrior] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=lambda: current_versions())


def current_versions() -> dict[str, str]:
    """Versions of FSEFT and what it computes with."""
    return {
        "fseft": fseft.__version__,
        "torch": str(torch.__version__),
        "monai": metadata.version("monai"),  # not imported: that takes seconds
        "python": platform.python_version(),
    }


def save_model(model: AdaptedModel, folder: Path) -> None:
    """Write the model's folder, whole or not at all; an older model in its place stays until the new one is complete.

    The older model and its own earlier versions are kept, see :mod:`fseft.models.versions`.

    Raises:
        ModelError: "folder-not-a-model" when the folder holds something else.
        ResourceError: when it cannot be written.
    """
    with replacing(folder), replace_folder(folder) as partial:
        keep_versions(folder, partial)
        tensors = {name: value.detach().cpu().contiguous() for name, value in model.adapter.state_dict().items()}
        save_tensors(tensors, partial / WEIGHTS_FILE)
        content = describe(model)
        content["weights_sha256"] = file_sha256(partial / WEIGHTS_FILE)
        content["checksum"] = checksum_of(content)
        (partial / MODEL_FILE).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def describe(model: AdaptedModel) -> dict[str, Any]:
    """The model without its weights, JSON-ready."""
    content = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "adapter"}
    content["structures"] = [dataclasses.asdict(s) for s in model.structures]
    content["priors"] = {name: dataclasses.asdict(prior) for name, prior in model.priors.items()}
    return {"format": "fseft-model", "version": 1, **content}


def load_model(folder: Path, specification: BackboneSpecification) -> AdaptedModel:
    """Read and verify a model for use with a backbone.

    Args:
        folder: the model's.
        specification: the backbone it will run on.

    Raises:
        ModelError: "model-other-backbone" when it was made for another backbone, "model-damaged" when anything
            fails its checksum or shape.
    """
    content = read_description(folder)
    if content["backbone_sha256"] != specification.weights_sha256:
        raise ModelError(
            "model-other-backbone",
            f"The model {content['name']!r} was made for backbone {content['backbone']!r} with other weights than "
            f"the installed {specification.id!r}.",
            "Install the backbone it was made for, or adapt again.",
        )
    weights = folder / WEIGHTS_FILE
    if not weights.is_file() or file_sha256(weights) != content["weights_sha256"]:
        raise damaged(folder, "the weights are missing or fail their checksum")
    try:
        structures = tuple(
            Structure(s["name"], s["value"], tuple(s["color"]), s["terminology"]) for s in content["structures"]
        )
        adapter = make_adapter(find_method(content["method"]), specification, structures)
        adapter.load_state_dict(load_file(weights))
        priors = {
            name: SizePrior(**{**prior, "volumes_ml": tuple(prior["volumes_ml"])})
            for name, prior in content["priors"].items()
        }
    except (KeyError, TypeError, RuntimeError, SafetensorError) as problem:
        raise damaged(folder, "its parts do not fit together") from problem
    plain = {f.name: content[f.name] for f in dataclasses.fields(AdaptedModel) if f.name in content}
    plain |= {"structures": structures, "adapter": adapter.eval(), "priors": priors}
    return AdaptedModel(**plain)

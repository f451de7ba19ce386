"""The adapted model: what Adapt makes. A folder with ``model.json`` and ``weights.safetensors``.

It holds no scan, no patient name, no path and no DICOM tag: volumes, scores and weights only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import monai
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import fseft
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.backbones.specification import BackboneSpecification
from fseft.backbones.weights import file_sha256
from fseft.errors import ModelError
from fseft.files import replace_folder
from fseft.structures import Structure

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_NAME = re.compile(r"^[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,79}$")


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
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=lambda: current_versions())


def current_versions() -> dict[str, str]:
    """Versions of FSEFT and what it computes with."""
    return {
        "fseft": fseft.__version__,
        "torch": str(torch.__version__),
        "monai": str(monai.__version__),
        "python": platform.python_version(),
    }


def check_name(name: str) -> str:
    """A model name that is also a safe folder name.

    Raises:
        ModelError: "model-name-invalid".
    """
    if not _NAME.match(name) or name.strip() != name:
        raise ModelError(
            "model-name-invalid",
            f"{name!r} cannot be a model's name.",
            'Use up to 80 letters, digits, spaces or dashes; none of / \\ : * ? " < > | and no dot first.',
        )
    return name


def save_model(model: AdaptedModel, folder: Path) -> None:
    """Write the model's folder, whole or not at all; an older model in its place stays until the new one is complete.

    Raises:
        ResourceError: when it cannot be written.
    """
    with replace_folder(folder) as partial:
        tensors = {name: value.detach().cpu().contiguous() for name, value in model.adapter.state_dict().items()}
        save_file(tensors, partial / WEIGHTS_FILE)
        content = describe(model)
        content["weights_sha256"] = file_sha256(partial / WEIGHTS_FILE)
        content["checksum"] = _checksum(content)
        (partial / MODEL_FILE).write_text(
            json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def describe(model: AdaptedModel) -> dict[str, Any]:
    """The model without its weights, JSON-ready."""
    content = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "adapter"}
    content["structures"] = [dataclasses.asdict(s) for s in model.structures]
    content["priors"] = {name: dataclasses.asdict(prior) for name, prior in model.priors.items()}
    return {"format": "fseft-model", "version": 1, **content}


def read_description(folder: Path) -> dict[str, Any]:
    """The verified content of a model's ``model.json``.

    Raises:
        ModelError: "model-missing", "model-damaged", or "model-newer" for a future format.
    """
    path = folder / MODEL_FILE
    if not path.is_file():
        raise ModelError(
            "model-missing", f"There is no adapted model at {folder.name!r}.", "Choose one from 'fseft models list'."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != "fseft-model":
            raise ValueError("not an adapted model")
        version, stored = int(content["version"]), content["checksum"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise _damaged(folder, str(problem)) from problem
    if version != 1:
        raise ModelError(
            "model-newer", f"The model {folder.name!r} was made by a newer FSEFT (format {version}).", "Update FSEFT."
        )
    if stored != _checksum(content):
        raise _damaged(folder, "model.json was changed after the model was made")
    return dict(content)


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
        raise _damaged(folder, "the weights are missing or fail their checksum")
    try:
        structures = tuple(Structure(s["name"], s["value"], tuple(s["color"]), s["terminology"]) for s in content["structures"])
        adapter = make_adapter(find_method(content["method"]), specification, structures)
        adapter.load_state_dict(load_file(weights))
        priors = {
            name: SizePrior(**{**prior, "volumes_ml": tuple(prior["volumes_ml"])})
            for name, prior in content["priors"].items()
        }
    except (KeyError, TypeError, RuntimeError, SafetensorError) as problem:
        raise _damaged(folder, "its parts do not fit together") from problem
    plain = {
        name: content[name]
        for name in ("name", "method", "backbone", "backbone_sha256", "shots", "training", "validation", "created", "versions")
    }
    return AdaptedModel(structures=structures, adapter=adapter.eval(), priors=priors, **plain)


def _checksum(content: dict[str, Any]) -> str:
    plain = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _damaged(folder: Path, why: str) -> ModelError:
    return ModelError(
        "model-damaged", f"The model {folder.name!r} cannot be used: {why}.", "Import it again, or adapt again."
    )


def structure_names(structures: Sequence[Structure]) -> list[str]:
    """Names in output order."""
    return [structure.name for structure in structures]

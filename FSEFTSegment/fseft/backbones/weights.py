"""Backbone folders: ``specification.json`` beside ``weights.safetensors``, verified before use."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.specification import BackboneSpecification
from fseft.errors import BackboneError
from fseft.files import replace_whole

SPECIFICATION_FILE = "specification.json"
WEIGHTS_FILE = "weights.safetensors"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors, with the errors that every other file has.

    Raises:
        OSError: ENOSPC on a full disk, EIO otherwise.
    """
    try:
        save_file(tensors, path)
    except SafetensorError as problem:
        # The library tells the system's error in words only.
        full = f"os error {errno.ENOSPC}" in str(problem) or shutil.disk_usage(path.parent).free < 1 << 16
        number = errno.ENOSPC if full else errno.EIO
        raise OSError(number, os.strerror(number)) from problem


def save_backbone(network: Backbone, folder: Path, half: bool = True) -> BackboneSpecification:
    """Write a backbone folder; returns the specification with the weights' digest filled in.

    Args:
        network: the network; its specification is written beside the weights.
        folder: created if needed.
        half: store floating-point weights in 16 bits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (value.detach().cpu().half() if half and value.is_floating_point() else value.detach().cpu()).contiguous()
        for name, value in network.state_dict().items()
    }
    with replace_whole(folder / WEIGHTS_FILE) as partial:
        save_tensors(tensors, partial)
    specification = dataclasses.replace(network.specification, weights_sha256=file_sha256(folder / WEIGHTS_FILE))
    with replace_whole(folder / SPECIFICATION_FILE) as partial:
        partial.write_text(json.dumps(specification.to_json(), indent=1) + "\n", encoding="utf-8")
    return specification


def load_specification(folder: Path) -> BackboneSpecification:
    """The specification of a backbone folder.

    Raises:
        BackboneError: "backbone-missing" where there is none, or when it is malformed.
    """
    if not (folder / SPECIFICATION_FILE).is_file():
        raise BackboneError(
            "backbone-missing",
            f"There is no backbone in {str(folder)!r}: it has no {SPECIFICATION_FILE}.",
            "Give the folder that 'fseft pretrain' wrote, or see 'fseft backbones list'.",
        )
    return BackboneSpecification.read(folder / SPECIFICATION_FILE)


def load_backbone(folder: Path) -> Backbone:
    """Read a backbone folder: network in evaluation mode, single precision, on the CPU, frozen.

    Raises:
        BackboneError: "backbone-weights-damaged" when the digest or the tensors do not match the specification.
    """
    specification = load_specification(folder)
    path = folder / WEIGHTS_FILE
    hint = "Remove the backbone and install or import it again."
    if not path.is_file():
        raise BackboneError("backbone-weights-missing", f"Backbone {specification.id!r} has no weights file.", hint)
    if file_sha256(path) != specification.weights_sha256:
        raise BackboneError(
            "backbone-weights-damaged", f"The weights of backbone {specification.id!r} fail their checksum.", hint
        )
    network = build_network(specification)
    try:
        tensors = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as problem:
        raise BackboneError(
            "backbone-weights-damaged", f"The weights of backbone {specification.id!r} do not fit its network.", hint
        ) from problem
    network.requires_grad_(False)
    return network.eval().to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]

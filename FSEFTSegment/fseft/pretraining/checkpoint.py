"""Checkpoints: weights as safetensors, the optimiser's state apart, both read without pickle."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fseft.backbones.weights import save_tensors
from fseft.errors import InputError
from fseft.files import replace_folder

_VERSION = 1
_WEIGHTS, _OPTIMISER, _STATE = "weights.safetensors", "optimiser.pt", "state.json"


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        step: optimiser steps done.
        seconds: training time, over all sessions.
        positives: sampled voxels of each class so far.
        history: means of the losses, with step and seconds.
    """

    step: int = 0
    seconds: float = 0.0
    positives: list[int] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on.

    Attributes:
        classes: the network's classes in order.
        network: of the network that is trained.
        average: of its moving average.
        optimiser: the optimiser's, and under "scaler" the gradient scaler's.
        progress: how far it has come.
    """

    classes: tuple[str, ...]
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimiser: dict[str, Any]
    progress: Progress


def has_checkpoint(folder: Path) -> bool:
    """True when the folder holds a checkpoint."""
    return (folder / _STATE).is_file()


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; the one before it stays until this one is whole."""
    progress = checkpoint.progress
    state = {
        "format": "fseft-pretraining",
        "version": _VERSION,
        "classes": list(checkpoint.classes),
        "step": progress.step,
        "seconds": progress.seconds,
        "positives": progress.positives,
        "history": progress.history,
    }
    tensors = {f"network.{k}": v for k, v in checkpoint.network.items()}
    tensors |= {f"average.{k}": v for k, v in checkpoint.average.items()}
    with replace_folder(folder) as partial:
        save_tensors({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, partial / _WEIGHTS)
        torch.save(checkpoint.optimiser, partial / _OPTIMISER)
        (partial / _STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: "checkpoint-damaged".
    """
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if state["format"] != "fseft-pretraining" or state["version"] != _VERSION:
            raise ValueError(f"version {state['version']}")
        tensors = load_file(folder / _WEIGHTS)
        optimiser = torch.load(folder / _OPTIMISER, weights_only=True, map_location="cpu")
        progress = Progress(
            int(state["step"]),
            float(state["seconds"]),
            [int(count) for count in state["positives"]],
            [dict(entry) for entry in state["history"]],
        )
        return Checkpoint(
            tuple(state["classes"]), _under("network.", tensors), _under("average.", tensors), optimiser, progress
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, pickle.UnpicklingError) as problem:
        raise InputError(
            "checkpoint-damaged",
            f"The checkpoint in {folder.parent.name!r} cannot be read: {type(problem).__name__}.",
            "Remove it, or train into another folder.",
        ) from problem


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

"""Weight files of other projects, read safely and renamed to this project's networks.

Foreign files differ in what wraps the tensors (``state_dict``, ``net``, ``model``), in prefixes that a training
framework left (``module.``, ``backbone.``), in old spellings (``swin_vit``, ``mlp.fc1``) and in the head's name
(``classifier``, ``out.conv.conv``). Names are mapped first and every shape is checked before anything is loaded.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.registry import PublishedBackbone
from fseft.errors import BackboneError

_CONTAINERS = ("state_dict", "net", "model")
_PREFIXES = ("module.", "_orig_mod.", "network.", "model.")
_HEADS = ("classifier.", "out.conv.conv.", "out.conv.", "head.levels.0.")
#: Parts that belong to other heads or to pretraining: text-driven heads, self-supervised tasks, output layers.
_IGNORED = re.compile(
    r"^(precls_conv|GAP|controller|organ_embedding|text_to_vision|rotation_(pre|head)|contrastive_(pre|head)|"
    r"conv\.|convTrans3d|out_tr|encoder\.mask_token|norm\.)"
)
_BATCH_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_SHOWN = 6


def read_foreign_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file by name; nothing in the file is executed.

    Raises:
        BackboneError: "backbone-file-missing", "backbone-file-unsafe" when the file holds anything beyond tensors
            and plain containers, "backbone-file-unreadable" when it is damaged or of another kind.
    """
    if not path.is_file():
        raise BackboneError(
            "backbone-file-missing", f"There is no file {path.name}.", "Choose the weight file that you downloaded."
        )
    try:
        if path.suffix.lower() == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        if not _is_torch_file(path):
            raise _unreadable(path, problem) from problem
        raise BackboneError(
            "backbone-file-unsafe",
            f"{path.name} holds more than weights and was not opened: loading it could run code from the file.",
            "Get the file from its publisher's own page, or ask them for a file with weights only.",
        ) from problem
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, SafetensorError) as problem:
        raise _unreadable(path, problem) from problem
    return _find_tensors(path, content)


def _is_torch_file(path: Path) -> bool:
    """Whether the file looks like what ``torch.save`` writes (a zip archive, or a bare pickle in old versions)."""
    with path.open("rb") as stream:
        start = stream.read(2)
    return zipfile.is_zipfile(path) or start[:1] == b"\x80"


def _unreadable(path: Path, problem: Exception) -> BackboneError:
    first_line = (str(problem).splitlines() or [type(problem).__name__])[0]
    first_sentence = first_line.split(". ")[0].rstrip(".")  # what follows is advice for programmers
    return BackboneError(
        "backbone-file-unreadable",
        f"{path.name} cannot be read as a weight file: {first_sentence}.",
        "Download it again; it should be a .pth, .pt or .safetensors file.",
    )


def _find_tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The dictionary of tensors, taken out of the wrappers that training programs put around it."""
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = [content[key] for key in _CONTAINERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise BackboneError(
            "backbone-file-unreadable",
            f"{path.name} holds no named weights.",
            "Choose the weight file itself, not a configuration or a whole training state.",
        )
    return {str(name): value for name, value in tensors.items()}


def canonical_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of MONAI's networks, without prefixes."""
    renamed = {_without_prefixes(name): value for name, value in tensors.items()}
    # A universal model keeps its network under "backbone."; what lies beside it there is its text-driven head.
    inner = {n.removeprefix("backbone."): v for n, v in renamed.items() if n.startswith("backbone.")}
    if inner:
        inner.update({n: v for n, v in renamed.items() if not n.startswith("backbone.")})
        renamed = inner
    return {_modern_spelling(name): value for name, value in renamed.items()}


def _without_prefixes(name: str) -> str:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if name.startswith(prefix):
                name, stripped = name[len(prefix) :], True
    return name


def _modern_spelling(name: str) -> str:
    if name.startswith("swin_vit."):
        name = "swinViT." + name.removeprefix("swin_vit.")
    if re.match(r"(patch_embed|layers[1-4]c?)\.", name):  # an encoder that was saved on its own
        name = "swinViT." + name
    return name.replace(".mlp.fc1.", ".mlp.linear1.").replace(".mlp.fc2.", ".mlp.linear2.")


def convert(tensors: Mapping[str, Tensor], published: PublishedBackbone) -> Backbone:
    """Build the published backbone's network with these weights.

    Args:
        tensors: as :func:`read_foreign_tensors` gives them.
        published: which backbone they are meant to be.

    Returns:
        The network, single precision. A head trained with softmax over background and classes becomes one score
        per class *minus background's*: the same winner in every voxel, and a class beats background exactly where
        its sigmoid exceeds one half. A backbone without linear head gets a head of zeros; an encoder-only file
        leaves the decoder as initialised from a fixed seed.

    Raises:
        BackboneError: "backbone-file-mismatch" listing what is missing, superfluous or of another shape.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(published.specification)
    target = network.state_dict()
    named = canonical_names(tensors)
    head = _take_head(named, published)
    arranged: dict[str, Tensor] = {"head.levels.0.weight": torch.zeros_like(target["head.levels.0.weight"])}
    arranged["head.levels.0.bias"] = torch.zeros_like(target["head.levels.0.bias"])
    superfluous = []
    for name, value in named.items():
        if f"network.{name}" in target:
            arranged[f"network.{name}"] = value
        elif not _IGNORED.match(name) and not name.endswith(_BATCH_STATISTICS):
            superfluous.append(name)
    arranged.update(head)
    missing = [
        name
        for name in target
        if name not in arranged
        # A table of constants that older versions did not store.
        and not name.endswith("relative_position_index")
        and not (published.encoder_only and not name.startswith("network.swinViT."))
    ]
    reshaped = [
        f"{name} {tuple(value.shape)} instead of {tuple(target[name].shape)}"
        for name, value in arranged.items()
        if value.shape != target[name].shape
    ]
    _complain(published, missing, superfluous, reshaped)
    network.load_state_dict({**target, **arranged})
    return network.eval()


def _take_head(named: dict[str, Tensor], published: PublishedBackbone) -> dict[str, Tensor]:
    """Remove the linear head from ``named``; returned under our names where the backbone has classes."""
    head: dict[str, Tensor] = {}
    for prefix in _HEADS:
        for part in ("weight", "bias"):
            value = named.pop(prefix + part, None)
            if value is not None:
                head.setdefault(f"head.levels.0.{part}", value.float())
    if not published.specification.classes:
        return {}
    if len(head) != 2:
        # Without this the zeros that stand in for a missing head would pass for a trained one.
        raise _mismatch(published, ["missing: the output layer (classifier or out.conv.conv, weight and bias)"])
    if published.background_row:
        head = {name: value[1:] - value[:1] for name, value in head.items()}
    return head


def _complain(published: PublishedBackbone, missing: list[str], superfluous: list[str], reshaped: list[str]) -> None:
    """Raise when there is anything to complain about."""
    findings = [
        f"{kind}: {', '.join(names[:_SHOWN])}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        for kind, names in (("missing", missing), ("not part of it", superfluous), ("other shape", reshaped))
        if names
    ]
    if findings:
        raise _mismatch(published, findings)


def _mismatch(published: PublishedBackbone, findings: list[str]) -> BackboneError:
    return BackboneError(
        "backbone-file-mismatch",
        f"The file does not hold the weights of backbone {published.specification.id!r} ({'; '.join(findings)}).",
        f"Choose the file {published.file_name}, or import it under the identifier of the backbone it belongs to.",
    )

"""What a model's folder says about itself, read and verified without torch.

The viewer lists models in its own process, where torch must not be loaded.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fseft.errors import ModelError

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
_NAME = re.compile(r"^[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,79}$")


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
        raise damaged(folder, str(problem)) from problem
    if version != 1:
        raise ModelError(
            "model-newer", f"The model {folder.name!r} was made by a newer FSEFT (format {version}).", "Update FSEFT."
        )
    if stored != checksum_of(content):
        raise damaged(folder, "model.json was changed after the model was made")
    return dict(content)


def checksum_of(content: dict[str, Any]) -> str:
    """Digest of a description, its own ``checksum`` member left aside."""
    plain = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def damaged(folder: Path, why: str) -> ModelError:
    """The error for a model that cannot be used."""
    return ModelError(
        "model-damaged", f"The model {folder.name!r} cannot be used: {why}.", "Import it again, or adapt again."
    )

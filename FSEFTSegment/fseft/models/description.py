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
from fseft.models.members import wrong_member

MODEL_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
#: More than any description needs; a file that claims more is not one.
MAX_DESCRIPTION_BYTES = 20_000_000
#: Names that Windows keeps for devices, with or without an ending: a model has to be movable.
_DEVICES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)
_NAME = re.compile(r"^[^\x00-\x1f/\\:*?\"<>|.][^\x00-\x1f/\\:*?\"<>|]{0,79}$")


def check_name(name: str) -> str:
    """A model name that is also a safe folder name.

    Raises:
        ModelError: "model-name-invalid".
    """
    if not _NAME.match(name) or name.strip() != name or name.endswith(".") or _DEVICES.match(name):
        raise ModelError(
            "model-name-invalid",
            f"{name!r} cannot be a model's name.",
            'Use up to 80 letters, digits, spaces or dashes; none of / \\ : * ? " < > | and no dot first or last.',
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
        if path.stat().st_size > MAX_DESCRIPTION_BYTES:
            raise ValueError(f"{MODEL_FILE} is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("format") != "fseft-model":
            raise ValueError(f"{MODEL_FILE} does not describe an adapted model")
        version, stored = int(content["version"]), content["checksum"]
    except KeyError as problem:
        raise damaged(folder, f"{MODEL_FILE} lacks {problem}") from problem
    except (OSError, ValueError, TypeError, RecursionError) as problem:
        raise damaged(folder, str(problem) if str(problem) else type(problem).__name__) from problem
    if version != 1:
        raise ModelError(
            "model-newer", f"The model {folder.name!r} was made by a newer FSEFT (format {version}).", "Update FSEFT."
        )
    if stored != checksum_of(content):
        raise damaged(folder, "model.json was changed after the model was made")
    wrong = wrong_member(content)
    if wrong:
        raise damaged(folder, f"in {MODEL_FILE}, {wrong} is missing or not what it should be")
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

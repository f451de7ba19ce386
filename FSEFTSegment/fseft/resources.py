"""Where files that ship with FSEFT are: beside a wheel's package, in the viewer's install tree, or in a checkout."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource_folders() -> list[Path]:
    """Existing resource folders, best first.

    In order: ``FSEFT_RESOURCES``; ``resources`` inside the package (pip); ``Resources`` beside the package (the
    viewer's scripted modules); ``Resources`` at the top of the repository.
    """
    candidates = []
    chosen = os.environ.get("FSEFT_RESOURCES")
    if chosen:
        candidates.append(Path(chosen))
    candidates += [_PACKAGE / "resources", _PACKAGE.parent / "Resources"]
    repository = _PACKAGE.parent.parent
    if (repository / "FSEFT.s4ext").is_file():
        candidates.append(repository / "Resources")
    found: list[Path] = []
    for folder in candidates:
        # Case-insensitive file systems show one folder under two names.
        if folder.is_dir() and not any(folder.samefile(other) for other in found):
            found.append(folder)
    return found

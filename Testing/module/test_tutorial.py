"""The tutorial: its pictures are there, and every code it explains exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TUTORIAL = REPOSITORY / "docs" / "tutorial.md"


def codes() -> set[str]:
    """Texts that look like error codes, in the engine and on Slicer's side."""
    found = set()
    for path in (REPOSITORY / "FSEFTSegment").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.fullmatch(r"[a-z0-9-]+", node.value)
            ):
                found.add(node.value)
    return found


def test_every_code_that_is_explained_exists():
    rows = [line for line in TUTORIAL.read_text("utf-8").splitlines() if line.startswith("| `")]
    explained = {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row.split("|")[1])}
    assert len(explained) > 25
    assert explained - codes() == set()


def test_every_picture_is_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL.read_text("utf-8"))
    assert len(pictures) >= 6
    for picture in pictures:
        assert (TUTORIAL.parent / picture).is_file(), picture

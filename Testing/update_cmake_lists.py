"""Write the lists of files in FSEFTSegment/CMakeLists.txt from the tree.

Run it after adding or removing a file of the module: ``python Testing/update_cmake_lists.py``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "FSEFTSegment"


def scripts(module: Path = MODULE) -> list[str]:
    """Python files of the module, relative to it, sorted."""
    return sorted(path.relative_to(module).as_posix() for path in module.rglob("*.py") if not _is_scratch(path))


def resources(module: Path = MODULE) -> list[str]:
    """Resource files of the module, and data files inside its packages, relative to it, sorted."""
    kinds = {".png", ".svg", ".ui", ".json", ".qrc", ".txt", ".md"}
    return sorted(
        path.relative_to(module).as_posix()
        for path in module.rglob("*")
        if path.is_file() and path.suffix in kinds and path.name != "CMakeLists.txt" and not _is_scratch(path)
    )


def _is_scratch(path: Path) -> bool:
    return any(part == "__pycache__" or part.startswith(".") for part in path.relative_to(MODULE).parts)


def listed(text: str, variable: str) -> list[str]:
    """The entries of a ``set(VARIABLE ...)`` block."""
    block = re.search(rf"set\({variable}\n(.*?)\)", text, re.S)
    return block.group(1).split() if block else []


def updated(text: str) -> str:
    """The CMake text with both lists made anew."""
    for variable, entries in (("MODULE_PYTHON_SCRIPTS", scripts()), ("MODULE_PYTHON_RESOURCES", resources())):
        block = "".join(f"  {entry}\n" for entry in entries)
        text = re.sub(rf"(set\({variable}\n).*?(  \)|\))", lambda m, b=block: m.group(1) + b + "  )", text, flags=re.S)
    return text


def main() -> int:
    path = MODULE / "CMakeLists.txt"
    before = path.read_text(encoding="utf-8")
    after = updated(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
        print(f"{path.name} updated: {len(scripts())} scripts, {len(resources())} resources")
    return 0


if __name__ == "__main__":
    sys.exit(main())

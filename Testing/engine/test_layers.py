"""Imports only go down: the engine knows nothing of Slicer, and importing it is cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "FSEFTSegment" / "fseft"
FORBIDDEN = {"slicer", "vtk", "qt", "ctk", "PySide6", "FSEFTSegmentLib", "FSEFTSegment"}


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda p: str(p.relative_to(ENGINE)))
def test_engine_imports_nothing_of_slicer(path: Path) -> None:
    assert not imports_of(path) & FORBIDDEN


def test_engine_needs_only_its_declared_packages() -> None:
    allowed = {"torch", "monai", "numpy", "SimpleITK", "scipy", "safetensors", "einops", "platformdirs", "fseft"}
    optional = {"matplotlib"}
    used: set[str] = set()
    for path in ENGINE.rglob("*.py"):
        used |= imports_of(path)
    assert used - set(sys.stdlib_module_names) - allowed - optional == set()


def test_command_line_starts_without_torch() -> None:
    code = "import sys, fseft.cli.main as m; m.build_parser(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "FSEFTSegment"
    )
    assert done.stdout.strip() == "False"


def test_adapting_from_cached_features_loads_no_large_package() -> None:
    code = (
        "import sys, fseft.jobs.adapt_job; print(sorted({'monai', 'torch._dynamo', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT / "FSEFTSegment"
    )
    assert done.stdout.strip() == "[]"


def test_files_stay_readable() -> None:
    long = {p.name: n for p in ENGINE.rglob("*.py") if (n := len(p.read_text(encoding="utf-8").splitlines())) > 450}
    assert long == {}

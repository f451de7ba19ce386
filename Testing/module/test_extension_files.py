"""What is packaged: every file listed, the catalogue entries equal to CMake's metadata, imports that go down only."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = REPOSITORY / "FSEFTSegment"

_spec = importlib.util.spec_from_file_location("update_cmake_lists", REPOSITORY / "Testing" / "update_cmake_lists.py")
lists = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lists)


def cmake_metadata() -> dict[str, str]:
    text = (REPOSITORY / "CMakeLists.txt").read_text("utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+)\s+"(.*?)"\)', text))


def test_every_file_of_the_module_is_listed_once_and_sorted():
    text = (MODULE / "CMakeLists.txt").read_text("utf-8")
    hint = "run: python Testing/update_cmake_lists.py"
    assert lists.listed(text, "MODULE_PYTHON_SCRIPTS") == lists.scripts(), hint
    assert lists.listed(text, "MODULE_PYTHON_RESOURCES") == lists.resources(), hint
    assert lists.updated(text) == text, hint
    assert "FSEFTSegmentLib/jobs/queue.py" in lists.scripts()
    assert "Resources/Icons/FSEFTSegment.png" in lists.resources()


def test_the_lists_notice_a_new_file(tmp_path, monkeypatch):
    (tmp_path / "pack" / "__pycache__").mkdir(parents=True)
    for name in ("pack/new.py", "pack/__pycache__/x.py", "Main.py", "CMakeLists.txt", "pack/a.json"):
        (tmp_path / name).touch()
    monkeypatch.setattr(lists, "MODULE", tmp_path)
    assert lists.scripts(tmp_path) == ["Main.py", "pack/new.py"]
    assert lists.resources(tmp_path) == ["pack/a.json"]


def test_only_the_module_script_lies_loose():
    """Slicer takes every loose Python file beside the module script for another module."""
    assert {path.name for path in MODULE.glob("*.py")} <= {"FSEFTSegment.py"}


def test_catalogue_entries_agree_with_cmake():
    metadata = cmake_metadata()
    entry = json.loads((REPOSITORY / "FSEFT.json").read_text("utf-8"))
    lines = (REPOSITORY / "FSEFT.s4ext").read_text("utf-8").splitlines()
    legacy = {line.partition(" ")[0]: line.partition(" ")[2] for line in lines if line and not line.startswith("#")}
    assert entry["category"] == legacy["category"] == metadata["CATEGORY"]
    assert entry["build_dependencies"] == legacy["depends"].split() == metadata["DEPENDS"].split(";")
    assert entry["scm_url"] == legacy["scmurl"]
    assert entry["scm_revision"] == legacy["scmrevision"]
    assert entry["build_subdirectory"] == legacy["build_subdirectory"]
    for key in ("homepage", "contributors", "iconurl", "description", "screenshoturls"):
        assert legacy[key] == metadata[key.upper()]
    assert set(entry) == {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_url",
        "tier",
    }
    for key in ("ICONURL", "SCREENSHOTURLS"):
        assert metadata[key].startswith("https://")
        assert (REPOSITORY / metadata[key].partition("/main/")[2]).is_file()


def test_icons_have_the_size_the_catalogue_wants():
    for path in (
        REPOSITORY / "Resources" / "Icons" / "FSEFT.png",
        MODULE / "Resources" / "Icons" / "FSEFTSegment.png",
    ):
        header = path.read_bytes()[:24]
        assert header[:8] == b"\x89PNG\r\n\x1a\n"
        assert (int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")) == (128, 128)


def imports_of(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def test_imports_only_go_down():
    for path in (MODULE / "fseft").rglob("*.py"):
        assert not imports_of(path) & {"slicer", "vtk", "qt", "ctk", "FSEFTSegmentLib"}, path


def test_slicers_process_loads_only_what_slicer_has():
    allowed = set(sys.stdlib_module_names) | {
        "slicer", "vtk", "qt", "ctk", "numpy", "SimpleITK", "fseft", "FSEFTSegmentLib", "SampleData",
    }  # fmt: skip
    for path in [*(MODULE / "FSEFTSegmentLib").rglob("*.py"), *MODULE.glob("*.py")]:
        assert imports_of(path, top_level_only=True) <= allowed, path


def test_engine_parts_used_by_slicers_process_do_not_load_torch():
    used = set()
    for path in [*(MODULE / "FSEFTSegmentLib").rglob("*.py"), *MODULE.glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fseft"):
                used.add(node.module)
    assert "fseft.structures" in used
    script = f"import sys\nfor m in {sorted(used)!r}: __import__(m)\n" + (
        "print(sorted(set(sys.modules) & {'torch', 'monai', 'scipy', 'platformdirs', 'safetensors', 'einops'}))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=MODULE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
def test_cmake_configures_and_installs_the_bundled_backbones(tmp_path):
    """A stand-in for Slicer's CMake package takes the calls: names are spelled right and the paths exist."""
    package = tmp_path / "slicer"
    package.mkdir()
    (package / "SlicerConfig.cmake").write_text(
        'set(Slicer_USE_FILE "${CMAKE_CURRENT_LIST_DIR}/use.cmake")\n'
        'set(Slicer_EXTENSION_GENERATE_CONFIG "${CMAKE_CURRENT_LIST_DIR}/none.cmake")\n'
        'set(Slicer_EXTENSION_CPACK "${CMAKE_CURRENT_LIST_DIR}/none.cmake")\n'
        "set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)\n"
        "set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR lib/qt-scripted-modules)\n"
        "set(Slicer_LAUNCHER_EXECUTABLE Slicer)\n"
    )
    (package / "none.cmake").touch()
    (package / "use.cmake").write_text(
        "function(slicerMacroBuildScriptedModule)\n"
        '  cmake_parse_arguments(MY "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})\n'
        "  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)\n"
        '    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")\n'
        '      message(FATAL_ERROR "${file} is missing")\n'
        "    endif()\n"
        "  endforeach()\n"
        "  if(MY_UNPARSED_ARGUMENTS)\n"
        '    message(FATAL_ERROR "${MY_UNPARSED_ARGUMENTS}")\n'
        "  endif()\n"
        "endfunction()\n"
        "function(slicer_add_python_unittest)\nendfunction()\n"
        "enable_testing()\n"
    )
    build = tmp_path / "build"
    configure = ["cmake", "-S", REPOSITORY, "-B", build, f"-DSlicer_DIR={package}", "-DBUILD_TESTING=ON"]
    for command in (configure, ["cmake", "--build", build], ["cmake", "--install", build, "--prefix", tmp_path / "i"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for root in (build, tmp_path / "i"):
        assert (root / "lib" / "qt-scripted-modules" / "Resources" / "Backbones").is_dir()

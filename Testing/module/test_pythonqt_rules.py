"""What Slicer's Qt binding, PythonQt, does not allow, though the stand-ins' PySide does: looked for in the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")

import slicer_standins as standins

standins.install()

import qt  # noqa: E402

MODULE = Path(__file__).resolve().parents[2] / "FSEFTSegment"
SOURCES = [MODULE / "FSEFTSegment.py", *sorted((MODULE / "FSEFTSegmentLib").rglob("*.py"))]
#: Properties of CTK's and Slicer's own objects.
OTHER_PROPERTIES = {
    "collapsed",
    "title",
    "categories",
    "dependencies",
    "contributors",
    "helpText",
    "acknowledgementText",
}
#: PythonQt leaves it to the static function of the same name.
NO_PROPERTIES = {"singleShot"}


def trees():
    return [(path.relative_to(MODULE).as_posix(), ast.parse(path.read_text("utf-8"))) for path in SOURCES]


def chain_of(node):
    """ "qt", "Qt", "Checked" of ``qt.Qt.Checked``; empty for what is no plain chain of names."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else []


def qt_properties():
    found = set(OTHER_PROPERTIES)
    for name in dir(qt):
        meta = getattr(getattr(qt, name), "staticMetaObject", None)
        if meta is not None:
            found |= {meta.property(position).name() for position in range(meta.propertyCount())}
    return found - NO_PROPERTIES


def targets_of(node):
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AugAssign) else []
    for target in targets:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]


def test_only_properties_are_assigned_to_widgets():
    """PythonQt refuses any other attribute on an object of Qt's."""
    known = qt_properties()
    assigned, own = [], set()
    for name, tree in trees():
        for node in ast.walk(tree):
            for target in targets_of(node):
                if isinstance(target, ast.Attribute):
                    if isinstance(target.value, ast.Name) and target.value.id == "self":
                        own.add(target.attr)
                    else:
                        assigned.append((f"{name}:{node.lineno}", target.attr))
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, (ast.Name, ast.Attribute)):
                own.add(node.target.id if isinstance(node.target, ast.Name) else node.target.attr)
    assert len(assigned) > 100
    assert [(place, attr) for place, attr in assigned if attr not in known and attr not in own] == []


def test_qt_is_called_without_keywords():
    """PythonQt takes none."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and chain_of(node.func)[:1] == ["qt"] and node.keywords
    ]
    assert found == []


def test_enumerators_are_asked_from_their_class():
    """``qt.Qt.Checked``: PythonQt has no ``qt.Qt.CheckState.Checked``."""
    found = [
        f"{name}:{node.lineno} {'.'.join(chain_of(node))}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and chain_of(node)[:1] == ["qt"] and len(chain_of(node)) > 3
    ]
    assert found == []


def test_nothing_is_taken_from_pyside():
    """Names that PySide adds to Qt, and Qt names that only one of Qt 5 and Qt 6 has."""
    unwanted = {"Signal", "Slot", "Property", "QRegExp", "QDesktopWidget", "QTextCodec", "QRegularExpressionValidator"}
    found = [
        f"{name}:{node.lineno} {node.attr}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and chain_of(node)[:1] == ["qt"] and node.attr in unwanted
    ]
    assert found == []

"""Folders with accents on Windows, as far as another system can tell."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fseft.scan import native_path as module
from fseft.scan.native_path import native_path


class Kernel:
    """Windows' function with its habits: it fills a buffer and returns a length, 0 for what it does not know."""

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known

    def GetShortPathNameW(self, path: str, buffer: Any, _size: int) -> int:
        buffer.value = self._known.get(path, "")
        return len(buffer.value)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {os.path.join("C:", "Zoë"): os.path.join("C:", "ZO~1")}
    monkeypatch.setattr(module.sys, "platform", "win32")
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=Kernel(known)), raising=False)


@pytest.mark.usefixtures("windows")
def test_folders_get_their_short_name_and_files_keep_theirs() -> None:
    assert native_path(Path("C:") / "Zoë" / "scan1.nii.gz") == os.path.join("C:", "ZO~1", "scan1.nii.gz")
    assert native_path(Path("C:") / "Zoë" / "häls.nrrd") == os.path.join("C:", "ZO~1", "häls.nrrd")
    for untouched in (Path("C:") / "Anna" / "scan1.nrrd", Path("C:") / "Jürg" / "scan1.nrrd"):
        assert native_path(untouched) == str(untouched)


def test_other_systems_open_any_path(tmp_path: Path) -> None:
    assert native_path(tmp_path / "Zoë" / "scan.nrrd") == str(tmp_path / "Zoë" / "scan.nrrd")

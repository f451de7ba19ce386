"""Shared by the tests of the Slicer side."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
for folder in (REPOSITORY / "FSEFTSegment", Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture
def scene():
    """An MRML scene with the logics that Slicer's application would have around it."""
    slicer = pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
    import vtk

    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    colors = application.GetColorLogic()
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    logics = {}
    for name, make in (
        ("Volumes", slicer.vtkSlicerVolumesLogic),
        ("Segmentations", slicer.vtkSlicerSegmentationsModuleLogic),
        ("SubjectHierarchy", slicer.vtkSlicerSubjectHierarchyModuleLogic),
        ("Sequences", slicer.vtkSlicerSequencesLogic),
    ):
        logic = make()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        logics[name] = logic
    scene.fseft_logics = logics
    yield scene
    scene.Clear(True)


@pytest.fixture
def dialogs():
    """What the user was told and asked."""
    standins = pytest.importorskip("slicer_standins")
    standins.DIALOGS.__init__()
    return standins.DIALOGS


@pytest.fixture
def models(monkeypatch):
    """The library's models; none at first."""
    from FSEFTSegmentLib import library

    entries = []
    monkeypatch.setattr(library, "models", lambda: entries)
    monkeypatch.setattr(
        library, "list_backbones", lambda: [library.BackboneChoice("fseft-mini", "FSEFT mini", True, True, 12)]
    )
    return entries


@pytest.fixture
def screen(scene, tmp_path, models, dialogs):
    """The module's screen over an empty scene."""
    import slicer
    from screen_kit import open_screen

    slicer.mrmlScene = scene
    screen = open_screen(scene, tmp_path)
    yield screen
    screen.clean_up()
    screen.window.close()
    slicer.mrmlScene = None

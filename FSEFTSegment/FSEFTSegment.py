"""FSEFT: annotate a few CT scans, press Adapt, press Segment on new ones, review, export.

This file is what Slicer loads; the work is done by ``FSEFTSegmentLib`` (Slicer side) and ``fseft`` (engine).
"""

import os
import time

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class FSEFTSegment(ScriptedLoadableModule):
    """The module as Slicer lists it."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("FSEFT Segment")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SegmentEditor", "SubjectHierarchy"]
        self.parent.contributors = ["FSEFT contributors"]
        self.parent.helpText = _(
            "Annotate the structures you need in a few CT scans, press Adapt, and segment new scans with the model "
            "made from them. Everything runs on this computer; scans are never sent anywhere."
        )
        self.parent.acknowledgementText = _(
            "The method: J. Silva-Rodríguez, J. Dolz, I. Ben Ayed, “Towards Foundation Models and Few-Shot "
            "Parameter-Efficient Fine-Tuning for Volumetric Organ Segmentation”, Medical Image Analysis 103 (2025) "
            "103596."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """Offer the synthetic cases in the Sample Data module."""
    import SampleData
    from FSEFTSegmentLib.sample_data import SAMPLES

    icon = os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", "Icons", "FSEFTSegment.png")
    for sample in SAMPLES:
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="FSEFT",
            sampleName=sample.name,
            # Nothing is downloaded, which Slicer only understands as empty lists.
            uris=[],
            fileNames=[],
            nodeNames=[],
            thumbnailFileName=icon,
            customDownloader=lambda _source=None, sample=sample: load_sample_data(sample),
        )


def load_sample_data(sample):
    """Make and load synthetic scans; what goes wrong is told, not raised into the Sample Data module."""
    from FSEFTSegmentLib.panels.common import errors_shown
    from FSEFTSegmentLib.sample_data import load_sample

    nodes = []
    with errors_shown(), slicer.util.WaitCursor():
        # It takes as long as a download, and Slicer's module says nothing of its own.
        slicer.util.showStatusMessage(_("Making {name}…").format(name=sample.name))
        nodes = load_sample(sample)
    slicer.util.showStatusMessage("")
    return nodes


class FSEFTSegmentWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's widget: builds the screen and tells it of the scene's and the module's comings and goings."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.screen = None
        self.guard = None

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from FSEFTSegmentLib.panels.screen import CloseGuard, Screen

        self.logic = FSEFTSegmentLogic()
        self.screen = Screen(self.logic.session, self.layout)
        window = slicer.util.mainWindow()
        if window is not None:
            self.guard = CloseGuard(window, self.screen.may_close)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        self.addObserver(scene, scene.NodeAddedEvent, self.onNodesChanged)
        self.addObserver(scene, scene.NodeRemovedEvent, self.onNodesChanged)

    def enter(self):
        """Called each time the module is opened."""
        if self.screen is not None:
            self.screen.enter()

    def exit(self):
        """Called each time another module is opened."""
        if self.screen is not None:
            self.screen.leave()

    def cleanup(self):
        """Called when the application closes and before the module is reloaded."""
        self.removeObservers()
        if self.guard is not None:
            self.guard.remove()
            self.guard = None
        if self.screen is not None:
            self.screen.clean_up()
            self.screen = None

    def onReload(self):
        """Reload the helper packages too, which Slicer would leave as they are."""
        import sys

        for name in [n for n in sys.modules if n.split(".")[0] in ("FSEFTSegmentLib", "fseft")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, _caller, _event):
        """The scene is about to be closed."""
        self.screen.scene_closing()

    def onSceneEndClose(self, _caller, _event):
        """The scene was closed."""
        self.screen.refresh_all()

    def onSceneStartImport(self, _caller, _event):
        """Another scene is about to be loaded into this one."""
        self.screen.scene_importing()

    def onSceneEndImport(self, _caller, _event):
        """Another scene was loaded into this one."""
        self.screen.scene_imported()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodesChanged(self, _caller, _event, node):
        """Volumes or segmentations came or went."""
        if slicer.mrmlScene.IsClosing():
            return
        if node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLSegmentationNode"):
            self.screen.soon.start()


class FSEFTSegmentLogic(ScriptedLoadableModuleLogic):
    """Blocking calls for scripts, and the session that the widget shows.

    Args:
        session: another session than that of the application's scene, for tests.
    """

    def __init__(self, session=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.session = session if session is not None else new_session()

    def adapt(self, cases, structures, name="model", **options):
        """Make a model and wait for it; the views stay usable.

        Args:
            cases: pairs of volume node and segmentation node.
            structures: names of the structures to learn; the segments' names.
            name: of the model in the library.
            options: "method" ("continue": go on from the model of that name), "validate", "backbone", "device", "seed",
                "sparse" (True: only annotated slices count).

        Returns:
            What the worker tells of the model: "model" is its folder, "method" the one chosen.

        Raises:
            fseft.errors.FseftError: with what is wrong and what to do.
        """
        state, support = self.session.state, self.session.support
        state.set_cases(())
        state.set_structures(())
        for structure in structures:
            support.add_structure(structure)
        for volume, segmentation in cases:
            case = state.add_case(volume, segmentation)
            support.set_sparse(case, bool(options.get("sparse", False)))
        return self.wait(self.session.adapt({"name": name, **options})).result

    def segment(self, volumes, model, **options):
        """Segment volumes with a model and wait for the results.

        Args:
            volumes: volume nodes.
            model: name of a model in the library, or its folder.
            options: "refine" ("off", "default", "location", "paper"), "priors", "keep_largest", "device".

        Returns:
            One :class:`FSEFTSegmentLib.segmentation.LoadedResult` per volume that could be used; the log names the
            others.

        Raises:
            fseft.errors.FseftError: with what is wrong and what to do.
        """
        from fseft.models.description import read_description
        from fseft.models.library import find_model

        description = read_description(find_model(str(model)))
        options = {"model": str(model), "structures": description["structures"], **options}
        return self.wait(self.session.segment(list(volumes), options)).result

    def wait(self, activity):
        """Wait for an activity while the application goes on.

        Raises:
            fseft.errors.FseftError: when it failed or was cancelled.
        """
        from fseft.errors import Cancelled, FseftError

        while activity.is_active:
            self.session.queue.tick()
            slicer.app.processEvents()
            time.sleep(0.01)
        if activity.failure is not None:
            failure = activity.failure
            raise FseftError(failure.code, failure.message, failure.hint)
        if activity.stage.value == "cancelled":
            raise Cancelled()
        return activity


def new_session():
    """The session of the application's scene."""
    from FSEFTSegmentLib.panels.screen import run_soon
    from FSEFTSegmentLib.runtime import make_queue
    from FSEFTSegmentLib.session import Session

    sequences = getattr(slicer.modules, "sequences", None)
    return Session(
        slicer.mrmlScene, make_queue(slicer, qt), run_soon, sequences.logic() if sequences is not None else None
    )


class FSEFTSegmentTest(ScriptedLoadableModuleTest):
    """Runs from "Reload and Test": everything that needs no training, on a synthetic volume."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests."""
        self.setUp()
        self.test_support_set_and_results()

    def test_support_set_and_results(self):
        """A structure, a case with an annotation, a result on its scan, and its correction."""
        import numpy as np
        from FSEFTSegmentLib.mrml.grid import own_grid
        from FSEFTSegmentLib.mrml.results import ResultIdentity, show_result
        from FSEFTSegmentLib.mrml.segments import set_labels

        self.delayDisplay("Support set")
        session = new_session()
        voxels = np.random.default_rng(0).integers(-1000, 1000, (20, 30, 40)).astype(np.int16)
        volume = slicer.util.addVolumeFromArray(voxels, name="Test CT")
        session.support.add_structure("liver")
        session.support.add_scans([volume])
        case = session.state.cases[0]
        assert "Annotate" in session.adapt_reason()
        labels = np.zeros(voxels.shape, np.uint8)
        labels[5:10, 5:10, 5:10] = 1
        set_labels(session.support.annotation_for(case), labels, own_grid(volume), session.state.structures)
        assert session.adapt_reason() == ""
        self.delayDisplay("Results")
        node = show_result(slicer.mrmlScene, volume, labels, session.state.structures, ResultIdentity("test"))
        again = show_result(slicer.mrmlScene, volume, labels, session.state.structures, ResultIdentity("test"))
        assert again is node
        result = session.state.add_result(volume, node, None, "test", {"structures": []})
        session.support.correct(result)
        assert session.state.annotation(session.state.cases[0]) is node
        session.shut_down()
        self.delayDisplay("Test passed")

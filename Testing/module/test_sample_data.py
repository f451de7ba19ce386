"""Sample data: offered in Slicer, made offline, the same each time."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")
pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("scipy", reason="scipy is not installed")

import slicer_standins as standins

standins.install()

import slicer  # noqa: E402
from fseft.errors import ResourceError  # noqa: E402
from FSEFTSegmentLib import sample_data  # noqa: E402
from FSEFTSegmentLib.jobs.processes import SubprocessProcess  # noqa: E402
from FSEFTSegmentLib.mrml.annotations import annotation_steps  # noqa: E402
from FSEFTSegmentLib.mrml.cases import case_status  # noqa: E402
from FSEFTSegmentLib.mrml.results import nodes_of_class  # noqa: E402
from FSEFTSegmentLib.mrml.segments import structures_of_segmentation  # noqa: E402
from FSEFTSegmentLib.mrml.volumes import voxels_of  # noqa: E402
from FSEFTSegmentLib.panels import common  # noqa: E402
from FSEFTSegmentLib.steps import run_steps  # noqa: E402

import FSEFTSegment as module  # noqa: E402


@pytest.fixture
def application(scene, monkeypatch):
    """Slicer's loading functions over its own volumes logic."""
    monkeypatch.setattr(slicer, "mrmlScene", scene, raising=False)
    volumes = scene.fseft_logics["Volumes"]
    for name, option in (("loadVolume", 0), ("loadLabelVolume", 1)):
        monkeypatch.setattr(
            slicer.util,
            name,
            lambda path, properties=None, option=option: volumes.AddArchetypeVolume(path, "loaded", option),
        )
    return scene


def test_the_sample_data_module_offers_them(monkeypatch):
    offered = {}

    def register(loadFileType="VolumeFile", loadFiles=None, checksums=None, **what):
        # As Slicer's SampleDataSource does, which does not get along with "no address" other than as empty lists.
        types_of = [loadFileType] * len(what["uris"])
        assert list(zip(what["fileNames"], what["nodeNames"], types_of, strict=True)) == []
        offered[what["sampleName"]] = what

    logic = types.SimpleNamespace(registerCustomSampleDataSource=register)
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    module.register_sample_data()
    assert list(offered) == [sample.name for sample in sample_data.SAMPLES]
    made = []
    monkeypatch.setattr(sample_data, "load_sample", lambda sample: made.append(sample) or ["a volume"])
    for what in offered.values():
        assert what["category"] == "FSEFT"
        # Slicer passes the source along.
        assert what["customDownloader"](object()) == ["a volume"]
    assert tuple(made) == sample_data.SAMPLES


def test_what_goes_wrong_is_a_sentence_not_a_traceback(monkeypatch):
    def fail(_sample):
        raise ResourceError("sample-failed", "No scipy.", "Install it.")

    shown = []
    monkeypatch.setattr(sample_data, "load_sample", fail)
    monkeypatch.setattr(common.slicer.util, "errorDisplay", lambda text, **_: shown.append(text))
    assert module.load_sample_data(sample_data.SAMPLES[0]) == []
    assert shown == ["No scipy.\n\nInstall it."]


def test_annotated_scans_are_ready_to_adapt(application, caplog):
    sample = sample_data.Sample("one", 101, 1, annotated=True)
    (volume,) = sample_data.load_sample(sample, SubprocessProcess)
    assert volume.GetName() == "Synthetic CT 101"
    assert sample_data.checksum(voxels_of(volume)) == sample_data.CHECKSUMS[101]
    assert "differs" not in caplog.text
    (segmentation,) = nodes_of_class(application, "vtkMRMLSegmentationNode")
    structures = tuple(structures_of_segmentation(segmentation))
    assert tuple(structure.name for structure in structures) == sample_data.ORGANS
    assert all(structure.terminology for structure in structures)
    status = case_status(volume, segmentation, structures)
    assert (status.annotated, status.problems) == (sample_data.ORGANS, ())
    labels = run_steps(annotation_steps(segmentation, volume, structures)).labels
    voxels = voxels_of(volume)
    assert 20 < float(np.median(voxels[labels == structures[0].value])) < 200
    assert nodes_of_class(application, "vtkMRMLLabelMapVolumeNode") == []
    # The files are gone: saved with them, the scene would come back without voxels.
    assert volume.GetStorageNode() is None
    assert volume.GetModifiedSinceRead()
    assert nodes_of_class(application, "vtkMRMLStorageNode") == []
    assert nodes_of_class(application, "vtkMRMLLabelMapVolumeDisplayNode") == []


def test_every_sample_scan_has_a_checksum_that_its_generator_meets():
    from fseft.phantom import make_phantom

    seeds = [seed for sample in sample_data.SAMPLES for seed in sample.seeds]
    assert sorted(sample_data.CHECKSUMS) == seeds
    assert len(set(sample_data.CHECKSUMS.values())) == len(seeds)
    sample = sample_data.SAMPLES[1]
    made = make_phantom(sample.first_seed, sample.region, (sample.spacing_mm,) * 3)
    assert sample_data.checksum(made.scan.hounsfield) == sample_data.CHECKSUMS[sample.first_seed]


def test_a_failing_generator_says_why(application, monkeypatch):
    said = "import sys; print('scipy is missing'); sys.exit(3)"
    monkeypatch.setattr(sample_data, "phantom_command", lambda *_: [sys.executable, "-c", said])
    with pytest.raises(ResourceError, match="scipy is missing"):
        sample_data.load_sample(sample_data.SAMPLES[0], SubprocessProcess)

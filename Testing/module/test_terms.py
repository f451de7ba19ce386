"""Standard codes: what Slicer knows is listed, chosen by the user and carried into annotations and results."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("slicer", reason="slicer-core (Slicer's MRML as a wheel) is not installed")

import slicer
from FSEFTSegmentLib.mrml import terms
from FSEFTSegmentLib.mrml.results import ResultIdentity, show_result
from FSEFTSegmentLib.mrml.segments import list_segments
from FSEFTSegmentLib.presets import LIST, make_structure, preset_names, terminology_label
from mrml_makers import add_volume, blocks

#: Slicer looks at its name only.
SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def coded(value, meaning, **more):
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, **more}


def colored(value, meaning, *color):
    return coded(value, meaning, recommendedDisplayRGBValue=list(color), **{"3dSlicerLabel": meaning.lower()})


@pytest.fixture
def logic(tmp_path):
    """Slicer's own logic with a small list of codes."""
    sides = [colored("24028007", "Right", 185, 102, 83), colored("7771000", "Left", 10, 20, 30)]
    kinds = [coded("64033007", "Kidney", Modifier=sides), colored("10200004", "Liver", 221, 130, 101)]
    category = coded("123037004", "Anatomical Structure", showAnatomy=True, Type=kinds)
    tissue = coded("85756007", "Tissue", showAnatomy=True, Type=[colored("272673000", "Bone", 241, 214, 145)])
    made = slicer.vtkSlicerTerminologiesModuleLogic()
    for name in ("A list", LIST):
        path = tmp_path / f"{name}.json"
        content = {
            "SegmentationCategoryTypeContextName": name,
            "@schema": SCHEMA,
            "SegmentationCodes": {"Category": [category, tissue]},
        }
        path.write_text(json.dumps(content), "utf-8")
        assert made.LoadTerminologyFromFile(str(path)) == name
    return made


def test_every_published_structure_has_codes_that_slicer_reads():
    entries = set()
    for value, name in enumerate(preset_names(), start=1):
        entry = slicer.vtkSlicerTerminologyEntry()
        serialised = make_structure(name, value).terminology
        assert slicer.vtkSlicerTerminologiesModuleLogic.DeserializeTerminologyEntry(serialised, entry)
        assert entry.IsValid(), name
        assert slicer.vtkSlicerTerminologiesModuleLogic.SerializeTerminologyEntry(entry) == serialised
        entries.add(serialised)
    # A tumour of the liver's vessels is a mass in the liver, as a tumour of the liver is.
    assert len(entries) == len(preset_names()) - 1


def test_a_name_that_covers_two_organs_is_not_coded_as_one_of_them():
    labels = [terminology_label(make_structure(n, 1).terminology) for n in ("Uterus", "prostate", "Prostate or uterus")]
    assert labels == ["Uterus", "Prostate", "Organ"]


def test_slicers_lists_are_read_with_their_colours(logic, capfd):
    names = terms.list_names(logic)
    assert (names[0], names[-1]) == (LIST, "A list")
    found = {term.label: term for term in terms.list_terms(logic, LIST)}
    assert "ERR" not in capfd.readouterr().err
    assert list(found) == ["Kidney", "Kidney, Right", "Kidney, Left", "Liver", "Bone"]
    assert found["Bone"].category == "Tissue"
    assert found["Kidney"].color == found["Kidney, Right"].color == (185 / 255, 102 / 255, 83 / 255)
    for name in ("right kidney", "liver"):
        structure = make_structure(name, 1)
        assert found[terminology_label(structure.terminology)].entry == structure.terminology


def test_without_slicers_lists_the_published_structures_are_offered():
    assert terms.list_names(None) == [terms.PUBLISHED]
    labels = [term.label for term in terms.list_terms(None, terms.PUBLISHED)]
    assert len(labels) == len(preset_names())
    assert "Mass (Liver)" in labels


def test_results_carry_the_codes(scene):
    volume = add_volume(scene)
    structures = (make_structure("left kidney", 1), make_structure("my own", 2))
    node = show_result(scene, volume, blocks(values=(1, 2)), structures, ResultIdentity("m"))
    assert [terminology_label(info.terminology) for info in list_segments(node)] == ["Kidney, Left", "Tissue"]
    assert list_segments(node)[0].terminology == structures[0].terminology

"""Sources of training cases: what they take, what they leave out, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fseft.errors import InputError
from fseft.pretraining.cases import open_case
from fseft.pretraining.preparation import prepare
from fseft.pretraining.sources import LabelledFolder, Phantoms, Selection, parse_source
from pretraining_makers import NETWORK, write_folder

OPENKBP = Path(__file__).resolve().parents[3] / "shared" / "ct" / "openkbp"
GRID = NETWORK.specification(())


def test_cases_are_prepared_once_and_without_names(tmp_path: Path) -> None:
    source = LabelledFolder(write_folder(tmp_path / "scans"))
    pool = prepare([source], GRID, tmp_path / "work")
    case = pool.groups[0][0]
    arrays = open_case(case)
    assert case.structures == ("RightParotid", "LeftParotid")
    assert arrays.hounsfield.dtype == np.int16
    assert arrays.labels.dtype == np.uint8
    # The ball lies at the patient's right, which is where the first network index grows to.
    ball, rod = (np.argwhere(arrays.labels == value)[:, 0].mean() for value in (1, 2))
    assert ball > rod
    assert float(arrays.hounsfield[arrays.labels == 1].mean()) == pytest.approx(160, abs=25)
    stamp = (case.folder / "hounsfield.npy").stat().st_mtime_ns
    assert prepare([source], GRID, tmp_path / "work") == pool
    assert (case.folder / "hounsfield.npy").stat().st_mtime_ns == stamp
    texts = [path.name + path.read_text("utf-8") for path in (tmp_path / "work").rglob("*.json")]
    assert len(texts) == 2
    assert not any("anna" in text for text in texts)


def test_only_allowed_and_usable_labels_are_used(tmp_path: Path) -> None:
    labels = {"RightParotid": 1, "LeftParotid": 4, "Mandible": 7}
    folder = write_folder(tmp_path / "scans", labels=labels, usable_labels=["RightParotid", "Mandible"])
    pool = prepare([LabelledFolder(folder)], GRID, tmp_path / "work")
    assert pool.classes == ("mandible", "right parotid gland")
    assert open_case(pool.groups[0][0]).labels.max() == 1
    chosen = LabelledFolder(folder, Selection(left_out=("mandible",)))
    other = prepare([chosen], GRID, tmp_path / "work")
    assert other.classes == ("right parotid gland",)
    assert other.groups[0][0].left_out == ("LeftParotid", "Mandible")
    assert other.groups[0][0].folder != pool.groups[0][0].folder
    nothing = LabelledFolder(folder, Selection(only=("liver",)))
    with pytest.raises(InputError) as caught:
        prepare([nothing], GRID, tmp_path / "work")
    assert caught.value.code == "pretraining-no-label"


def test_listed_cases_only(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scans", count=3)
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["anna_2"]}))
    source = parse_source(f"folder:{folder},cases={tmp_path / 'splits.json'}#train,weight=3,except=LeftParotid")
    assert isinstance(source, LabelledFolder)
    assert (source.cases, source.weight) == (("anna_2",), 3.0)
    pool = prepare([source, LabelledFolder(folder)], GRID, tmp_path / "work")
    assert [len(group) for group in pool.groups] == [1, 3]
    assert pool.weights == (0.75, 0.25)


def test_sources_describe_themselves_without_paths(tmp_path: Path) -> None:
    text = LabelledFolder(tmp_path / "secret", Selection(("liver",), ("spleen",)), ("anna",), 2.0).description
    assert text == "labelled folder, 1 cases, liver without spleen, weight 2"
    assert "40 of torso" in Phantoms("torso").description


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("scans", "pretraining-source-invalid"),
        ("folder:", "pretraining-source-invalid"),
        ("cloud:scans", "pretraining-source-invalid"),
        ("folder:scans,weight=many", "pretraining-source-invalid"),
        ("folder:scans,weight=0", "pretraining-source-invalid"),
        ("folder:scans,count=3", "pretraining-source-invalid"),
        ("folder:scans,cases=missing.json#train", "pretraining-splits-invalid"),
    ],
)
def test_bad_sources_are_named(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_source(text)
    assert caught.value.code == code


def test_folders_may_have_commas() -> None:
    source = parse_source("folder:a,b,structures=liver+left kidney")
    assert isinstance(source, LabelledFolder)
    assert source.folder == Path("a,b")
    assert source.selection.only == ("liver", "left kidney")


def test_unusable_folders(tmp_path: Path) -> None:
    def code(source: LabelledFolder) -> str:
        with pytest.raises(InputError) as caught:
            prepare([source], GRID, tmp_path / "work")
        return caught.value.code

    (tmp_path / "empty").mkdir()
    assert code(LabelledFolder(tmp_path / "empty")) == "pretraining-source-empty"
    folder = write_folder(tmp_path / "scans")
    assert code(LabelledFolder(folder, cases=("bob",))) == "pretraining-case-missing"
    (folder / "anna_0.json").write_text("{}")
    assert code(LabelledFolder(folder)) == "pretraining-case-invalid"
    with pytest.raises(InputError) as caught:
        prepare([], GRID, tmp_path / "work")
    assert caught.value.code == "pretraining-no-source"


def test_phantoms_come_with_labels_and_coordinates(tmp_path: Path) -> None:
    source = Phantoms("abdomen", count=1, seed=3, selection=Selection(left_out=("mandible",)))
    grid = NETWORK.specification(())
    pool = prepare([source], grid, tmp_path / "work")
    case = pool.groups[0][0]
    arrays = open_case(case)
    assert case.dense
    assert arrays.coordinates is not None
    assert arrays.coordinates.shape == (*(-(-n // 4) for n in arrays.hounsfield.shape), 3)
    # Below the neck, and growing to the right, to the front and upwards.
    assert float(arrays.coordinates[..., 2].astype(np.float32).mean()) < -100
    middle = arrays.coordinates[tuple(n // 2 for n in arrays.coordinates.shape[:3])].astype(np.float32)
    for axis in range(3):
        ahead = [n // 2 + (1 if other == axis else 0) for other, n in enumerate(arrays.coordinates.shape[:3])]
        assert float(arrays.coordinates[tuple(ahead)][axis]) > middle[axis]
    assert "liver" in pool.classes
    assert "mandible" not in pool.classes
    assert "bone" not in pool.classes  # without the mandible the skeleton is not whole
    with pytest.raises(InputError) as caught:
        prepare([Phantoms("tail")], grid, tmp_path / "work")
    assert caught.value.code == "phantom-unknown-region"


@pytest.mark.skipif(not OPENKBP.is_dir(), reason="the OpenKBP cases are not here")
def test_a_real_case_gives_base_structures_only(tmp_path: Path) -> None:
    base = json.loads((OPENKBP / "splits.json").read_text())["base_structures"]
    source = parse_source(f"folder:{OPENKBP},cases={OPENKBP / 'splits.json'}#pretraining,structures={'+'.join(base)}")
    assert isinstance(source, LabelledFolder)
    assert source.cases is not None
    held = [json.loads((OPENKBP / f"{case}.json").read_text()) for case in source.cases]
    first = next(i for i, notes in enumerate(held) if {"Mandible", *base} <= set(notes["usable_labels"]))
    one = LabelledFolder(OPENKBP, source.selection, source.cases[first : first + 1])
    pool = prepare([one], GRID, tmp_path / "work")
    case = pool.groups[0][0]
    assert set(case.structures) == set(base)
    assert "Mandible" in case.left_out
    assert pool.classes == ("brain stem", "left parotid gland", "right parotid gland", "spinal cord")
    assert open_case(case).labels.max() == len(base)
    assert case.frame is not None
    assert 0.8 <= case.frame.scale <= 1.2


def test_an_unknown_option_is_named_wherever_it_stands() -> None:
    for text in ("phantoms:torso,count=2,foo=1", "folder:scans,structures=a+b,foo=1"):
        with pytest.raises(InputError) as caught:
            parse_source(text)
        assert caught.value.code == "pretraining-source-invalid"
        assert "'foo'" in caught.value.message
    assert isinstance(parse_source("folder:scans, of=anna,weight=2"), LabelledFolder)  # a folder may be called so

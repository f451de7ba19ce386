"""Finding support cases in the layouts people have, and naming what is wrong with the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fseft.adaptation.adapt import CaseFiles
from fseft.adaptation.support_files import collect_support, from_pairs
from fseft.errors import AnnotationError, InputError, ScanError

LABELS = {"background": 0, "liver": 1, "spleen": 2}


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def segmentation(path: Path, names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.ones((2, 2, 2), dtype=np.uint8))
    for number, name in enumerate(names):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Layer", "0")
    sitk.WriteImage(image, str(path))
    return path


def relative(cases: list[CaseFiles], folder: Path) -> list[tuple[str, str, str]]:
    return [(c.name, c.scan.relative_to(folder).as_posix(), c.annotation.relative_to(folder).as_posix()) for c in cases]


def code_of(source: Path) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        collect_support(source)
    return caught.value.code, caught.value.message


def test_images_and_labels_of_equal_names(tmp_path: Path) -> None:
    for name in ("b.nii.gz", "a.nii.gz"):
        touch(tmp_path / "images" / name)
        touch(tmp_path / "labels" / name)
    touch(tmp_path / "images" / "._a.nii.gz")
    touch(tmp_path / "images" / "notes.docx")
    write_json(tmp_path / "labels.json", {"labels": LABELS})
    cases, structures = collect_support(tmp_path)
    assert relative(cases, tmp_path) == [
        ("a", "images/a.nii.gz", "labels/a.nii.gz"),
        ("b", "images/b.nii.gz", "labels/b.nii.gz"),
    ]
    assert [(s.name, s.value) for s in structures] == [("liver", 1), ("spleen", 2)]
    assert cases[0].sparse == "no"
    assert cases[0].structures is None


def test_formats_and_endings_may_differ_and_a_folder_is_a_dicom_series(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "one_ct.nrrd")
    touch(tmp_path / "images" / "Zwei Größen" / "IM0001")
    segmentation(tmp_path / "labels" / "one_seg.seg.nrrd", ["Liver", "Kidney_Right"])
    segmentation(tmp_path / "labels" / "Zwei Größen.seg.nrrd", ["right kidney", "tumour"])
    cases, structures = collect_support(tmp_path)
    assert [c.name for c in cases] == ["Zwei Größen", "one"]
    assert [s.name for s in structures] == ["right kidney", "tumour", "Liver"], "one name for two spellings"
    assert [s.value for s in structures] == [1, 2, 3]


def test_scans_beside_their_annotations(tmp_path: Path) -> None:
    for name in ("p1_ct.nii.gz", "p1_seg.nii.gz", "p2_ct.nii.gz", "p2_seg.nii.gz", "p3.nrrd"):
        touch(tmp_path / name)
    segmentation(tmp_path / "p3.seg.nrrd", ["liver"])
    cases, _ = collect_support(tmp_path)
    assert relative(cases, tmp_path) == [
        ("p1", "p1_ct.nii.gz", "p1_seg.nii.gz"),
        ("p2", "p2_ct.nii.gz", "p2_seg.nii.gz"),
        ("p3", "p3.nrrd", "p3.seg.nrrd"),
    ]


def nnunet(folder: Path, ending: str = ".nii.gz") -> None:
    for case in ("ct_001", "ct_002"):
        touch(folder / "imagesTr" / f"{case}_0000{ending}")
        touch(folder / "labelsTr" / f"{case}{ending}")
    touch(folder / "imagesTs" / f"ct_003_0000{ending}")
    write_json(
        folder / "dataset.json",
        {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 2, "file_ending": ending},
    )


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_an_nnunet_data_set(tmp_path: Path, ending: str) -> None:
    nnunet(tmp_path, ending)
    for source in (tmp_path, tmp_path / "dataset.json"):
        cases, structures = collect_support(source)
        assert relative(cases, tmp_path) == [
            (case, f"imagesTr/{case}_0000{ending}", f"labelsTr/{case}{ending}") for case in ("ct_001", "ct_002")
        ]
        assert [s.name for s in structures] == ["liver", "spleen"]


def test_an_nnunet_data_set_with_channels_is_refused(tmp_path: Path) -> None:
    nnunet(tmp_path)
    touch(tmp_path / "imagesTr" / "ct_001_0001.nii.gz")
    assert code_of(tmp_path)[0] == "support-several-channels"


def test_an_nnunet_data_set_that_lists_its_files(tmp_path: Path) -> None:
    touch(tmp_path / "scans" / "x.nii.gz")
    touch(tmp_path / "truth" / "x.nii.gz")
    entry = {"images": ["scans/x.nii.gz"], "label": "truth/x.nii.gz"}
    write_json(tmp_path / "dataset.json", {"labels": LABELS, "dataset": {"X": entry}})
    cases, _ = collect_support(tmp_path)
    assert relative(cases, tmp_path) == [("X", "scans/x.nii.gz", "truth/x.nii.gz")]


def msd(folder: Path, image: str = "./imagesTr/liver_1.nii.gz", label: str = "./labelsTr/liver_1.nii.gz") -> Path:
    touch(folder / "imagesTr" / "liver_1.nii.gz")
    touch(folder / "labelsTr" / "liver_1.nii.gz")
    content = {
        "labels": {"0": "background", "1": "liver", "2": "cancer"},
        "training": [{"image": image, "label": label}],
    }
    return write_json(folder / "dataset.json", content)


def test_a_decathlon_data_set(tmp_path: Path) -> None:
    msd(tmp_path)
    cases, structures = collect_support(tmp_path)
    assert relative(cases, tmp_path) == [("liver_1", "imagesTr/liver_1.nii.gz", "labelsTr/liver_1.nii.gz")]
    assert [s.name for s in structures] == ["liver", "cancer"]


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../outside.nii.gz", "a/../../outside.nii.gz", "C:\\scan.nii.gz", "..\\x.nii.gz", "\\\\server\\x"],
)
def test_a_description_cannot_point_outside_its_folder(tmp_path: Path, path: str) -> None:
    msd(tmp_path, image=path)
    code, message = code_of(tmp_path)
    assert code == "support-path-outside"
    assert path in message


@pytest.mark.parametrize(
    "training", [[3], [{"image": "a"}], [{"image": 3, "label": "b"}], [{"image": "", "label": "b"}]]
)
def test_a_malformed_training_list_is_named(tmp_path: Path, training: list[Any]) -> None:
    write_json(tmp_path / "dataset.json", {"labels": LABELS, "training": training})
    assert code_of(tmp_path)[0] == "support-malformed"


def test_what_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text("{oops", encoding="utf-8")
    assert code_of(tmp_path) == ("support-malformed", "dataset.json is no JSON file.")


def list_of(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    for name in ("a.nii.gz", "b.nii.gz", "a_seg.nii.gz", "b_seg.nii.gz"):
        touch(folder / "data" / name)
    write_json(folder / "labels.json", {"labels": LABELS})
    path = folder / "cases.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_a_list_with_every_column(tmp_path: Path) -> None:
    path = list_of(
        tmp_path,
        "scan,annotation,name,sparse,structures\n"
        "data/a.nii.gz,data/a_seg.nii.gz,First,auto,Liver|spleen\n\n"
        '"data/b.nii.gz","data/b_seg.nii.gz",,,\n',
    )
    cases, structures = collect_support(path)
    assert cases == [
        CaseFiles(tmp_path / "data/a.nii.gz", tmp_path / "data/a_seg.nii.gz", "First", "auto", ("liver", "spleen")),
        CaseFiles(tmp_path / "data/b.nii.gz", tmp_path / "data/b_seg.nii.gz", "b"),
    ]
    assert len(structures) == 2


def test_a_list_as_a_european_spreadsheet_writes_it(tmp_path: Path) -> None:
    absolute = tmp_path / "data" / "a.nii.gz"
    path = list_of(tmp_path, f"Scan;Annotation\r\n{absolute};data/a_seg.nii.gz\r\n", "utf-8-sig")
    cases, _ = collect_support(path)
    assert relative(cases, tmp_path) == [("a", "data/a.nii.gz", "data/a_seg.nii.gz")]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", "support-malformed", "columns none"),
        ("file,mask\na,b\n", "support-malformed", "columns file, mask"),
        ("scan,annotation\n", "support-no-pairs", "lists no case"),
        ("scan,annotation\ndata/a.nii.gz,\n", "support-malformed", "line 2 has no annotation"),
        ("scan,annotation\ndata/a.nii.gz,data/a_seg.nii.gz,x\n", "support-malformed", "line 2 has 3 cells"),
        ("scan,annotation,sparse\ndata/a.nii.gz,data/a_seg.nii.gz,maybe\n", "support-malformed", "'maybe'"),
        ("scan,annotation,structures\ndata/a.nii.gz,data/a_seg.nii.gz,bone\n", "support-malformed", "'bone'"),
        ("scan,annotation\ndata/a.nii.gz,data/z.nii.gz\n", "support-file-missing", "z.nii.gz of case 'a'"),
        ("scan,annotation\ndata/a.nii.gz,data/a.nii.gz\n", "support-same-file", "a.nii.gz both"),
        ("scan,annotation\n" + 2 * "data/a.nii.gz,data/a_seg.nii.gz\n", "support-names-twice", "'a'"),
        ('scan,annotation\n"data/a.nii.gz,data/a_seg.nii.gz\n', "support-malformed", "cannot be read as a table"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path: Path, text: str, code: str, said: str) -> None:
    found, message = code_of(list_of(tmp_path, text))
    assert found == code
    assert said in message


def test_a_list_in_another_encoding_is_named(tmp_path: Path) -> None:
    assert "UTF-8" in code_of(list_of(tmp_path, "scan,annotation\ndata/ä.nii.gz,x\n", "latin-1"))[1]


def test_files_without_partner_are_named(tmp_path: Path) -> None:
    write_json(tmp_path / "labels.json", {"labels": LABELS})
    for name in ("a", "b", "c"):
        touch(tmp_path / "images" / f"{name}.nii.gz")
    for name in ("a", "d"):
        touch(tmp_path / "labels" / f"{name}.nii.gz")
    code, message = code_of(tmp_path)
    assert code == "support-unmatched"
    assert "b.nii.gz, c.nii.gz, d.nii.gz" in message


def test_two_files_of_one_case_are_named(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a_0000.nii.gz"):
        touch(tmp_path / "images" / name)
    touch(tmp_path / "labels" / "a.nii.gz")
    code, message = code_of(tmp_path)
    assert code == "support-names-twice"
    assert "a.nii.gz and a_0000.nii.gz" in message


def test_folders_without_cases_are_named(tmp_path: Path) -> None:
    assert code_of(tmp_path)[0] == "support-no-pairs"
    assert code_of(tmp_path / "nowhere")[0] == "support-missing"
    assert code_of(touch(tmp_path / "scan.nii.gz"))[0] == "support-no-pairs"
    (tmp_path / "set" / "imagesTr").mkdir(parents=True)
    assert "no folder labelsTr" in code_of(tmp_path / "set")[1]


def test_values_without_names_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.nii.gz")
    touch(tmp_path / "labels" / "a.nii.gz")
    assert code_of(tmp_path)[0] == "support-structures-unknown"
    cases, structures = collect_support(tmp_path, write_json(tmp_path / "mine.json", {"labels": {"bone": 4}}))
    assert [(s.name, s.value) for s in structures] == [("bone", 4)]
    assert len(cases) == 1
    with pytest.raises(AnnotationError):
        collect_support(tmp_path, write_json(tmp_path / "mine.json", {"labels": []}))


def test_a_damaged_segmentation_is_named(tmp_path: Path) -> None:
    touch(tmp_path / "images" / "a.nii.gz")
    touch(tmp_path / "labels" / "a.seg.nrrd")
    with pytest.raises(ScanError, match=r"a\.seg\.nrrd"):
        collect_support(tmp_path)


def test_pairs_are_named_by_their_folders_where_files_are_alike(tmp_path: Path) -> None:
    labels = write_json(tmp_path / "l.json", {"labels": LABELS})
    pairs = [(touch(tmp_path / c / "ct.nii.gz"), touch(tmp_path / c / "seg.nii.gz")) for c in ("one", "two")]
    cases, _ = from_pairs(pairs, labels)
    assert [c.name for c in cases] == ["one/ct", "two/ct"]
    with pytest.raises(InputError) as caught:
        from_pairs([], labels)
    assert caught.value.code == "support-no-pairs"

"""Adapted models on disk: whole, verified, portable, and bound to their backbone."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import STRUCTURES, tiny_specification
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.errors import FseftError, ModelError
from fseft.files import recover_folder, replace_folder, replace_whole, require_writable
from fseft.models import library
from fseft.models.adapted_model import AdaptedModel, SizePrior, load_model, read_description, save_model
from fseft.models.description import checksum_of
from safetensors import SafetensorError

SPECIFICATION = tiny_specification(weights_sha256="a" * 64)


def make_model(name: str = "my model", seed: int = 0) -> AdaptedModel:
    torch.manual_seed(seed)
    adapter = make_adapter(find_method("spatial-adapter"), SPECIFICATION, STRUCTURES)
    prior = SizePrior(10.0, 7.0, 13.0, "2 annotated cases", (9.0, 11.0))
    return AdaptedModel(name, STRUCTURES, "spatial-adapter", "tiny", "a" * 64, adapter, 2, {"ball": prior})


def code_of(action) -> str:  # type: ignore[no-untyped-def]
    with pytest.raises(FseftError) as caught:
        action()
    assert caught.value.message.endswith(".")
    assert caught.value.hint
    return caught.value.code


def test_round_trip(tmp_path: Path) -> None:
    model = make_model("Foie élargi 肝")
    save_model(model, tmp_path / "m")
    loaded = load_model(tmp_path / "m", SPECIFICATION)
    assert loaded.structures == model.structures
    assert loaded.priors == model.priors
    assert loaded.name == model.name
    for name, value in model.adapter.state_dict().items():
        assert torch.equal(loaded.adapter.state_dict()[name], value)


def test_tampering_is_noticed(tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "m")
    for change in ("weights", "description", "missing", "garbage"):
        copy = tmp_path / change
        shutil.copytree(tmp_path / "m", copy)
        if change == "weights":
            content = bytearray((copy / "weights.safetensors").read_bytes())
            content[-1] ^= 1
            (copy / "weights.safetensors").write_bytes(content)
        elif change == "description":
            text = (copy / "model.json").read_text(encoding="utf-8")
            (copy / "model.json").write_text(text.replace('"low_ml": 7.0', '"low_ml": 1.0'), encoding="utf-8")
        elif change == "missing":
            (copy / "weights.safetensors").unlink()
        else:
            (copy / "model.json").write_text("{not json", encoding="utf-8")
        assert code_of(lambda copy=copy: load_model(copy, SPECIFICATION)) == "model-damaged"


def test_other_backbone_is_refused(tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "m")
    other = replace(SPECIFICATION, weights_sha256="b" * 64)
    assert code_of(lambda: load_model(tmp_path / "m", other)) == "model-other-backbone"
    assert code_of(lambda: load_model(tmp_path / "nowhere", other)) == "model-missing"


def test_newer_format_is_told(tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "m")
    content = json.loads((tmp_path / "m" / "model.json").read_text(encoding="utf-8"))
    content["version"] = 2
    (tmp_path / "m" / "model.json").write_text(json.dumps(content), encoding="utf-8")
    assert code_of(lambda: read_description(tmp_path / "m")) == "model-newer"


def test_library_lists_exports_imports_and_removes(tmp_path: Path) -> None:
    save_model(make_model("one"), library.library_folder() / "one")
    save_model(make_model("two"), library.library_folder() / "two")
    (library.library_folder() / "two" / "model.json").write_text("broken", encoding="utf-8")
    entries = {entry.name: entry for entry in library.list_models()}
    assert entries["one"].description is not None
    assert "two" in entries["two"].problem
    library.export_model("one", tmp_path / "one.zip")
    assert code_of(lambda: library.import_model(tmp_path / "one.zip")) == "model-exists"
    imported = library.import_model(tmp_path / "one.zip", name="copy")
    assert load_model(imported, SPECIFICATION).name == "one"
    assert library.import_model(tmp_path / "one.zip", replace=True).name == "one"
    library.remove_model("copy")
    assert not imported.exists()
    assert code_of(lambda: library.remove_model("copy")) == "model-missing"
    assert code_of(lambda: library.remove_model("../escape")) == "model-name-invalid"
    assert code_of(lambda: library.find_model("nowhere")) == "model-missing"
    assert code_of(lambda: library.export_model("two", tmp_path / "two.zip")) == "model-damaged"
    (library.library_folder() / "one" / "weights.safetensors").write_bytes(b"cut")
    assert code_of(lambda: library.export_model("one", tmp_path / "three.zip")) == "model-damaged"
    assert not (tmp_path / "three.zip").exists()


def test_an_export_takes_no_other_files_place(tmp_path: Path) -> None:
    save_model(make_model(), library.library_folder() / "one")
    for name, code in (
        ("scan.nii.gz", "output-ending"),
        ("notes.zip", "output-not-a-result"),
        ("other.zip", "output-not-a-result"),
        ("nowhere/one.zip", "output-folder-missing"),
    ):
        path = tmp_path / name
        if path.parent.is_dir():
            path.write_bytes(b"somebody's")
        if name == "other.zip":
            with zipfile.ZipFile(path, "w") as bundle:
                bundle.writestr("thesis.txt", "all of it")
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(FseftError) as caught:
            library.export_model("one", path)
        assert caught.value.code == code, name
        assert (path.read_bytes() if path.is_file() else None) == before
    for _ in range(2):  # an earlier export may be replaced
        library.export_model("one", tmp_path / "one.zip")


def test_hostile_archives_write_nothing_outside(tmp_path: Path) -> None:
    save_model(make_model("one"), tmp_path / "m")
    hostile = tmp_path / "hostile.zip"
    with zipfile.ZipFile(hostile, "w") as bundle:
        for part in (tmp_path / "m").iterdir():
            bundle.write(part, part.name)
        bundle.writestr("../../escaped.txt", "no")
    folder = library.import_model(hostile)
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "weights.safetensors"]
    assert not list(tmp_path.parent.glob("**/escaped.txt"))
    for name, content in (("text.zip", b"not a zip"), ("empty.zip", b"PK\x05\x06" + bytes(18))):
        (tmp_path / name).write_bytes(content)
        assert code_of(lambda name=name: library.import_model(tmp_path / name)) == "archive-invalid"


def test_replacing_keeps_the_old_model_until_the_new_is_whole(tmp_path: Path) -> None:
    save_model(make_model(seed=0), tmp_path / "m")
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()

    def failing() -> None:
        with replace_folder(tmp_path / "m") as partial:
            (partial / "weights.safetensors").write_bytes(b"half")
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        failing()
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    save_model(make_model(seed=1), tmp_path / "m")
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_folder_that_somebody_else_is_replacing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs for one model end in the same moment: the other one's old folder is aside, and then gone."""
    save_model(make_model(seed=0), tmp_path / "m")
    aside = tmp_path / ".previous-m"

    def others_finish(_: float) -> None:
        shutil.rmtree(aside, ignore_errors=True)

    monkeypatch.setattr("fseft.files.time.sleep", others_finish)
    with replace_folder(tmp_path / "m") as partial:
        (partial / "new").write_text("x")
        aside.mkdir()
        (aside / "model.json").write_text("{}")
    assert [p.name for p in (tmp_path / "m").iterdir()] == ["new"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_folder_killed_between_renames_comes_back(tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "m")
    os.rename(tmp_path / "m", tmp_path / ".previous-m")
    recover_folder(tmp_path / "m")
    assert read_description(tmp_path / "m")["name"] == "my model"


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fseft.files as files

    dead = tmp_path / f"{files._partial_prefix().replace(str(os.getpid()), '999999999')}x.nii.gz"
    dead.write_bytes(b"half a labelmap")
    alive = tmp_path / f"{files._partial_prefix()}y.nii.gz"
    alive.write_bytes(b"still being written")
    with replace_whole(tmp_path / "result.json") as partial:
        partial.write_text("{}")
    assert not dead.exists()
    assert alive.exists()


def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write() -> None:
        with replace_whole(tmp_path / "result.json"):
            raise OSError(28, "No space left on device")

    assert code_of(write) == "disk-full"
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_while_weights_are_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    save_model(make_model(seed=0), tmp_path / "m")
    before = (tmp_path / "m" / "weights.safetensors").read_bytes()
    monkeypatch.setattr("fseft.backbones.weights.save_file", full)
    assert code_of(lambda: save_model(make_model(seed=1), tmp_path / "m")) == "disk-full"
    assert (tmp_path / "m" / "weights.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_names_are_safe(tmp_path: Path) -> None:
    from fseft.models.adapted_model import check_name

    for bad in ("", ".hidden", "a/b", "a\\b", "x" * 81, " padded ", "a\nb", "CON:", "nul", "com1.x", "x."):
        with pytest.raises(ModelError):
            check_name(bad)
    assert check_name("Liver v2 - day 3") == "Liver v2 - day 3"


def exported(tmp_path: Path) -> tuple[dict, bytes]:
    """Description and weights of a sound model."""
    save_model(make_model("one"), tmp_path / "sound")
    content = json.loads((tmp_path / "sound" / "model.json").read_text(encoding="utf-8"))
    return content, (tmp_path / "sound" / "weights.safetensors").read_bytes()


def archive_of(path: Path, description: bytes | str, weights: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("model.json", description)
        bundle.writestr("weights.safetensors", weights)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"structures": None},
        {"structures": []},
        {"structures": "liver"},
        {"structures": [{"name": 3, "value": 1, "color": [1, 1, 1], "terminology": ""}]},
        {"structures": [{"name": "liver", "value": 70000, "color": [1, 1, 1], "terminology": ""}]},
        {"weights_sha256": None},
        {"method": 7},
        {"shots": {}},
        {"priors": {"ball": {"mean_ml": 1, "low_ml": 0, "high_ml": None, "source": "", "volumes_ml": []}}},
        {"quality": {"typicality": "unusual"}},
        {"training": [1, 2]},
        {"created": 5},
        {"name": ""},
    ],
)
def test_a_wrong_description_with_a_right_checksum_is_refused_and_listed(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """Whoever writes a file can write its checksum: what arrives is checked member by member."""
    content, weights = exported(tmp_path)
    content = {k: v for k, v in {**content, **changes}.items() if v is not None}
    content["checksum"] = checksum_of(content)
    archive = archive_of(tmp_path / "theirs.zip", json.dumps(content), weights)
    assert code_of(lambda: library.import_model(archive, "theirs")) == "model-damaged"
    assert list(library.library_folder().iterdir()) == []
    # The same in the library, copied there by hand: it is listed as unusable, and hides no other model.
    folder = library.library_folder() / "theirs"
    shutil.copytree(tmp_path / "sound", folder)
    (folder / "model.json").write_text(json.dumps(content), encoding="utf-8")
    assert [entry.description for entry in library.list_models()] == [None]


def test_an_archive_is_refused_whatever_is_wrong_with_it(tmp_path: Path) -> None:
    content, weights = exported(tmp_path)
    sound = json.dumps(content)
    plain = archive_of(tmp_path / "plain.zip", sound, weights).read_bytes()
    at, directory = plain.find(b"PK\x03\x04"), plain.find(b"PK\x01\x02")
    encrypted, packed, broken = bytearray(plain), bytearray(plain), bytearray(plain)
    encrypted[at + 6] |= 1
    encrypted[directory + 8] |= 1
    packed[at + 8] = packed[directory + 10] = 99  # a compression nobody knows
    broken[at + 60 : at + 90] = bytes(30)
    for name, data in (("encrypted", encrypted), ("packed", packed), ("broken", broken), ("short", plain[:200])):
        (tmp_path / f"{name}.zip").write_bytes(data)
        assert code_of(lambda name=name: library.import_model(tmp_path / f"{name}.zip")) == "archive-invalid"
    link = zipfile.ZipInfo("weights.safetensors")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as bundle:
        bundle.writestr("model.json", sound)
        bundle.writestr(link, "/etc/hostname")
    assert code_of(lambda: library.import_model(tmp_path / "link.zip")) == "archive-invalid"
    large = archive_of(tmp_path / "large.zip", b"{" + b" " * 30_000_000 + b"}", weights)
    assert code_of(lambda: library.import_model(large)) == "archive-invalid"
    for name, description, data in (
        ("deep", "[" * 100_000 + "]" * 100_000, weights),
        ("no text", b"\xff\xfe\x00", weights),
        ("cut weights", sound, weights[:-10]),
    ):
        archive = archive_of(tmp_path / f"{name}.zip", description, data)
        with pytest.raises(ModelError) as caught:
            library.import_model(archive)
        assert caught.value.code == "model-damaged"
        assert archive.name in caught.value.message  # not the name of a folder that is gone
    assert list(library.library_folder().iterdir()) == []


def test_a_folder_with_something_else_in_it_is_not_replaced(tmp_path: Path) -> None:
    save_model(make_model(), tmp_path / "project")
    (tmp_path / "project" / "my scan.nii.gz").write_bytes(b"not replaceable")
    assert code_of(lambda: save_model(make_model(), tmp_path / "project")) == "folder-holds-more"
    assert (tmp_path / "project" / "my scan.nii.gz").read_bytes() == b"not replaceable"


def test_a_model_is_found_from_within_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(make_model("here"), tmp_path / "m")
    monkeypatch.chdir(tmp_path / "m")
    assert read_description(library.find_model("."))["name"] == "here"
    for nothing in ("", "..", "/"):
        assert code_of(lambda nothing=nothing: library.find_model(nothing)) == "model-missing"


def test_outputs_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path, tmp_path / "file" / "result.nii.gz"):
        assert code_of(lambda target=target: require_writable(target)) == "cannot-write"
    require_writable(tmp_path / "new" / "folder" / "result.nii.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]

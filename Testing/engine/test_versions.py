"""Earlier versions of a model: kept, bounded, found again, and never lost half way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from fseft.cli.main import main
from fseft.errors import FseftError
from fseft.models import library, lock, versions
from fseft.models.adapted_model import load_model, save_model
from fseft.models.versions import list_versions, roll_back
from test_models import SPECIFICATION, code_of, make_model

ENGINE = Path(__file__).resolve().parents[2] / "FSEFTSegment"


def save(folder: Path, seed: int) -> None:
    """A model that its weights and its number of cases tell from others."""
    model = make_model(seed=seed)
    object.__setattr__(model, "shots", seed)
    save_model(model, folder)


def present(folder: Path) -> int:
    """Which model is in the folder; it must load."""
    model = load_model(folder, SPECIFICATION)
    expected = make_model(seed=model.shots).adapter.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.adapter.state_dict().items())
    return model.shots


def history(folder: Path) -> list[int]:
    return [entry.description["shots"] for entry in list_versions(folder) if entry.description is not None]


def test_a_replaced_model_is_kept_and_comes_back_and_that_can_be_undone(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for seed in (1, 2, 3):
        save(folder, seed)
    assert (present(folder), history(folder)) == (3, [2, 1])
    assert [entry.id for entry in list_versions(folder)] == ["0002", "0001"]
    assert present(list_versions(folder)[0].folder) == 2
    assert roll_back(folder).id == "0002"
    assert (present(folder), history(folder)) == (2, [3, 1])
    roll_back(folder)
    assert (present(folder), history(folder)) == (3, [2, 1])
    assert roll_back(folder, "1").description["shots"] == 1  # type: ignore[index]
    assert (present(folder), history(folder)) == (1, [3, 2])
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_ten_versions_are_kept_and_the_one_just_replaced_is_always_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "MAX_VERSIONS", 3)
    folder = tmp_path / "m"
    for seed in range(1, 6):
        save(folder, seed)
    assert history(folder) == [4, 3, 2]
    roll_back(folder, list_versions(folder)[-1].id)  # the oldest becomes the model
    assert (present(folder), history(folder)) == (2, [5, 4, 3])
    save(folder, 6)
    assert (present(folder), history(folder)) == (6, [2, 5, 4])
    assert versions.MAX_VERSIONS == 3


def test_unknown_and_damaged_versions_change_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save(folder, 1)
    assert code_of(lambda: roll_back(folder)) == "version-missing"
    assert code_of(lambda: roll_back(tmp_path / "nowhere")) == "model-missing"
    save(folder, 2)
    for name in ("7", "../m", ""):
        assert code_of(lambda name=name: roll_back(folder, name)) == "version-missing"
    weights = folder / "versions" / "0001" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert code_of(lambda: roll_back(folder)) == "model-damaged"
    (folder / "versions" / "0001" / "model.json").write_text("{}", encoding="utf-8")
    assert list_versions(folder)[0].problem
    assert code_of(lambda: roll_back(folder)) == "model-damaged"
    assert present(folder) == 2


def test_a_damaged_model_is_replaced_but_not_kept(tmp_path: Path) -> None:
    save(tmp_path / "m", 1)
    (tmp_path / "m" / "model.json").write_text("broken", encoding="utf-8")
    save(tmp_path / "m", 2)
    assert (present(tmp_path / "m"), list_versions(tmp_path / "m")) == (2, [])


def test_a_folder_that_is_no_model_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    save(folder, 1)  # an empty folder may become one
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work", encoding="utf-8")
    assert code_of(lambda: save(other, 1)) == "folder-not-a-model"
    assert (other / "thesis.txt").read_text(encoding="utf-8") == "years of work"


def test_without_hard_links_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    for seed in (1, 2):
        save(tmp_path / "m", seed)
    roll_back(tmp_path / "m")
    assert (present(tmp_path / "m"), history(tmp_path / "m")) == (1, [2])


def test_export_leaves_history_out_and_import_keeps_what_it_replaces(tmp_path: Path) -> None:
    folder = library.library_folder() / "one"
    for seed in (1, 2):
        save(folder, seed)
    library.export_model("one", tmp_path / "one.zip")
    assert sorted(zipfile.ZipFile(tmp_path / "one.zip").namelist()) == ["model.json", "weights.safetensors"]
    save(folder, 3)
    library.import_model(tmp_path / "one.zip", name="one", replace=True)
    assert (present(folder), history(folder)) == (2, [3, 2, 1])
    assert history(library.import_model(tmp_path / "one.zip", name="two")) == []
    assert [entry.name for entry in library.list_models()] == ["one", "two"]
    folder.rename(library.library_folder() / "renamed")
    assert history(library.find_model("renamed")) == [3, 2, 1]
    library.remove_model("renamed")
    assert [entry.name for entry in library.list_models()] == ["two"]


KILLED = """
import os, signal, sys
from pathlib import Path
from fseft.models import versions

assert "torch" not in sys.modules
left = int(sys.argv[2])

def killing(function):
    def called(*arguments, **options):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return function(*arguments, **options)
    return called

os.link, os.rename = killing(os.link), killing(os.rename)
versions.shutil.rmtree = killing(versions.shutil.rmtree)
versions.roll_back(Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_killed_at_any_step_the_model_is_the_old_or_the_new_one(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for seed in (1, 2, 3):
        save(made / "m", seed)
    states = set()
    for step in range(20):
        place = tmp_path / f"step{step}"
        shutil.copytree(made, place)
        done = subprocess.run([sys.executable, "-c", KILLED, str(place / "m"), str(step)], cwd=ENGINE, check=False)
        versions_after = history(place / "m")  # brings back what was stepping aside
        states.add((present(place / "m"), tuple(versions_after)))
        if done.returncode == 0:
            break
        assert done.returncode == -9
        save(place / "m", 4)  # and life goes on
        assert (present(place / "m"), len(history(place / "m"))) == (4, 3)
        assert [p.name for p in place.iterdir()] == ["m"]
    assert done.returncode == 0
    assert step > 6, "several steps were interrupted"
    assert states == {(3, (2, 1)), (2, (3, 1))}


_REPLACE = """
import sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {engine!r}]
from test_versions import save
folder, start, seeds = Path(sys.argv[1]), Path(sys.argv[2]), [int(text) for text in sys.argv[3:]]
Path(sys.argv[2] + "-" + sys.argv[3]).touch()
while not start.exists():
    time.sleep(0.001)
for seed in seeds:
    save(folder, seed)
"""


def test_processes_that_replace_a_model_at_once_lose_none_of_its_versions(tmp_path: Path) -> None:
    folder, start = tmp_path / "models" / "m", tmp_path / "start"
    save(folder, 1)
    code = _REPLACE.format(tests=str(Path(__file__).parent), engine=str(ENGINE))
    seeds = [(2, 3, 4), (5, 6, 7), (8, 9)]
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), str(start), *map(str, own)], stderr=subprocess.PIPE)
        for own in seeds
    ]
    while any(process.poll() is None for process in running):
        if all((tmp_path / f"start-{own[0]}").exists() for own in seeds):
            start.touch()
        time.sleep(0.01)
    for process in running:
        assert process.returncode == 0, process.communicate()[1].decode()
        process.communicate()
    assert sorted([present(folder), *history(folder)]) == list(range(1, 10))
    assert [p.name for p in folder.parent.iterdir()] == ["m"]


def test_the_lock_of_a_killed_process_locks_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    save(folder, 1)
    code = (
        f"import sys, time; sys.path.insert(0, {str(ENGINE)!r})\n"
        "from pathlib import Path\nfrom fseft.models.lock import replacing\n"
        f"with replacing(Path({str(folder)!r})):\n    print('locked', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"locked"
        process.kill()
    assert (tmp_path / ".lock-m").exists()
    save(folder, 2)
    assert (present(folder), history(folder)) == (2, [1])
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_lock_that_is_never_given_back_costs_patience_not_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE_S", 0.1)
    with lock.replacing(tmp_path / "m"):
        save(tmp_path / "m", 1)
    assert present(tmp_path / "m") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_the_command_shows_history_and_rolls_back(capsys: pytest.CaptureFixture[str]) -> None:
    folder = library.library_folder() / "one"
    save(folder, 1)
    assert main(["models", "history", "one"]) == 0
    assert "no earlier version" in capsys.readouterr().out
    save(folder, 2)
    assert main(["models", "history", "one"]) == 0
    assert "0001" in capsys.readouterr().out
    assert main(["models", "rollback", "one"]) == 0
    assert "is now version 0001" in capsys.readouterr().out
    assert present(folder) == 1
    assert main(["models", "rollback", "one", "9"]) == 2
    assert "version-missing" in capsys.readouterr().err
    assert json.loads((folder / "model.json").read_text(encoding="utf-8"))["shots"] == 1
    with pytest.raises(FseftError):
        library.find_model("nowhere")

"""The command line: the same jobs, readable output, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_arguments import SMALL, adapt_arguments
from fseft.cli import adapt, run
from fseft.cli.main import build_parser, main
from worker_runs import Workplace


@pytest.fixture
def workplace(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    place = Workplace(tmp_path, tiny_backbone)
    monkeypatch.setenv("FSEFT_HOME", str(place.home))
    return place


def test_adapt_segment_evaluate_and_the_library(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(adapt_arguments(workplace)) == 0
    assert "ball" in capsys.readouterr().out
    scan, reference = workplace.scans[2]
    result = workplace.folder / "results" / "ct2.seg.nrrd"
    segment = ["--quiet", "segment", "pair", str(scan), "--output", str(workplace.folder / "results")]
    assert main([*segment, "--prior", "ball=0.1..0.2ml"]) == 0
    printed = capsys.readouterr().out
    assert "larger than expected (at most 0.2 ml)" in printed
    assert "predicted Dice" in printed
    assert "ml before" not in printed  # nothing was refined
    assert result.is_file()
    assert main(segment) == 2  # it exists
    assert "output-exists" in capsys.readouterr().err
    assert main([*segment, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scans"][0]["structures"][0]["name"] == "ball"
    labels = workplace.folder / "labels.json"
    labels.write_text(json.dumps({"labels": {"ball": 1, "rod": 4}}), encoding="utf-8")
    scores = workplace.folder / "scores.csv"
    evaluate = ["--quiet", "evaluate", "--prediction", str(result), "--reference", str(reference)]
    assert main([*evaluate, "--labels", str(labels), "--csv", str(scores)]) == 0
    assert "surface Dice" in capsys.readouterr().out
    assert len(scores.read_text(encoding="utf-8").splitlines()) == 3
    # A table takes no other file's place.
    for option, kind in (("--csv", "CSV table"), ("--json", "JSON file")):
        assert main([*evaluate, option, str(reference.with_name("notes.txt"))]) == 2
        assert f"A {kind} would be written" in capsys.readouterr().err
    assert main([*evaluate, "--labels", str(labels), "--csv", str(scores)]) == 0  # an earlier table of its own
    # Somebody's list of labels or of cases is none, and stays.
    known = labels.read_bytes()
    assert main([*evaluate, "--json", str(labels)]) == 2
    assert "[output-not-a-result]" in capsys.readouterr().err
    assert labels.read_bytes() == known
    listed = workplace.folder / "cases.csv"
    listed.write_text("scan,annotation\n", encoding="utf-8")
    assert main([*evaluate, "--csv", str(listed)]) == 2
    assert listed.read_text(encoding="utf-8") == "scan,annotation\n"
    page = workplace.folder / "notes.html"
    page.write_text("<p>mine</p>", encoding="utf-8")
    assert main([*segment, "--overwrite", "--report", str(page)]) == 2
    assert page.read_text(encoding="utf-8") == "<p>mine</p>"
    capsys.readouterr()
    assert main([*evaluate, "--labels", str(labels), "--structure", "Rod"]) == 0
    printed = capsys.readouterr().out
    assert "rod" in printed
    assert "ball" not in printed
    assert main([*evaluate, "--labels", str(labels), "--structure", "unicorn"]) == 2
    assert "[structure-unknown]" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "spatial-adapter" in capsys.readouterr().out
    assert main(["models", "export", "pair", str(workplace.folder / "pair.zip")]) == 0
    assert main(["models", "import", str(workplace.folder / "pair.zip"), "--name", "copy"]) == 0
    assert main(["models", "remove", "pair"]) == 0
    capsys.readouterr()
    assert main(["models", "show", "copy"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "pair"


def test_segment_goes_on_without_a_scan_that_is_none(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(adapt_arguments(workplace)) == 0
    broken = workplace.folder / "broken.nii.gz"
    broken.write_bytes(b"not a scan")
    scans = [str(workplace.scans[2][0]), str(broken)]
    output, page = workplace.folder / "results", workplace.folder / "page.html"
    segment = ["--quiet", "segment", "pair"]
    capsys.readouterr()
    assert main([*segment, *reversed(scans), "--output", str(output), "--json", "--report", str(page)]) == 2
    told = capsys.readouterr()
    assert [entry["name"] for entry in json.loads(told.out)["left_out"]] == ["broken"]
    assert "1 of 2 scans could not be used: broken." in told.err
    assert "[scans-left-out]" in told.err
    assert (output / "ct2.seg.nrrd").is_file()
    assert "ct2" in page.read_text(encoding="utf-8")
    assert "broken" not in page.read_text(encoding="utf-8")
    assert main([*segment, scans[1], "--output", str(workplace.folder / "no.nii.gz")]) == 2
    assert "[scans-left-out]" not in capsys.readouterr().err
    propose = ["--quiet", "propose", "--model", "pair", "--output", str(workplace.folder / "drafts")]
    assert main([*propose, "--scan", scans[1], "--scan", scans[0]]) == 2
    assert "[scans-left-out]" in capsys.readouterr().err
    assert (workplace.folder / "drafts" / "ct2.seg.nrrd").is_file()


def test_adapt_leaves_the_comparison_with_the_atlas_to_the_job_unless_told_not_to(workplace: Workplace) -> None:
    arguments, parser = [*adapt_arguments(workplace), "--method", "auto"], build_parser()
    assert "atlas" not in adapt.job_parameters(parser.parse_args(arguments))
    assert adapt.job_parameters(parser.parse_args([*arguments, "--no-atlas"]))["atlas"] is False


def test_support_set_from_a_folder(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = workplace.folder / "set"
    for scan, annotation in workplace.scans[:2]:
        for source, kind in ((scan, "images"), (annotation, "labels")):
            target = folder / kind / scan.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "ball": 1, "rod": 4}}))
    assert main(["--quiet", "adapt", "set", "--folder", str(folder), "--backbone", "tiny", *SMALL, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [s["name"] for s in result["structures"]] == ["ball", "rod"]
    assert result["shots"] == 2
    # A model of one of the structures is refined with the very folder it was made from.
    some = ["--folder", str(folder), "--structure", "ball", "--backbone", "tiny", *SMALL]
    assert main(["--quiet", "adapt", "ball", *some]) == 0
    output = workplace.folder / "results" / "new.nii.gz"
    refined = ["--refine", "default", "--support", str(folder), "--output", str(output)]
    capsys.readouterr()
    assert main(["--quiet", "segment", "ball", str(workplace.scans[2][0]), *refined]) == 0
    assert output.is_file()
    assert "ml before" in capsys.readouterr().out
    # By location the annotated scans give the volumes: a range that was typed in is not ignored without a word.
    by_location = ["--refine", "location", *refined[2:], "--overwrite", "--prior", "Ball=0.1..900 mL"]
    assert main(["segment", "ball", str(workplace.scans[2][0]), *by_location]) == 0
    assert "The volumes given for ball only decide what is flagged" in capsys.readouterr().err
    # Whole annotations that are called sparse: the word arrives where it is checked.
    assert main(["--quiet", "segment", "ball", str(workplace.scans[2][0]), *by_location[:-2], "--sparse", "auto"]) == 2
    assert "[annotation-not-sparse]" in capsys.readouterr().err


def test_going_on_from_a_model_keeps_its_method(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(adapt_arguments(workplace)) == 0
    again = [*adapt_arguments(workplace, "again"), "--continue", "pair"]
    assert main([*again, "--method", "linear-probe"]) in (2, 3)
    told = capsys.readouterr().err
    assert "[previous-model-does-not-fit]" in told
    assert "was made by spatial-adapter" in told
    assert main([*again, "--method", "Linear Probe"]) == 2
    assert "[method-unknown]" in capsys.readouterr().err
    assert main([*again, "--method", "spatial-adapter"]) == 0
    page = workplace.folder / "again.html"
    capsys.readouterr()
    assert main([*again[1:], "--report", str(page)]) == 0
    told = capsys.readouterr()
    assert "(spatial-adapter, 2 cases)" in told.out
    assert "Going on from 'pair'. Goes on: ball, rod." in told.err
    assert "going on: ball, rod" in page.read_text("utf-8")
    # Without its backbone a model is of no use, and the message names both.
    assert main(["backbones", "remove", "tiny"]) == 0
    assert "Models that need it" in capsys.readouterr().out
    assert main(["segment", "pair", str(workplace.scans[2][0]), "--output", str(workplace.folder / "o.nii.gz")]) != 0
    error = capsys.readouterr().err
    assert "The model 'pair' needs the backbone 'tiny', which is not installed." in error
    assert "[backbone-not-installed]" in error


def test_a_folder_of_a_support_set_gives_its_scans(tmp_path: Path) -> None:
    from fseft.cli.segment import scans_in

    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "a.nii.gz").write_bytes(b"")
    assert scans_in(tmp_path) == [tmp_path / "images" / "a.nii.gz"]
    (tmp_path / "images" / "a.nii.gz").unlink()
    assert scans_in(tmp_path) == [tmp_path / "images", tmp_path / "labels"]  # perhaps DICOM


def test_files_may_follow_options() -> None:
    parser = build_parser()
    options = parser.parse_args(["segment", "organs", "--output", "results", "a.nii.gz", "--largest", "b.nii.gz"])
    assert (options.model, [path.name for path in options.scans]) == ("organs", ["a.nii.gz", "b.nii.gz"])
    assert options.largest
    assert parser.parse_args(["--quiet", "models", "show", "organs"]).quiet
    with pytest.raises(SystemExit):
        parser.parse_args(["segment", "--output", "results"])


def test_errors_are_two_lines_without_traceback(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "nowhere", str(workplace.scans[0][0]), "--output", "x.nii.gz"]) == 2
    error = capsys.readouterr().err
    assert "model-missing" in error
    assert "Traceback" not in error
    assert main(["--debug", "segment", "nowhere", str(workplace.scans[0][0]), "--output", "x.nii.gz"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["adapt", "m"], "support-missing"),
        (["adapt", "m", "--structure", "=3"], "structure-invalid"),
        (["adapt", "m", "--structure", "a", "--method", "magic"], "method-unknown"),
        (["phantom", "x", "--spacing", "0", "3", "3"], "phantom-bad-grid"),
        (["adapt", "m", "--structure", "a", "--backbone", "nowhere"], "backbone-unknown"),
        (["adapt", "m", "--structure", "a", "--device", "toaster"], "device-unavailable"),
        (["adapt", "m", "--structure", "a", "--setting", "nonsense=1"], "setting-invalid"),
        (["adapt", "m", "--structure", "a", "--setting", "steps=many"], "setting-invalid"),
        (["adapt", "m", "--structure", "a", "--setting", "crop=0"], "setting-invalid"),
        (["adapt", "m", "--structure", "a", "--setting", "background=grey"], "setting-invalid"),
        (["adapt", "m", "--structure", "a", "--setting", "learning_rate=NaN"], "setting-invalid"),
        (["adapt", "m", "--structure", "a", "--seed", "-1"], "setting-invalid"),
        (["adapt", "m", "--structure", "a=²"], "structure-invalid"),
        (["models", "show", ""], "model-missing"),
        (["models", "import", "nowhere.zip", "--name", ""], "archive-invalid"),
        (["adapt", "a/b", "--structure", "a"], "model-name-invalid"),
        (["segment", "m", "--output", "x"], "no-scans"),
        (["segment", "m", "a.nii.gz", "--output", "x", "--prior", "liver"], "prior-invalid"),
        (["segment", "m", "a.nii.gz", "--output", "x", "--prior", "a=1..2", "--prior", "A=2..3"], "prior-twice"),
        (["segment", "m", "a.nii.gz", "--output", "x", "--support", "s"], "support-without-refinement"),
        (["segment", "m", "a.nii.gz", "--output", "x", "--sparse", "z"], "sparse-without-support"),
        (["segment", "m", "a.nii.gz", "--output", "x.txt"], "output-format"),
        (["adapt", "m", "--structure", "a", "--continue", ""], "model-missing"),
        (["adapt", "m", "--structure", "a", "--continue", "nowhere", "--method", "magic"], "model-missing"),
        (["pretrain", "--source", "phantoms:abdomen,count=x", "--output", "x"], "pretraining-source-invalid"),
        (["pretrain", "--source", "phantoms:abdomen,weight=0", "--output", "x"], "pretraining-source-invalid"),
        (["pretrain", "--source", "phantoms:abdomen,foo=7", "--output", "x"], "pretraining-source-invalid"),
        (["adapt", "", "--folder", "x"], "model-name-invalid"),
        (
            ["pretrain", "--source", "phantoms:chest", "--output", "x", "--name", "My!"],
            "pretraining-setting-invalid",
        ),
        (["segment", "m", "--folder", "nowhere", "--output", "x"], "folder-missing"),
        (["models", "import", "nowhere.zip"], "archive-invalid"),
        (["backbones", "show", "nowhere"], "backbone-unknown"),
        (["cache", "shrink", "--gigabytes", "nan"], "size-invalid"),
        (["cache", "shrink", "--gigabytes", "-1"], "size-invalid"),
        (["propose", "--model", "m", "--folder", "f", "--scan", "s", "--output", "o.nrrd"], "propose-two-ways"),
    ],
)
def test_bad_requests_have_codes(
    workplace: Workplace, arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--structure" in arguments and "--backbone" not in arguments:
        arguments = [*arguments, "--backbone", "tiny"]
    exit_code = main(["--quiet", *arguments])
    assert exit_code in (2, 3)
    assert f"[{code}]" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["dance"], ["segment"], ["segment", "m", "--nope"], ["phantom", "x", "--count", "many"], ["cache"]],
)
def test_arguments_that_are_none_have_a_code_too(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 2
    assert error[0].startswith("fseft: ")
    assert error[1].endswith("--help'. [arguments-invalid]")


def test_a_console_without_the_signs_and_a_closed_pipe_are_no_errors(workplace: Workplace) -> None:
    environment = {**workplace.environment, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    (workplace.home / "models" / "modèle").mkdir(parents=True)
    command = [sys.executable, "-m", "fseft.cli.main"]
    done = subprocess.run([*command, "models", "list"], capture_output=True, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"mod?le" in done.stdout
    reader, writer = os.pipe()
    os.close(reader)  # nobody listens
    done = subprocess.run([*command, "priors"], stdout=writer, stderr=subprocess.PIPE, env=environment)
    os.close(writer)
    assert done.returncode == 0
    assert done.stderr == b""


def test_ctrl_c_while_the_program_loads_is_a_cancellation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("fseft.cli.main.main", interrupted)
    assert run() == 4
    assert "[cancelled]" in capsys.readouterr().err


def test_a_structure_that_the_support_set_does_not_know_is_not_made_up(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be learnt from whatever has the label value that it happened to get."""
    folder = workplace.folder / "named"
    folder.mkdir()
    for place, (scan, annotation) in zip(("a", "b"), workplace.scans, strict=False):
        (folder / f"{place}_ct.nii.gz").write_bytes(scan.read_bytes())
        (folder / f"{place}_seg.nii.gz").write_bytes(annotation.read_bytes())
    (folder / "labels.json").write_text(json.dumps({"labels": {"ball": 1, "rod": 4}}), encoding="utf-8")
    adapt = ["--quiet", "adapt", "m", "--folder", str(folder), "--backbone", "tiny", *SMALL]
    assert main([*adapt, "--structure", "unicorn"]) == 2
    assert "[structure-unknown]" in capsys.readouterr().err
    assert main([*adapt, "--structure", "ball=9"]) == 2
    error = capsys.readouterr().err
    assert "shows none of: ball (9); its values are 1, 4" in error
    assert "[annotation-empty]" in error


def test_a_case_without_any_of_the_chosen_structures_is_left_out_and_told(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = workplace.folder / "cases.csv"
    (first, marked), (second, other) = workplace.scans[:2]
    table.write_text(f"scan,annotation,structures\n{first},{marked},ball|rod\n{second},{other},rod\n")
    (workplace.folder / "labels.json").write_text(json.dumps({"labels": {"ball": 1, "rod": 4}}), encoding="utf-8")
    adapt = ["--quiet", "adapt", "m", "--csv", str(table), "--backbone", "tiny", "--method", "linear-probe", "--json"]
    assert main([*adapt, "--structure", "Ball"]) == 0  # another spelling of the list's "ball"
    told = capsys.readouterr()
    assert json.loads(told.out)["shots"] == 1
    assert f"{second.name.split('.')[0]} annotates none of the chosen structures" in told.err
    table.write_text(f"scan,annotation,structures\n{second},{other},rod\n")
    assert main([*adapt, "--structure", "ball"]) == 2
    assert "[support-empty]" in capsys.readouterr().err


def test_cache_and_doctor_and_backbones_speak(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "show"]) == 0
    assert main(["cache", "clear"]) == 0
    assert main(["backbones", "list"]) == 0
    assert "tiny" in capsys.readouterr().out
    assert main(["backbones", "show", "tiny"]) == 0
    assert "compact-unet" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_every_command_has_help_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    from fseft.cli.main import COMMANDS

    for command in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        assert f"fseft {command}" in capsys.readouterr().out

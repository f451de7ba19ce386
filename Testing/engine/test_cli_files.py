"""The command line writes where it is told to and nowhere else: no output meets another, or what was given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_arguments import adapt_arguments
from conftest import make_scan
from fseft.cli.main import main
from fseft.scan.writing import write_labelmap
from worker_runs import Workplace


@pytest.fixture
def workplace(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    place = Workplace(tmp_path, tiny_backbone)
    monkeypatch.setenv("FSEFT_HOME", str(place.home))
    return place


def test_results_of_two_scans_never_share_a_file(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(adapt_arguments(workplace)) == 0
    scan, labels = make_scan(0)
    (workplace.folder / "other").mkdir()
    twin = workplace.folder / "other" / "ct2.nii.gz"
    twin.write_bytes(workplace.scans[2][0].read_bytes())
    both = [str(workplace.scans[2][0]), str(twin)]
    assert main(["--quiet", "segment", "pair", *both, "--output", str(workplace.folder / "o")]) == 2
    assert "output-twice" in capsys.readouterr().err
    write_labelmap(labels, scan.geometry, workplace.folder / "unused.nii.gz")


def test_no_output_meets_another_or_overwrites_what_was_given(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(adapt_arguments(workplace)) == 0
    scan = workplace.scans[2][0]
    content = scan.read_bytes()
    kept = workplace.folder / "r.before.nii.gz"
    kept.write_bytes(workplace.scans[0][1].read_bytes())
    support = workplace.folder / "support.csv"
    support.write_text(f"scan,annotation\n{workplace.scans[0][0]},{kept}\n", encoding="utf-8")
    (workplace.folder / "labels.json").write_text(json.dumps({"labels": {"ball": 1, "rod": 4}}), encoding="utf-8")
    out = workplace.folder / "out"
    out.mkdir()
    (out / "link.nii.gz").symlink_to(scan)
    twin = workplace.folder / "ct2.before.nii.gz"
    twin.write_bytes(workplace.scans[1][0].read_bytes())
    here, there = str(workplace.folder), str(out)
    cases: list[tuple[list[str], str]] = [
        ([str(scan), "--output", str(scan)], "output-is-input"),
        ([str(scan), "--output", str(workplace.folder / "out" / ".." / scan.name)], "output-is-input"),
        ([str(out / "link.nii.gz"), "--output", str(scan)], "output-is-input"),
        ([str(scan), "--output", str(out / "a.nii.gz"), "--report", str(scan)], "output-is-input"),
        ([str(scan), "--output", str(out / "a.nii.gz"), "--report", str(out / "a.nii.gz")], "output-twice"),
        ([str(scan), "--output", str(out / "a.nii.gz"), "--report", str(out / "a.report.json")], "output-twice"),
        ([str(scan), "--output", str(out / "a.nii.gz"), "--report", there], "cannot-write"),
        # The labelmap before refinement: one scan's is another scan, or another scan's result.
        ([str(scan), str(twin), "--output", there, "--refine", "default"], "output-twice"),
        ([str(scan), "--output", str(workplace.folder / "r.nii.gz"), "--refine", "location"], "output-is-input"),
        ([str(scan), str(twin), "--output", str(out / "a.nii.gz")], "output-not-a-folder"),
        ([str(scan), "--output", str(out / "a.nhdr")], "output-format"),
        ([str(scan), "--output", str(out / "a.nii.gz"), "--prior", "unicorn=1..2ml"], "prior-unknown-structure"),
    ]
    for arguments, code in cases:
        more = ["--support", str(support)] if "location" in arguments else []
        assert main(["--quiet", "segment", "pair", *arguments, "--overwrite", *more]) in (2, 3), arguments
        assert f"[{code}]" in capsys.readouterr().err, arguments
    assert scan.read_bytes() == content
    assert [p.name for p in out.iterdir()] == ["link.nii.gz"]
    (out / "a.before.nii.gz").write_bytes(b"of an earlier run")
    assert (
        main(["--quiet", "segment", "pair", str(scan), "--output", str(out / "a.nii.gz"), "--refine", "default"]) == 2
    )
    assert "[output-exists]" in capsys.readouterr().err
    # What no run of this command has written may be somebody's annotation: it stays, whatever is said.
    reference, drawn = workplace.scans[2][1], workplace.scans[2][1].read_bytes()
    assert main(["--quiet", "segment", "pair", str(scan), "--output", str(reference), "--overwrite"]) == 2
    assert "[output-not-a-result]" in capsys.readouterr().err
    assert reference.read_bytes() == drawn
    adapt = [*adapt_arguments(workplace, "again"), "--report"]
    assert main([*adapt, str(workplace.scans[0][1])]) == 2
    assert "[output-is-input]" in capsys.readouterr().err
    assert main([*adapt, here]) == 3
    assert "[cannot-write]" in capsys.readouterr().err
    # Nor is a page written over something that is none, whatever it is.
    elsewhere = workplace.scans[2][1]
    assert main([*adapt, str(elsewhere)]) == 2
    assert "[output-ending]" in capsys.readouterr().err
    page = ["--output", str(out / "a.nii.gz"), "--report", str(elsewhere), "--overwrite"]
    (out / "a.before.nii.gz").unlink()
    assert main(["--quiet", "segment", "pair", str(scan), *page]) == 2
    assert "[output-ending]" in capsys.readouterr().err
    assert elsewhere.read_bytes() == drawn
    assert main(["models", "show", "again"]) == 2


def test_evaluating_overwrites_no_labelmap_and_passes_over_what_refinement_kept(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    results, truth = workplace.folder / "results", workplace.folder / "truth"
    for folder, names in ((results, ("a.nii.gz", "a.before.nii.gz")), (truth, ("a.nii.gz",))):
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(workplace.scans[0][1].read_bytes())
    evaluate = ["--quiet", "evaluate", "--prediction", str(results), "--reference", str(truth)]
    assert main(evaluate) == 0
    assert " 1.000" in capsys.readouterr().out
    for table in ("--csv", "--json"):
        assert main([*evaluate, table, str(truth / "a.nii.gz")]) == 2
        assert "[output-ending]" in capsys.readouterr().err
    assert (truth / "a.nii.gz").read_bytes() == workplace.scans[0][1].read_bytes()
    assert main([*evaluate, "--tolerance", "-1"]) == 2
    assert "[tolerance-invalid]" in capsys.readouterr().err
    (results / "b.nii.gz").write_bytes(b"")
    assert main(evaluate) == 2
    assert "[evaluation-unmatched]" in capsys.readouterr().err

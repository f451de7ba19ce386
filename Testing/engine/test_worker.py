"""The worker: events, exit codes, cancellation, and nothing half-written whenever it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from fseft.errors import JobError
from fseft.jobs.events import EventWriter, PhaseClock
from fseft.jobs.job import Job
from fseft.models.adapted_model import read_description
from worker_runs import Workplace


@pytest.fixture
def workplace(tmp_path: Path, tiny_backbone: Path) -> Workplace:
    return Workplace(tmp_path, tiny_backbone)


def test_adapt_and_segment_tell_their_way(workplace: Workplace) -> None:
    code, events = workplace.run("adapt", workplace.adapt())
    assert code == 0
    assert events[0]["event"] == "started"
    assert events[-1]["event"] == "result"
    assert events[-1]["result"]["model"] == str(workplace.folder / "model")
    phases = [e["phase"] for e in events if e["event"] == "progress"]
    assert list(dict.fromkeys(phases)) == ["cases", "features", "training"]
    losses = [e for e in events if e["event"] == "metric" and e["name"] == "loss"]
    assert len(losses) == 3  # six steps over two cases
    assert {e["structure"] for e in events if e["event"] == "metric" and e["name"] == "dice-loss"} == {"ball", "rod"}
    code, events = workplace.run("segment", workplace.segment())
    assert code == 0
    report = events[-1]["result"]["scans"][0]
    assert Path(report["output"]).is_file()
    assert Path(report["report"]).is_file()
    original, result = (sitk.ReadImage(str(p)) for p in (workplace.scans[-1][0], report["output"]))
    assert original.GetSize() == result.GetSize()
    assert original.GetOrigin() == pytest.approx(result.GetOrigin())


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("not json", "job-unreadable"),
        ("[]", "job-invalid"),
        ('{"format": "fseft-job", "version": 9, "kind": "adapt"}', "job-invalid"),
        ('{"format": "fseft-job", "version": 1, "kind": "dance"}', "job-kind-unknown"),
        ('{"format": "fseft-job", "version": 1, "kind": "adapt", "parameters": {"name": 3}}', "job-invalid"),
    ],
)
def test_bad_jobs_are_named(workplace: Workplace, content: str, code: str) -> None:
    path = workplace.folder / "job.json"
    path.write_text(content, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "fseft.worker", str(path)], capture_output=True, text=True, env=workplace.environment
    )
    error = json.loads(done.stdout.splitlines()[-1])
    assert error["event"] == "error"
    assert error["code"] == code
    assert error["hint"]
    assert done.returncode == 2


def test_errors_carry_code_hint_and_details(workplace: Workplace) -> None:
    parameters = workplace.adapt()
    parameters["cases"][0]["scan"] = str(workplace.folder / "nowhere.nii.gz")
    code, events = workplace.run("adapt", parameters)
    assert code == 2
    assert events[-1]["code"] == "scan-missing"
    assert "Traceback" in events[-1]["details"]
    assert not (workplace.folder / "model").exists()


def wait_for_training(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("phase") == "training":
            return
    pytest.fail("the worker ended before it trained")


def test_cancel_file_stops_within_two_seconds(workplace: Workplace) -> None:
    sentinel = workplace.folder / "cancel"
    process = workplace.start("adapt", workplace.adapt(steps=100000), cancel_file=sentinel)
    wait_for_training(process)
    sentinel.touch()
    began = time.monotonic()
    stdout, _ = process.communicate(timeout=60)
    assert time.monotonic() - began < 2.0 * slack()
    assert process.returncode == 4
    assert json.loads(stdout.splitlines()[-1])["code"] == "cancelled"
    assert not (workplace.folder / "model").exists()


def test_parents_death_stops_the_job(workplace: Workplace) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = workplace.start("adapt", workplace.adapt(steps=100000), parent_pid=parent.pid)
    wait_for_training(process)
    parent.kill()  # not reaped: a zombie must count as dead
    began = time.monotonic()
    process.communicate(timeout=60)
    assert time.monotonic() - began < 2.0 * slack()
    assert process.returncode == 4
    parent.wait()


def slack() -> float:
    """How much slower than alone this machine may be: other work on its cores delays even a sleeping thread."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) * 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_at_any_moment_leaves_only_whole_files(workplace: Workplace) -> None:
    """Ten kills in the middle of adapt and segment; the last good model and result stay, the next run works."""
    assert workplace.run("adapt", workplace.adapt())[0] == 0
    assert workplace.run("segment", workplace.segment())[0] == 0
    result = workplace.folder / "out" / "result.nii.gz"
    duration = {}
    for kind, parameters in (("adapt", workplace.adapt()), ("segment", workplace.segment())):
        began = time.monotonic()
        assert workplace.run(kind, parameters)[0] == 0
        duration[kind] = time.monotonic() - began
    for kind in ("adapt", "segment"):
        parameters = workplace.adapt() if kind == "adapt" else workplace.segment()
        for moment in range(5):
            process = workplace.start(kind, parameters)
            time.sleep(duration[kind] * (0.35 + 0.15 * moment))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            assert read_description(workplace.folder / "model")["name"] == "model"
            visible = sorted(p.name for p in (workplace.folder / "out").iterdir() if not p.name.startswith("."))
            assert visible == ["result.nii.gz", "result.report.json"]
            assert sitk.ReadImage(str(result)).GetSize() == (60, 52, 40)
            json.loads((workplace.folder / "out" / "result.report.json").read_text(encoding="utf-8"))
    assert workplace.run("adapt", workplace.adapt())[0] == 0
    assert workplace.run("segment", workplace.segment())[0] == 0
    assert [p.name for p in (workplace.folder / "out").iterdir() if p.name.startswith(".")] == []
    assert [p.name for p in workplace.folder.iterdir() if p.name.startswith(".")] == []


def test_job_round_trip_and_checks() -> None:
    job = Job("adapt", {"name": "x"}, Path("cancel"), 12)
    assert Job.parse(job.to_json()) == job
    for bad in ({"cancel_file": 3}, {"parent_pid": True}, {"parameters": []}, {"kind": None}):
        with pytest.raises(JobError):
            Job.parse({**job.to_json(), **bad})


def test_events_are_single_json_lines_without_nan(tmp_path: Path) -> None:
    with (tmp_path / "events").open("w") as stream:
        EventWriter(stream).write("metric", value=float("nan"), name="a\nb", nested={"x": [float("inf"), 1.0]})
    lines = (tmp_path / "events").read_text().splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0]) == {"event": "metric", "value": None, "name": "a\nb", "nested": {"x": [None, 1.0]}}


def test_time_left_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock = PhaseClock()
    assert clock.time_left("training", 0, 10) is None
    now[0] = 4.0
    assert clock.time_left("training", 2, 10) == pytest.approx(16.0)
    assert clock.time_left("training", 10, 10) == 0.0
    assert clock.time_left("training", 0, 10) is None  # a phase may come again

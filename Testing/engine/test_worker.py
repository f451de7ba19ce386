"""The worker: events, exit codes, cancellation, and nothing half-written whenever it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import SimpleITK as sitk
from fseft.errors import JobError
from fseft.jobs.events import EventWriter, PhaseClock
from fseft.jobs.job import Job, Parameters
from fseft.models.adapted_model import read_description
from worker_runs import ENGINE, Workplace


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
    assert len(losses) == 2  # six steps over two cases and a view of each: one pass and a second to the end
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
        ("[" * 100_000, "job-unreadable"),
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


class Stopwatch:
    """Seconds until a process ends, and the seconds that this machine kept a waiting thread waiting meanwhile.

    The promise is two seconds of a machine that has time for us. Where other work delays even a thread that only wants
    to look at the clock, the worker's own threads are delayed as well: that much is added to the limit, nothing else.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.late = 0.0
        self._ended = threading.Event()
        ticker = threading.Thread(target=self._tick)
        ticker.start()
        began = time.monotonic()
        self.stdout, _ = process.communicate(timeout=60)
        self.seconds = time.monotonic() - began
        self._ended.set()
        ticker.join()

    def _tick(self) -> None:
        while not self._ended.is_set():
            began = time.monotonic()
            time.sleep(0.05)
            self.late += time.monotonic() - began - 0.05

    def assert_in_time(self) -> None:
        assert self.seconds < 2.0 + self.late, f"{self.seconds:.2f} s, of which {self.late:.2f} s are the machine's"


def test_cancel_file_stops_within_two_seconds(workplace: Workplace) -> None:
    sentinel = workplace.folder / "cancel"
    process = workplace.start("adapt", workplace.adapt(steps=100000), cancel_file=sentinel)
    wait_for_training(process)
    sentinel.touch()
    watch = Stopwatch(process)
    assert process.returncode == 4
    assert json.loads(watch.stdout.splitlines()[-1])["code"] == "cancelled"
    assert not (workplace.folder / "model").exists()
    watch.assert_in_time()


def test_cancelling_while_libraries_are_loaded_stops_within_two_seconds(workplace: Workplace) -> None:
    """Loading torch is the one long call that lets no other thread run for a while."""
    sentinel = workplace.folder / "cancel"
    process = workplace.start("adapt", workplace.adapt(steps=100000), cancel_file=sentinel)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "started"
    sentinel.touch()
    watch = Stopwatch(process)
    assert process.returncode == 4
    assert json.loads(watch.stdout.splitlines()[-1])["code"] == "cancelled"
    watch.assert_in_time()


def test_parents_death_stops_the_job(workplace: Workplace) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    process = workplace.start("adapt", workplace.adapt(steps=100000), parent_pid=parent.pid)
    wait_for_training(process)
    parent.kill()  # not reaped: a zombie must count as dead
    watch = Stopwatch(process)
    assert process.returncode == 4
    parent.wait()
    watch.assert_in_time()


STUCK = """
import sys, time
from pathlib import Path
from fseft.jobs.cancellation import CancelWatch
where = sys.argv[2]
def words():
    time.sleep(60) if where == "speaking" else print("cancelled", flush=True)
watch = CancelWatch(Path(sys.argv[1]), None, last_words=words)
print("ready", flush=True)
try:
    while True:
        time.sleep(60 if where != "tidying" else 0.1)  # one long call, or many short ones
        watch.check()
finally:
    time.sleep(60)
"""


@pytest.mark.parametrize("where", ["calling", "tidying", "speaking"])
def test_work_that_does_not_listen_is_ended_in_time(tmp_path: Path, where: str) -> None:
    """Stuck in one long call, in tidying up after it heard, or because nobody reads what it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(tmp_path / "cancel"), where],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ENGINE)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (tmp_path / "cancel").touch()
    watch = Stopwatch(process)
    assert process.returncode == 4
    assert watch.stdout == ("" if where == "speaking" else "cancelled\n")
    watch.assert_in_time()


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
    for bad in (
        {"cancel_file": 3},
        {"cancel_file": "a\0b"},
        {"parent_pid": True},
        {"parent_pid": 0},
        {"parent_pid": 10**15},
        {"parameters": []},
        {"kind": None},
    ):
        with pytest.raises(JobError):
            Job.parse({**job.to_json(), **bad})


def test_parameters_that_are_none_are_named() -> None:
    values = {"path": "a\0b", "name": "\ud800", "limit": float("inf"), "color": [float("nan"), 1, 1]}
    given = Parameters(values, "scans[0].")
    for ask in (
        lambda: given.text("path"),
        lambda: given.text("name"),
        lambda: given.number("limit"),
        lambda: given.number("absent"),
        lambda: given.numbers("color", 3, (0, 0, 0)),
    ):
        with pytest.raises(JobError) as caught:
            ask()
        assert caught.value.message.startswith("The job cannot be run: scans[0].")


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

"""Jobs: from submission to every possible end, with real processes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fseft.processes import process_is_alive
from FSEFTSegmentLib.jobs.folder import new_job_folder, remove_abandoned_folders
from FSEFTSegmentLib.jobs.job import Job, JobState
from FSEFTSegmentLib.jobs.processes import ConsoleProcess, QtProcess, SubprocessProcess
from FSEFTSegmentLib.jobs.protocol import Failure, failure_of_exit, read_event
from FSEFTSegmentLib.jobs.queue import JobQueue, devices_conflict
from FSEFTSegmentLib.jobs.tree import descendants, kill_tree

WORKER = Path(__file__).with_name("fake_worker.py")


@pytest.fixture
def queue(tmp_path: Path):
    jobs = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, folder=str(tmp_path), grace_s=0.3)
    yield jobs
    jobs.end_now()


def make_job(tmp_path: Path, **parameters) -> Job:
    device = parameters.pop("device", "auto")
    waits = parameters.pop("waits", True)
    return Job("adapt", parameters, new_job_folder(tmp_path), device=device, waits=waits)


def run_until(queue: JobQueue, condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the job did not get there in time"
        queue.tick()
        time.sleep(0.005)


def run_to_end(queue: JobQueue, *jobs: Job) -> None:
    run_until(queue, lambda: all(job.state.is_over for job in jobs))


def test_a_job_that_ends_well_keeps_everything_it_said(queue, tmp_path):
    seen = []
    job = make_job(
        tmp_path,
        events=[
            {"event": "progress", "phase": "features", "done": 1, "total": 4, "eta_s": 3.5, "detail": "scan 1"},
            {"event": "metric", "name": "loss", "step": 2, "value": 0.5},
            {"event": "log", "level": "warning", "message": "Größe ungewöhnlich"},
        ],
        lines=["a library's chatter"],
        result={"model": "m"},
    )
    job.on_change = lambda j, event: seen.append(event.kind if event else j.state.value)
    queue.submit(job)
    run_to_end(queue, job)
    assert job.state is JobState.FINISHED
    assert job.result == {"model": "m"}
    assert (job.progress.phase, job.progress.fraction, job.progress.eta_s) == ("features", 0.25, 3.5)
    assert job.metrics == [{"name": "loss", "step": 2, "value": 0.5}]
    assert job.log == [("warning", "Größe ungewöhnlich")]
    assert list(job.last_lines) == ["a library's chatter"]
    assert seen == ["running", "started", "progress", "metric", "log", "result", "finished"]
    assert not queue.is_busy


def test_an_error_event_becomes_the_failure(queue, tmp_path):
    event = {"event": "error", "code": "scan-not-ct", "message": "Not CT.", "hint": "Choose a CT.", "details": "trace"}
    job = make_job(tmp_path, events=[event], exit=2)
    queue.submit(job)
    run_to_end(queue, job)
    assert job.state is JobState.FAILED
    assert job.failure == Failure("scan-not-ct", "Not CT.", "Choose a CT.", "trace")


@pytest.mark.parametrize(
    ("lines", "exit_code", "code"),
    [
        (["ModuleNotFoundError: No module named 'torch'"], 1, "dependencies-missing"),
        (["torch.OutOfMemoryError: CUDA out of memory."], 1, "out-of-memory"),
        (["OSError: [Errno 28] No space left on device"], 1, "disk-full"),
        (["something odd"], 7, "unexpected-exit"),
        ([], 0, "unexpected-exit"),
    ],
)
def test_an_unexplained_end_is_explained_by_its_last_lines(queue, tmp_path, lines, exit_code, code):
    job = make_job(tmp_path, lines=lines, exit=exit_code)
    queue.submit(job)
    run_to_end(queue, job)
    assert job.state is JobState.FAILED
    assert job.failure.code == code
    assert job.failure.details == "\n".join(lines)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize(("signal_number", "code"), [(9, "killed"), (11, "crashed")])
def test_a_killed_worker_says_so(queue, tmp_path, signal_number, code):
    job = make_job(tmp_path, signal=signal_number)
    queue.submit(job)
    run_to_end(queue, job)
    assert job.failure.code == code
    assert failure_of_exit(128 + signal_number, []).code == code


def test_cancel_stops_a_listening_worker_without_a_failure(queue, tmp_path):
    job = make_job(tmp_path, seconds=30)
    queue.submit(job)
    run_until(queue, lambda: job.state is JobState.RUNNING)
    queue.cancel(job)
    assert job.state is JobState.CANCELLING
    run_to_end(queue, job)
    assert job.state is JobState.CANCELLED
    assert job.failure is None


@pytest.mark.skipif(sys.platform == "win32", reason="the children are looked up in POSIX ways")
def test_cancel_ends_the_whole_tree_of_a_deaf_worker(queue, tmp_path):
    note = tmp_path / "pids"
    job = make_job(tmp_path, seconds=60, deaf=True, child=str(note))
    queue.submit(job)
    run_until(queue, lambda: note.exists() and len(note.read_text().split()) == 2)
    worker, child = map(int, note.read_text().split())
    assert child in descendants(worker)
    queue.cancel(job)
    run_to_end(queue, job)
    assert job.state is JobState.CANCELLED
    run_until(queue, lambda: not process_is_alive(child), 5)
    assert not process_is_alive(worker)


def test_cancel_of_a_waiting_job_never_starts_it(queue, tmp_path):
    first, second = make_job(tmp_path, seconds=30), make_job(tmp_path, result={})
    queue.submit(first)
    queue.submit(second)
    assert second.state is JobState.IDLE
    queue.cancel(second)
    assert second.state is JobState.CANCELLED
    assert not second.job_file.exists()


def test_one_job_per_device_and_light_jobs_beside(queue, tmp_path):
    gpu = make_job(tmp_path, seconds=0.2, result={"n": 1}, device="cuda:0")
    also_gpu = make_job(tmp_path, result={"n": 2}, device="cuda")
    cpu = make_job(tmp_path, result={"n": 3}, device="cpu")
    light = make_job(tmp_path, result={"n": 4}, waits=False)
    for job in (gpu, also_gpu, cpu, light):
        queue.submit(job)
    assert [job.state for job in (gpu, also_gpu, cpu, light)] == [
        JobState.RUNNING,
        JobState.IDLE,
        JobState.RUNNING,
        JobState.RUNNING,
    ]
    run_to_end(queue, gpu, also_gpu, cpu, light)
    assert [job.result["n"] for job in (gpu, also_gpu, cpu, light)] == [1, 2, 3, 4]
    assert devices_conflict("auto", "cpu")
    assert not devices_conflict("cpu", "cuda:1")


def test_a_waiting_job_is_not_overtaken_by_one_that_needs_its_device(queue, tmp_path):
    running = make_job(tmp_path, seconds=0.1, result={}, device="cuda:0")
    anywhere = make_job(tmp_path, result={})
    later = make_job(tmp_path, result={}, device="cpu")
    for job in (running, anywhere, later):
        queue.submit(job)
    assert later.state is JobState.IDLE
    run_to_end(queue, running, anywhere, later)


def test_a_worker_that_cannot_start_fails_its_job_and_frees_the_queue(tmp_path):
    queue = JobQueue([str(tmp_path / "absent")], SubprocessProcess, folder=str(tmp_path))
    job = make_job(tmp_path)
    queue.submit(job)
    assert job.state is JobState.FAILED
    assert job.failure.code == "cannot-start"
    assert not queue.is_busy


def test_a_faulty_listener_does_not_lose_the_job(queue, tmp_path):
    job = make_job(tmp_path, result={})

    def listener(_, event):
        if event is not None:
            raise RuntimeError("a fault in the interface")

    job.on_change = listener
    queue.submit(job)
    run_to_end(queue, job)
    assert job.state is JobState.FINISHED


def test_environment_reaches_the_worker(tmp_path):
    queue = JobQueue([sys.executable, str(WORKER)], SubprocessProcess, {"FSEFT_TRIAL": "é"}, str(tmp_path))
    job = make_job(tmp_path, environment="FSEFT_TRIAL", result={})
    queue.submit(job)
    run_to_end(queue, job)
    assert job.log == [("info", "é")]


def test_end_now_leaves_no_process_and_no_folder(queue, tmp_path):
    note = tmp_path / "pids"
    job, waiting = make_job(tmp_path, seconds=60, deaf=True, child=str(note)), make_job(tmp_path)
    queue.submit(job)
    queue.submit(waiting)
    run_until(queue, lambda: note.exists() and len(note.read_text().split()) == 2)
    pids = [int(pid) for pid in note.read_text().split()]
    queue.end_now()
    run_until(queue, lambda: not any(process_is_alive(pid) for pid in pids), 5)
    assert not job.folder.exists()
    assert not waiting.folder.exists()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions are POSIX")
def test_the_folder_is_private(tmp_path):
    assert stat.S_IMODE(new_job_folder(tmp_path).stat().st_mode) == 0o700


def test_folders_of_dead_programs_are_removed_and_those_of_live_ones_kept(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    abandoned = tmp_path / f"fseft-job-{ended.pid}-abc"
    abandoned.mkdir()
    (abandoned / "scan.nrrd").write_bytes(b"x")
    ours = new_job_folder(tmp_path)
    other = tmp_path / "someone-elses"
    other.mkdir()
    assert remove_abandoned_folders(tmp_path) == [abandoned]
    assert not abandoned.exists()
    assert ours.exists()
    assert other.exists()


@pytest.mark.parametrize("line", ["", "text", "{", "[1]", '{"event": "dance"}', '{"progress": 1}', "{}"])
def test_lines_that_are_no_events(line):
    assert read_event(line) is None


def test_kill_tree_spares_this_program_and_shrugs_at_the_dead():
    kill_tree(os.getpid())
    kill_tree(-1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kill_tree(ended.pid)
    assert not process_is_alive(ended.pid)
    assert not process_is_alive(0)


def test_console_process_uses_the_documented_arguments(tmp_path):
    calls = {}

    class Popen:
        pid = 0

        def poll(self):
            return 0

    def launch(args, **options):
        calls.update(options, args=args)
        return Popen()

    process, lines, ends = ConsoleProcess(launch), [], []
    process.start(["python", "x"], {"A": "1"}, str(tmp_path), lines.append, ends.append)
    process.poll()
    process.terminate_tree()
    assert calls["args"] == ["python", "x"]
    assert calls["useStartupEnvironment"] is True
    assert calls["updateEnvironment"] == {"A": "1"}
    assert calls["cwd"] == str(tmp_path)
    assert calls["blocking"] is False
    calls["logCallback"]("line")
    calls["completedCallback"](3)
    assert (lines, ends) == (["line"], [3])


class PythonQtProcess:
    """PySide's QProcess with PythonQt's way to connect signals by their signature."""

    def __init__(self, core) -> None:
        self._process = core.QProcess()

    def __getattr__(self, name):
        return getattr(self._process, name)

    def connect(self, signature: str, slot) -> None:
        getattr(self._process, signature.partition("(")[0]).connect(slot)


def test_qt_process_delivers_lines_and_the_end(tmp_path):
    core = pytest.importorskip("PySide6.QtCore")
    application = core.QCoreApplication.instance() or core.QCoreApplication([])

    class Qt:
        QProcessEnvironment = core.QProcessEnvironment

        class QProcess:
            MergedChannels = core.QProcess.ProcessChannelMode.MergedChannels
            CrashExit = core.QProcess.ExitStatus.CrashExit
            FailedToStart = core.QProcess.ProcessError.FailedToStart

            def __new__(cls):
                return PythonQtProcess(core)

    def run(command, stop_after_first_line=False):
        lines, ends = [], []
        process = QtProcess(Qt, os.environ)
        process.start(command, {"FSEFT_TRIAL": "ü"}, str(tmp_path), lines.append, ends.append)
        end = time.monotonic() + 20
        while not ends and time.monotonic() < end:
            application.processEvents(core.QEventLoop.ProcessEventsFlag.AllEvents, 50)
            if lines and stop_after_first_line:
                process.terminate_tree()
        return lines, ends

    script = "import os,sys; sys.stdout.buffer.write((os.environ['FSEFT_TRIAL']+'\\nno newline').encode()); sys.exit(3)"
    assert run([sys.executable, "-c", script]) == (["ü", "no newline"], [3])
    assert run([str(tmp_path / "absent")]) == (["The program could not be started."], [127])
    script = "import time; print('on', flush=True); time.sleep(60)"
    lines, ends = run([sys.executable, "-c", script], stop_after_first_line=True)
    assert lines == ["on"]
    assert ends == [-9]

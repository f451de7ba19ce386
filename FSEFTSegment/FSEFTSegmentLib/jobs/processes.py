"""Ways to run the worker: all look the same to the queue, so the queue is tested with ordinary processes."""

from __future__ import annotations

import codecs
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from FSEFTSegmentLib.jobs.tree import kill_tree

OnLine = Callable[[str], None]
OnFinished = Callable[[int], None]


class Process(Protocol):
    """A process whose output arrives line by line on the thread that calls :meth:`poll` or runs the event loop."""

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
        on_line: OnLine,
        on_finished: OnFinished,
    ) -> None:
        """Start ``command`` in ``folder`` with these variables added; raises OSError when it cannot be started."""

    def poll(self) -> None:
        """Deliver what has arrived; does nothing where the event loop does it."""

    def terminate_tree(self) -> None:
        """End the process and everything it started."""


class SubprocessProcess:
    """An ordinary child process, read by a thread and delivered by :meth:`poll`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._arrived: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._on_line: OnLine = _ignore
        self._on_finished: OnFinished = _ignore

    @property
    def pid(self) -> int | None:
        """Identifier of the process, None before the start."""
        return self._process.pid if self._process else None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
        on_line: OnLine,
        on_finished: OnFinished,
    ) -> None:
        """See :class:`Process`."""
        self._on_line, self._on_finished = on_line, on_finished
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter, no shell
            list(command),
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._arrived.put(("line", line.decode("utf-8", "replace").rstrip("\r\n")))
        self._arrived.put(("finished", process.wait()))

    def poll(self) -> None:
        """Deliver lines and the end that have arrived."""
        while True:
            try:
                kind, value = self._arrived.get_nowait()
            except queue.Empty:
                return
            if kind == "line":
                self._on_line(value)
            else:
                self._on_finished(value)

    def terminate_tree(self) -> None:
        """See :class:`Process`."""
        if self._process is not None:
            kill_tree(self._process.pid)


class ConsoleProcess:
    """Slicer 5.12: ``slicer.util.launchConsoleProcess`` without blocking; its timer delivers on the main thread.

    Args:
        launch: that function.
    """

    def __init__(self, launch: Callable[..., Any]) -> None:
        self._launch = launch
        self._process: Any = None

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
        on_line: OnLine,
        on_finished: OnFinished,
    ) -> None:
        """See :class:`Process`."""
        self._process = self._launch(
            list(command),
            useStartupEnvironment=True,
            updateEnvironment=dict(environment),
            cwd=folder,
            blocking=False,
            logCallback=on_line,
            completedCallback=on_finished,
        )

    def poll(self) -> None:
        """Nothing to do: the event loop delivers."""

    def terminate_tree(self) -> None:
        """See :class:`Process`."""
        if self._process is not None and self._process.poll() is None:
            kill_tree(self._process.pid)


class QtProcess:
    """Slicer 5.10, which has no asynchronous console process: a QProcess.

    Args:
        qt: the module that has ``QProcess`` and ``QProcessEnvironment``.
        startup_environment: variables of a process started outside Slicer's own libraries.
    """

    def __init__(self, qt: Any, startup_environment: Mapping[str, str]) -> None:
        self._qt = qt
        self._startup_environment = dict(startup_environment)
        self._process: Any = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._ended = False
        self._on_line: OnLine = _ignore
        self._on_finished: OnFinished = _ignore

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: str,
        on_line: OnLine,
        on_finished: OnFinished,
    ) -> None:
        """See :class:`Process`."""
        qt = self._qt
        self._on_line, self._on_finished = on_line, on_finished
        variables = qt.QProcessEnvironment()
        for name, value in {**self._startup_environment, **environment}.items():
            variables.insert(name, value)
        self._process = qt.QProcess()
        self._process.setProcessEnvironment(variables)
        self._process.setProcessChannelMode(qt.QProcess.MergedChannels)
        self._process.setWorkingDirectory(folder)
        self._process.connect("readyReadStandardOutput()", self._read)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finish)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._fail)
        self._process.start(command[0], list(command[1:]))

    def _read(self) -> None:
        data = self._process.readAllStandardOutput().data()
        text = data if isinstance(data, str) else self._decoder.decode(bytes(data))
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._on_line(line.rstrip("\r"))

    def _finish(self, exit_code: int, exit_status: Any) -> None:
        if self._ended:
            return
        self._ended = True
        self._read()
        if self._rest:
            self._on_line(self._rest)
        # A crash reports the signal as the exit code, told apart only by the status.
        crashed = exit_status == self._qt.QProcess.CrashExit
        self._on_finished(-abs(exit_code) if crashed and exit_code else exit_code)

    def _fail(self, error: Any) -> None:
        # Only a failed start never reaches finished(); every other error does.
        if error == self._qt.QProcess.FailedToStart and not self._ended:
            self._ended = True
            self._on_line("The program could not be started.")
            self._on_finished(127)

    def poll(self) -> None:
        """Nothing to do: the event loop delivers."""

    def terminate_tree(self) -> None:
        """See :class:`Process`."""
        if self._process is not None and not self._ended:
            pid = self._process.processId()
            kill_tree(int(pid))


def _ignore(_: Any) -> None:
    return None

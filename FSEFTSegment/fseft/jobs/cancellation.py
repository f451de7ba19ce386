"""How a job hears that it should stop: a sentinel file, or the death of the program that started it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from fseft.errors import Cancelled
from fseft.processes import process_is_alive

POLL_SECONDS = 0.25
GRACE_SECONDS = 1.5


class CancelWatch:
    """Watches for cancellation in the background.

    Work that asks :meth:`check` often stops cleanly. Work stuck in one long call is ended ``GRACE_SECONDS``
    later by leaving the process: outputs are renamed only when whole, so nothing partial becomes visible.

    Args:
        cancel_file: stop when this file exists.
        parent_pid: stop when this process is gone.
        hard_exit: leave the process when nobody asks in time; off where the job shares the caller's process.
    """

    def __init__(self, cancel_file: Path | None, parent_pid: int | None, hard_exit: bool = True) -> None:
        self._cancel_file = cancel_file
        self._parent_pid = parent_pid
        self._hard_exit = hard_exit
        self._wanted = threading.Event()
        self._finished = threading.Event()
        if cancel_file is not None or parent_pid is not None:
            threading.Thread(target=self._watch, name="cancel-watch", daemon=True).start()

    def check(self) -> None:
        """Raise :class:`Cancelled` when the job should stop."""
        if self._wanted.is_set():
            self._finished.set()
            raise Cancelled()

    def close(self) -> None:
        """Stop watching: the job is over."""
        self._finished.set()

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            if self._asked_to_stop():
                self._wanted.set()
                if self._hard_exit and not self._finished.wait(GRACE_SECONDS):
                    os._exit(Cancelled.exit_code)
                return

    def _asked_to_stop(self) -> bool:
        if self._cancel_file is not None and self._cancel_file.exists():
            return True
        return self._parent_pid is not None and not process_is_alive(self._parent_pid)

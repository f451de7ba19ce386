"""How a job hears that it should stop: a sentinel file, or the death of the program that started it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from fseft.errors import Cancelled
from fseft.processes import process_is_alive

#: Together with the time that leaving takes, these keep the promise that a job has stopped two seconds after it was
#: asked to. Long calls of the libraries let this thread run; only loading them keeps it waiting, up to half a second.
POLL_SECONDS = 0.1
GRACE_SECONDS = 1.0


class CancelWatch:
    """Watches for cancellation in the background.

    Work that asks :meth:`check` often stops cleanly. Work stuck in one long call, or in tidying up after it stopped,
    is ended ``GRACE_SECONDS`` later by leaving the process: outputs are renamed only when whole, so nothing partial
    becomes visible, and the next job in that folder sweeps up.

    Args:
        cancel_file: stop when this file exists.
        parent_pid: stop when this process is gone.
        hard_exit: leave the process when the job does not end in time; off where it shares the caller's process.
        last_words: called right before leaving that way; a tenth of a second later the process leaves all the same.
    """

    def __init__(
        self,
        cancel_file: Path | None,
        parent_pid: int | None,
        hard_exit: bool = True,
        last_words: Callable[[], None] = lambda: None,
    ) -> None:
        self._cancel_file = cancel_file
        self._parent_pid = parent_pid
        self._hard_exit = hard_exit
        self._last_words = last_words
        self._wanted = threading.Event()
        self._finished = threading.Event()
        if cancel_file is not None or parent_pid is not None:
            threading.Thread(target=self._watch, name="cancel-watch", daemon=True).start()

    def check(self) -> None:
        """Raise :class:`Cancelled` when the job should stop."""
        if self._wanted.is_set():
            raise Cancelled()

    def close(self) -> None:
        """Stop watching: the job is over."""
        self._finished.set()

    def _watch(self) -> None:
        while not self._finished.wait(POLL_SECONDS):
            if self._asked_to_stop():
                self._wanted.set()
                if self._hard_exit and not self._finished.wait(GRACE_SECONDS):
                    self._leave()
                return

    def _leave(self) -> None:
        # In a thread of its own: whoever should hear the words may have stopped reading, which would block.
        speaker = threading.Thread(target=self._last_words, daemon=True)
        speaker.start()
        speaker.join(0.1)
        os._exit(Cancelled.exit_code)

    def _asked_to_stop(self) -> bool:
        if self._cancel_file is not None and self._cancel_file.exists():
            return True
        return self._parent_pid is not None and not process_is_alive(self._parent_pid)

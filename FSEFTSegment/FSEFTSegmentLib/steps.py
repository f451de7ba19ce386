"""Long work on the main thread in short steps, so that the views stay usable.

MRML may only be touched on the main thread, and Python threads get hardly any time beside Slicer's event loop.
Work on large volumes is therefore written as generators that yield every few tens of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
#: A generator whose yields are breathing points (it yields a fraction done, 0..1) and that returns its result.
Steps = Generator[float, None, T]


def run_steps(steps: Steps[T]) -> T:
    """Run all steps at once, for scripts and tests."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


class StepRunner:
    """Runs one generator step after another, each from a timer.

    Args:
        schedule: called with a function to run soon, for example ``lambda f: qt.QTimer.singleShot(0, f)``.
    """

    def __init__(self, schedule: Callable[[Callable[[], None]], None]) -> None:
        self._schedule = schedule
        self._current: Generator[float, None, Any] | None = None

    @property
    def is_running(self) -> bool:
        """True while steps are left."""
        return self._current is not None

    def start(
        self,
        steps: Generator[float, None, Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Run ``steps``; exactly one of ``on_done`` and ``on_error`` is called at the end, unless it is stopped.

        Raises:
            RuntimeError: when other steps are still running.
        """
        if self._current is not None:
            raise RuntimeError("Other steps are still running.")
        self._current = steps

        def advance() -> None:
            if self._current is not steps:
                return
            try:
                fraction = next(steps)
            except StopIteration as end:
                self._current = None
                on_done(end.value)
            except Exception as problem:
                self._current = None
                on_error(problem)
            else:
                if on_progress is not None:
                    on_progress(fraction)
                self._schedule(advance)

        self._schedule(advance)

    def stop(self) -> None:
        """Drop the steps that are left; files they were writing are cleaned up by the generator itself."""
        if self._current is not None:
            current, self._current = self._current, None
            current.close()

"""What goes wrong beside the self-test's own thread of things, and how long it all takes."""

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
import traceback

#: Seconds that the application gets to close down after the test.
_CLOSING_S = 120.0


class _Watch:
    """Collects faults, and ends the process when time is up.

    Args:
        folder: where the stacks of what hangs are written.
        minutes: after which time is up.
    """

    def __init__(self, folder, minutes):
        self.minutes = minutes
        self._stacks = open(os.path.join(folder, "where-it-hung.txt"), "w", encoding="utf-8")  # noqa: SIM115
        self.step = "starting"
        self.faults = []

    def start(self):
        """Hear of errors, answer questions, and end what hangs."""
        import slicer

        def raised(kind, problem, trace):
            self.add("".join(traceback.format_exception(kind, problem, trace)))

        def shown(text, *_arguments, **options):
            self.add(f"{text} {options.get('detailedText', '')}")

        class Logged(logging.Handler):
            def emit(_self, record):
                if record.name.startswith("FSEFT"):
                    self.add(record.getMessage())

        sys.excepthook = raised
        slicer.util.errorDisplay = shown
        # Without --testing these would wait for somebody.
        slicer.util.infoDisplay = lambda text, *_, **__: print(f"told: {text}", flush=True)
        slicer.util.confirmYesNoDisplay = lambda text, *_, **__: print(f"asked: {text}", flush=True) or True
        logging.getLogger().addHandler(Logged(logging.ERROR))
        timer = threading.Timer(60 * self.minutes, self._give_up)
        timer.daemon = True
        timer.start()
        # Where the interpreter itself is stuck no Python thread runs: this one needs none.
        self.end_after(60 * self.minutes + 15)

    def end_after(self, seconds):
        """End the process, with where it hangs, unless it ended before."""
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stacks)

    def _give_up(self):
        text = f"FSEFT self-test FAILED: “{self.step}” was not over {self.minutes:g} minutes after the start\n"
        for channel in (1, 2):
            with contextlib.suppress(OSError):
                os.write(channel, text.encode("utf-8"))
        faulthandler.dump_traceback(file=self._stacks)
        # Slicer passes its output on by a thread of its own, which needs a moment.
        time.sleep(1)
        os._exit(1)

    def add(self, fault):
        """Remember something that went wrong; the step under way fails by it."""
        print(f"fault: {fault}", flush=True)
        self.faults.append(fault)

    @contextlib.contextmanager
    def during(self, step):
        """Name a step; what went wrong meanwhile fails it."""
        self.step = step
        print(f"step: {step}", flush=True)
        yield
        if self.faults:
            raise AssertionError("went wrong on the way:\n" + "\n".join(self.faults))

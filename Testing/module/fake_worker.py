"""A stand-in for the engine's worker: says and does what the job's parameters ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def say(event: str, **content: object) -> None:
    print(json.dumps({"event": event, **content}), flush=True)


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    wishes = job["parameters"]
    if "child" in wishes:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(wishes["child"]).write_text(f"{os.getpid()} {child.pid}")
    say("started", kind=job["kind"])
    for line in wishes.get("lines", []):
        print(line, flush=True)
    for event in wishes.get("events", []):
        print(json.dumps(event), flush=True)
    if wishes.get("environment"):
        say("log", message=os.environ.get(wishes["environment"], "missing"))
    end = time.monotonic() + wishes.get("seconds", 0)
    while time.monotonic() < end:
        if not wishes.get("deaf") and job["cancel_file"] and Path(job["cancel_file"]).exists():
            say("error", code="cancelled", message="The job was cancelled.", hint="Start it again when you want.")
            return 4
        time.sleep(0.01)
    if "result" in wishes:
        say("result", result=wishes["result"])
    if wishes.get("signal"):
        os.kill(os.getpid(), wishes["signal"])
    return int(wishes.get("exit", 0))


if __name__ == "__main__":
    sys.exit(main())

"""Helpers that start the real worker on small synthetic cases."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import STRUCTURES, make_scan
from fseft.jobs.job import Job
from fseft.scan.writing import write_labelmap, write_scan

ENGINE = Path(__file__).resolve().parents[2] / "FSEFTSegment"


class Workplace:
    """A private home with the tiny backbone, and scans to work on."""

    def __init__(self, folder: Path, backbone: Path, cases: int = 2) -> None:
        self.folder = folder
        self.home = folder / "home"
        shutil.copytree(backbone, self.home / "backbones" / "tiny")
        self.scans = []
        for seed in range(cases + 1):
            scan, labels = make_scan(seed, (60, 52, 40))
            write_scan(scan, folder / f"ct{seed}.nii.gz")
            write_labelmap(labels, scan.geometry, folder / f"seg{seed}.nii.gz")
            self.scans.append((folder / f"ct{seed}.nii.gz", folder / f"seg{seed}.nii.gz"))

    @property
    def environment(self) -> dict[str, str]:
        """The worker's environment: nothing of the user's own folders."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("FSEFT_")}
        return {**plain, "FSEFT_HOME": str(self.home), "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1"}

    def adapt(self, steps: int = 6) -> dict[str, Any]:
        """Parameters of a small adapt job."""
        return {
            "name": "model",
            "cases": [{"scan": str(s), "annotation": str(a), "name": s.name} for s, a in self.scans[:-1]],
            "structures": [{"name": s.name, "value": s.value, "color": list(s.color)} for s in STRUCTURES],
            "backbone": "tiny",
            "method": "spatial-adapter",
            "device": "cpu",
            "settings": {"crop": 32, "crops_per_step": 2, "steps": steps, "plateau_start": 100000},
            "output": str(self.folder / "model"),
        }

    def segment(self) -> dict[str, Any]:
        """Parameters of a segment job."""
        output = self.folder / "out" / "result.nii.gz"
        scan = {"scan": str(self.scans[-1][0]), "output": str(output), "name": "new"}
        return {"model": str(self.folder / "model"), "scans": [scan], "device": "cpu"}

    def start(self, kind: str, parameters: dict[str, Any], **job: Any) -> subprocess.Popen[str]:
        """Start the worker."""
        path = self.folder / f"{kind}.json"
        path.write_text(json.dumps(Job(kind, parameters, **job).to_json()), encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "-m", "fseft.worker", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def run(self, kind: str, parameters: dict[str, Any], **job: Any) -> tuple[int, list[dict[str, Any]]]:
        """Run the worker to its end; returns the exit code and the events."""
        process = self.start(kind, parameters, **job)
        stdout, _ = process.communicate(timeout=240)
        return process.returncode, [json.loads(line) for line in stdout.splitlines()]

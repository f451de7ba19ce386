"""``torchrun`` with two processes trains as one process with the doubled batch does."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fseft.backbones.weights import load_backbone
from fseft.pretraining.distributed import Processes
from pretraining_makers import NETWORK, TINY, write_folder
from torch import distributed

ENGINE = Path(__file__).resolve().parents[2] / "FSEFTSegment"
STEPS = 5
TERMS = ("loss", "dice", "cross-entropy", "tissue", "cell", "coordinate", "boundary", "contrast")


def test_a_gpu_makes_its_crops_itself_unless_told_otherwise() -> None:
    cpu, gpu = (Processes(0, 1, torch.device(name)) for name in ("cpu", "cuda"))
    assert [(p.crop_workers(None), p.crop_device(p.crop_workers(None))) for p in (cpu, gpu)] == [
        (1, cpu.device),
        (0, gpu.device),
    ]
    assert gpu.crop_workers(3) == 3
    assert gpu.crop_device(3).type == "cpu"
    apple = Processes(0, 1, torch.device("mps"))
    assert apple.crop_workers(None) >= 1
    assert apple.crop_device(0).type == "cpu"


def command(folder: Path, name: str, batch: int) -> list[str]:
    """Arguments of ``fseft pretrain`` for a small run with this many crops in each process."""
    # Each process would fit its normalisation to its own crops: frozen, the two ways compute the same.
    settings = TINY.replace(
        batch=batch, steps=STEPS, freeze_normalisation_at=0.0, boundary_weight=0.5, contrast_weight=0.2
    ).to_json()
    settings["network"] = dataclasses.asdict(dataclasses.replace(NETWORK, id=name))
    path = folder / f"{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return [
        "--quiet", "pretrain", "--source", f"folder:{folder / 'scans'}", "--settings", str(path), "--device", "cpu",
        "--work", str(folder / "work"), "--output", str(folder / name),
    ]  # fmt: skip


def run(launcher: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run ``fseft`` in processes of its own."""
    isolated = {"PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": "1"}
    call = [*launcher, "-m", "fseft.cli.main", *arguments]
    return subprocess.run(call, env={**os.environ, **isolated}, capture_output=True, text=True, timeout=240)


def record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "pretraining.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available() or sys.platform == "win32",
    reason="needs torch's gloo backend",
)
def test_two_processes_of_torchrun_equal_one_with_the_doubled_batch(tmp_path: Path) -> None:
    write_folder(tmp_path / "scans")
    done = run([sys.executable], command(tmp_path, "one", batch=4))
    assert done.returncode == 0, done.stderr
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = run(launcher, command(tmp_path, "two", batch=2))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Backbone 'two'") == 1  # one process tells the result
    one, two = record(tmp_path / "one"), record(tmp_path / "two")
    assert (one["processes"], two["processes"]) == (1, 2)
    assert len(one["history"]) == len(two["history"]) == STEPS
    for alone, shared in zip(one["history"], two["history"], strict=True):
        for name in (*TERMS, "gradient"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-3, abs=1e-5), (name, shared["step"])
    assert one["history"][0]["loss"] != pytest.approx(one["history"][-1]["loss"], rel=3e-3)  # it did train
    assert load_backbone(tmp_path / "two").specification.classes == tuple(one["classes"])

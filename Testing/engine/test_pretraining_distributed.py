"""Two processes train as one process with the doubled batch does."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest
import torch
from conftest import CPU
from fseft.pretraining.distributed import Processes, join_processes
from fseft.pretraining.loop import Trainer
from fseft.pretraining.preparation import Pool
from fseft.pretraining.settings import PretrainingSettings
from pretraining_makers import TINY, tiny_pool
from torch import distributed, multiprocessing

SETTINGS = TINY.replace(freeze_normalisation_at=0.0, steps=5)


def _train(rank: int, pool: Pool, settings: PretrainingSettings, folder: Path, port: int) -> None:
    """One of the two processes, in the environment that ``torchrun`` gives it."""
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with join_processes(CPU) as processes:
        assert (processes.rank, processes.count) == (rank, 2)
        result = Trainer(pool, settings, CPU, processes, folder / "two").run()
        if processes.leads:
            content = [result.progress.history, result.progress.positives]
            (folder / "curve.json").write_text(json.dumps(content))


@pytest.mark.skipif(
    not distributed.is_available() or not distributed.is_gloo_available() or sys.platform == "win32",
    reason="needs torch's gloo backend",
)
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = tiny_pool(tmp_path)
    alone = Processes(0, 1, torch.device("cpu"))
    one = Trainer(pool, SETTINGS.replace(batch=4), CPU, alone, tmp_path / "one").run()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # restored after the test, as _train sets them
    other = multiprocessing.get_context("spawn").Process(target=_train, args=(1, pool, SETTINGS, tmp_path, port))
    other.start()
    _train(0, pool, SETTINGS, tmp_path, port)
    other.join(60)
    assert other.exitcode == 0
    history, positives = json.loads((tmp_path / "curve.json").read_text())
    assert positives == one.progress.positives
    assert len(history) == len(one.progress.history) == 5
    for mine, theirs in zip(history, one.progress.history, strict=True):
        for name in ("loss", "dice", "cross-entropy", "tissue", "cell", "coordinate"):
            assert mine[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5), (name, mine["step"])
    assert (tmp_path / "two" / "weights.safetensors").is_file()

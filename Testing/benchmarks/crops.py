"""Are crops the bottleneck of pretraining? Processor time of a crop and of the training step that it feeds.

    OMP_NUM_THREADS=1 python Testing/benchmarks/crops.py --work work --source phantoms:torso,count=2 --crop 80

Three figures: the time of making one crop where a training process makes it (on a GPU if there is one, else on one
core), by source; that of one training step, per crop; and the share of its time that a training process waits.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "FSEFTSegment"))

from fseft.compute import choose_compute, use_threads  # noqa: E402
from fseft.pretraining.distributed import Processes  # noqa: E402
from fseft.pretraining.loop import Trainer  # noqa: E402
from fseft.pretraining.preparation import Pool, prepare  # noqa: E402
from fseft.pretraining.sampling import CropSampler, stack  # noqa: E402
from fseft.pretraining.settings import PretrainingSettings  # noqa: E402
from fseft.pretraining.sources import parse_source  # noqa: E402


def clock_of(device: torch.device) -> Callable[[], float]:
    """Time of the processor on a CPU, of the clock once everything is done elsewhere."""
    if device.type == "cpu":
        return time.process_time

    def waited() -> float:
        torch.cuda.synchronize(device)
        return time.monotonic()

    return waited if device.type == "cuda" else time.monotonic


def seconds_of_a_crop(pool: Pool, settings: PretrainingSettings, device: str, count: int) -> float:
    """Time of making one."""
    sampler = CropSampler(pool, settings, choose_compute(device).device)
    clock = clock_of(sampler.device)
    for number in range(count // 4):
        sampler.draw(number)
    started = clock()
    for number in range(count):
        sampler.draw(count + number)
    return (clock() - started) / count


def seconds_of_a_step(pool: Pool, settings: PretrainingSettings, device: str, count: int) -> float:
    """Time of training on one crop."""
    compute = choose_compute(device)
    sampler = CropSampler(pool, settings, compute.device)
    batch = stack([sampler.draw(number) for number in range(settings.batch)])
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(pool, settings, compute, Processes(0, 1, compute.device), Path(folder) / "run")
        clock = clock_of(compute.device)
        for warm in (True, False):
            started = clock()
            for _ in range(2 if warm else count):
                trainer._step(trainer.network, batch, 0.0)
        return (clock() - started) / count / settings.batch


def waiting(pool: Pool, settings: PretrainingSettings, device: str, steps: int) -> float:
    """Share of its time that a training process waits, once the first batches are there."""
    compute = choose_compute(device)
    settings = settings.replace(minutes=None, steps=steps, report_steps=1)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(pool, settings, compute, Processes(0, 1, compute.device), Path(folder) / "run")
        history = trainer.run().progress.history
    return float(np.mean([entry["waiting"] for entry in history[len(history) // 3 :]]))


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", action="append", required=True, help="as 'fseft pretrain' takes them; repeated")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared cases, kept")
    parser.add_argument("--crop", type=int, default=80)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crops", type=int, default=40, help="how many are timed")
    parser.add_argument("--steps", type=int, default=30, help="of the run that waits")
    parser.add_argument("--phase", type=float, default=0.5, help="chance of another contrast phase")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    use_threads()
    values = {"crop": options.crop, "batch": options.batch, "augmentation": {"phase": options.phase}}
    settings = PretrainingSettings().with_overrides({**values, "points": 6000, "foreground_points": 6000})
    sources = [parse_source(text) for text in options.source]
    grid = settings.network.specification(())
    for text, source in zip(options.source, sources, strict=True):
        seconds = seconds_of_a_crop(prepare([source], grid, options.work), settings, options.device, options.crops)
        print(f"{1000 * seconds:6.0f} ms a crop of {options.crop} voxels: {text.partition(',')[0]}", flush=True)
    pool = prepare(sources, grid, options.work)
    step = seconds_of_a_step(pool, settings, options.device, max(3, options.crops // 8))
    print(f"{1000 * step:6.0f} ms a crop of a training step", flush=True)
    print(f"{100 * waiting(pool, settings, options.device, options.steps):6.1f} % of the time waiting for crops")


if __name__ == "__main__":
    main()

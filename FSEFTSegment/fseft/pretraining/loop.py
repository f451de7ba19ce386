"""The training loop: within a budget of time or steps, resumable, on one process or several."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.specification import BackboneSpecification
from fseft.compute import Compute, is_out_of_memory
from fseft.errors import Cancelled, InputError, ResourceError
from fseft.pretraining.checkpoint import Checkpoint, Progress, has_checkpoint, load_checkpoint, save_checkpoint
from fseft.pretraining.distributed import Processes
from fseft.pretraining.export import export_backbone
from fseft.pretraining.heads import PretrainingNetwork
from fseft.pretraining.losses import pretraining_loss
from fseft.pretraining.preparation import Pool
from fseft.pretraining.sampling import Batch, CropSampler, stream
from fseft.pretraining.schedule import WeightAverage, fraction_done, freeze_normalisation, learning_rate
from fseft.pretraining.settings import COARSEST_STRIDE, PretrainingSettings
from fseft.pretraining.warm_start import start_from_backbone
from fseft.reporting import SILENT, Reporter

PHASE = "pretraining"
CHECKPOINT_FOLDER = "checkpoint"
UNFINISHED = " (training not finished)"
_STOPPED = -1.0
_NARROWEST = 3  # voxels


@dataclass(frozen=True)
class Result:
    """What a run leaves.

    Attributes:
        specification: of the exported backbone.
        progress: steps, seconds and loss curves.
    """

    specification: BackboneSpecification
    progress: Progress


class Trainer:
    """A run that can be stopped and taken up again.

    Args:
        pool: the cases.
        settings: the run's numbers.
        compute: precision; mixed only where the hardware is fast at it.
        processes: this process among the others.
        output: the backbone's folder; the checkpoint goes below it.
        resume: go on from the checkpoint there, if there is one.
        reporter: of the leading process.
        initial: a backbone to take the first weights from; a checkpoint comes before it.

    Raises:
        InputError: "pretraining-output-in-use", "checkpoint-damaged", "checkpoint-does-not-fit",
            "pretraining-start-does-not-fit".
    """

    def __init__(
        self,
        pool: Pool,
        settings: PretrainingSettings,
        compute: Compute,
        processes: Processes,
        output: Path,
        resume: bool = False,
        reporter: Reporter = SILENT,
        initial: Backbone | None = None,
    ) -> None:
        self.settings, self.processes, self.output, self.reporter = settings, processes, output, reporter
        self.pool = pool
        self.specification = settings.network.specification(pool.classes)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.network = PretrainingNetwork(build_network(self.specification), settings)
        if initial is not None:
            start_from_backbone(self.network.backbone, initial)
        self.network.to(processes.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.half = training_precision(compute, settings.crop)
        self.scaler = _gradient_scaler(processes.device, self.half is torch.float16)
        self.average = WeightAverage(self.network.backbone, settings.average)
        self.progress = Progress(positives=[0] * len(pool.classes))
        self._start_from_checkpoint(resume)

    def run(self) -> Result:
        """Train until the budget is used up; a cancelled run leaves its checkpoint.

        Raises:
            Cancelled: after writing the checkpoint.
            ResourceError: "out-of-memory", also after writing it.
        """
        wrapped = self.processes.wrap(self.network)
        workers = self.processes.crop_workers(self.settings.workers)
        batches = stream(
            CropSampler(self.pool, self.settings, self.processes.crop_device(workers)),
            self.settings.batch,
            workers,
            self.progress.step,
            self.processes.rank,
            self.processes.count,
        )
        clock, before = time.monotonic(), self.progress.seconds
        saved = clock
        means = _Means(self.processes)
        try:
            while (fraction := self._fraction()) < 1.0:
                if fraction == _STOPPED:
                    raise Cancelled()
                means.add(self._timed_step(wrapped, batches, fraction))
                self.progress.seconds = before + time.monotonic() - clock
                if self.progress.step % self.settings.report_steps == 0:
                    self._report(means)
                if time.monotonic() - saved > 60.0 * self.settings.checkpoint_minutes:
                    self.save()
                    saved = time.monotonic()
        except (Cancelled, KeyboardInterrupt) as stop:
            self.save()
            raise Cancelled(hint="Start it again with --resume to go on from the checkpoint.") from stop
        except (RuntimeError, MemoryError) as problem:
            if not is_out_of_memory(problem):
                raise
            self.save()
            raise ResourceError(
                "out-of-memory",
                "A step of pretraining needs more memory than there is.",
                "Choose a smaller crop or batch in the settings, and go on with --resume.",
            ) from problem
        finally:
            del batches  # ends the workers
        self._report(means)
        specification = self.save(finished=True)
        if self.processes.leads:
            self.reporter.progress(PHASE, 100.0, 100.0, f"{self.progress.step} steps")
        return Result(specification, self.progress)

    def save(self, finished: bool = False) -> BackboneSpecification:
        """Write checkpoint and backbone; the leading process does.

        Args:
            finished: the budget is used up. A backbone that is not finished says so in its title wherever it is listed.
        """
        if self.processes.leads:
            optimiser = {"optimiser": self.optimiser.state_dict(), "scaler": self.scaler.state_dict()}
            save_checkpoint(
                self.output / CHECKPOINT_FOLDER,
                Checkpoint(self.pool.classes, self.network.state_dict(), self.average.state, optimiser, self.progress),
            )
            title = self.specification.title + ("" if finished else UNFINISHED)
            named = dataclasses.replace(self.specification, title=title)
            return export_backbone(named, self.average.state, self.progress.positives, self.output)
        return self.specification

    def _start_from_checkpoint(self, resume: bool) -> None:
        folder = self.output / CHECKPOINT_FOLDER
        if not has_checkpoint(folder):
            return
        if not resume:
            raise InputError(
                "pretraining-output-in-use",
                f"{self.output.name!r} holds an earlier run.",
                "Add --resume to go on with it, or choose another folder.",
            )
        stored = load_checkpoint(folder)
        try:
            if stored.classes != self.pool.classes:
                raise ValueError("other classes")
            self.network.load_state_dict(stored.network)
            self.optimiser.load_state_dict(stored.optimiser["optimiser"])
            if stored.optimiser["scaler"]:
                self.scaler.load_state_dict(stored.optimiser["scaler"])
            for name, value in self.average.state.items():
                value.copy_(stored.average[name])
        except (ValueError, KeyError, RuntimeError) as problem:
            raise InputError(
                "checkpoint-does-not-fit",
                "The earlier run had other structures or another network.",
                "Give the sources and settings it was started with, or choose another folder.",
            ) from problem
        self.progress = stored.progress

    def _fraction(self) -> float:
        """Share of the budget used up, the same in every process; negative once the user cancelled."""
        fraction = 0.0
        if self.processes.leads:
            fraction = fraction_done(self.settings, self.progress.step, self.progress.seconds)
            try:
                self.reporter.check_cancelled()
            except Cancelled:
                fraction = _STOPPED
        return self.processes.agree(fraction)

    def _timed_step(self, wrapped: nn.Module, batches: Iterator[Batch], fraction: float) -> dict[str, Tensor]:
        """A step, and under "waiting" the share of its time that went by before its crops were there."""
        started = time.monotonic()
        batch = next(batches)
        waited = time.monotonic() - started
        losses = self._step(wrapped, batch, fraction)
        share = waited / max(time.monotonic() - started, 1e-9)
        return {**losses, "waiting": torch.tensor(share, device=self.processes.device)}

    def _step(self, wrapped: nn.Module, batch: Batch, fraction: float) -> dict[str, Tensor]:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.progress.step, fraction)
        wrapped.train()
        if fraction >= self.settings.freeze_normalisation_at:
            freeze_normalisation(wrapped)
        batch = batch.to(self.processes.device)
        with self._precision():
            outputs = wrapped(
                batch.windowed, batch.points, batch.located, batch.twin if batch.twin.dim() == 5 else None
            )
        losses = pretraining_loss(outputs, batch, self.settings, self.processes.mean)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses["loss"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        # One crop that overflows must not end hours of training; the scaler leaves such a step out by itself.
        if self.scaler.is_enabled() or bool(torch.isfinite(norm)):
            self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network.backbone, self.progress.step)
        self.progress.step += 1
        self._count(batch)
        # A step that was left out had no gradient to speak of: the log stays a number.
        told = norm.detach().nan_to_num(0.0, 0.0, 0.0)
        return {**{name: value.detach() for name, value in losses.items()}, "gradient": told}

    def _count(self, batch: Batch) -> None:
        seen = (batch.positive & (batch.weights > 0)[..., None] & batch.known[:, None]).sum(dim=(0, 1))
        for position, count in enumerate(self.processes.mean(seen.float()).tolist()):
            self.progress.positives[position] += round(count * self.processes.count)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        if self.half is None:
            yield
        else:
            with torch.autocast(self.processes.device.type, dtype=self.half):
                yield

    def _report(self, means: _Means) -> None:
        found = means.take()
        if not found or not self.processes.leads:
            return
        step, seconds = self.progress.step, self.progress.seconds
        self.progress.history.append({"step": float(step), "seconds": round(seconds, 1), **found})
        for name, value in found.items():
            self.reporter.metric(name, step, value)
        done = 100.0 * fraction_done(self.settings, step, seconds)
        detail = f"step {step}, {', '.join(f'{name} {value:.3f}' for name, value in found.items())}"
        self.reporter.progress(PHASE, min(done, 99.9), 100.0, detail)


class _Means:
    """Running means of losses over steps and processes."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._sums: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros_like(value)) + value
        self._steps += 1

    def take(self) -> dict[str, float]:
        """The means since the last call; empty where there was no step."""
        steps, sums = self._steps, self._sums
        self._steps, self._sums = 0, {}
        return {name: float(self._processes.mean(value)) / steps for name, value in sums.items()}


def training_precision(compute: Compute, crop: int) -> torch.dtype | None:
    """bfloat16 or float16 where the device is fast at it; bfloat16 first, since it needs no scaling of gradients.

    Not on a CPU where the coarsest level of a crop is less than ``_NARROWEST`` voxels wide: oneDNN (seen with torch
    2.13) returns garbage as the bfloat16 gradient of 3x3x3 weights on volumes two voxels wide, on processors with
    AVX-512 but without AMX. Three voxels and more are right, and so is single precision.
    """
    if compute.device.type == "cuda":
        # Ampere and later multiply bfloat16 in hardware; older ones emulate it.
        native = torch.cuda.get_device_capability(compute.device)[0] >= 8
        return torch.bfloat16 if native else torch.float16
    return compute.half if compute.device.type == "cpu" and crop // COARSEST_STRIDE >= _NARROWEST else None


def _gradient_scaler(device: torch.device, enabled: bool) -> torch.amp.GradScaler:
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, enabled=enabled)
    return torch.cuda.amp.GradScaler(enabled=enabled)  # before torch 2.3

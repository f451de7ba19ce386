"""One training on several processes, as ``torchrun`` starts them; alone without it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fseft.compute import Compute, usable_cores

_TIMEOUT = datetime.timedelta(hours=6)  # the first process prepares the cases while the others wait


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        rank: 0 for the one that reports and writes.
        count: how many there are.
        device: this process's device.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the process that reports and writes."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with gradients averaged over the processes."""
        if self.count == 1:
            return network
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=devices)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes; without a gradient."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        distributed.all_reduce(total)
        return total / self.count

    def agree(self, value: float) -> float:
        """The leading process's value, in every process."""
        if self.count == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float32, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def crop_workers(self, asked: int | None) -> int:
        """How many processes make crops for this one.

        Args:
            asked: as many; None is one where the CPU computes, which needs the cores more, none where CUDA does, which
                makes its crops itself, and the spare cores beside other devices.
        """
        if asked is not None:
            return asked
        if self.device.type in ("cpu", "cuda"):
            return int(self.device.type == "cpu")
        return max(1, usable_cores() - 1)

    def crop_device(self, workers: int) -> torch.device:
        """Where crops are made: by worker processes on the CPU, without any on this process's device if it is CUDA.

        Apple's MPS lacks operations that crops need in some versions of torch.
        """
        return self.device if workers == 0 and self.device.type == "cuda" else torch.device("cpu")

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def join_processes(compute: Compute) -> Iterator[Processes]:
    """Join the other processes that ``torchrun`` started, or stay alone."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, compute.device)
        return
    device = compute.device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()

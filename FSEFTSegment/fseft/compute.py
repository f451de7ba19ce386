"""Which device computes, in which precision, with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from fseft.errors import ResourceError


@dataclass(frozen=True)
class Compute:
    """Where and how tensors are computed.

    Attributes:
        device: "cuda", "cuda:1", "mps" or "cpu".
        half: the backbone's precision when the hardware has a fast one: float16 on CUDA, bfloat16 on CPUs with
            native support, else None.
    """

    device: torch.device
    half: torch.dtype | None

    @contextmanager
    def precision(self) -> Iterator[None]:
        """Autocast to the half type, where there is one."""
        if self.half is None:
            yield
        else:
            with torch.autocast(self.device.type, dtype=self.half):
                yield


def choose_compute(device: str = "auto") -> Compute:
    """Resolve a device request.

    Args:
        device: "auto" (CUDA, else Apple's MPS, else CPU), or a torch device name.

    Raises:
        ResourceError: "device-unavailable" when the device asked for is not there.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as problem:
        raise ResourceError(
            "device-unavailable",
            f"The device {device!r} cannot be used: {str(problem).splitlines()[0]}.",
            "Choose 'auto' or 'cpu'.",
        ) from problem
    if chosen.type == "cuda":
        return Compute(chosen, torch.float16)
    return Compute(chosen, torch.bfloat16 if chosen.type == "cpu" and cpu_has_bfloat16() else None)


def cpu_has_bfloat16() -> bool:
    """True when the CPU multiplies bfloat16 natively (AVX512-BF16 or AMX); emulation would be slower than float32."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)


def usable_cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not offered on Windows and macOS
        return os.cpu_count() or 1


def use_threads(spare: int = 0) -> int:
    """Use all cores but ``spare`` (at least one); returns the number of threads."""
    cores = usable_cores()
    limit = int(os.environ.get("OMP_NUM_THREADS") or cores)
    threads = max(1, min(limit, cores - spare))
    torch.set_num_threads(threads)
    return threads


def is_out_of_memory(problem: BaseException) -> bool:
    """True for the ways torch says that a device's memory is exhausted."""
    if isinstance(problem, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    text = str(problem).lower()
    return isinstance(problem, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)

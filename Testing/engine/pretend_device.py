"""A second device where there is none: tensors that say they are on ``cuda`` and refuse to be mixed with the CPU's.

Every operation is computed by the CPU. What a GPU would refuse is refused: operands of two devices, numpy arrays of
its tensors. It tells whether code keeps its tensors together, not how fast it is nor whether a kernel is right; random
numbers are the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

PRETENDED = torch.device("cuda", 0)


class PretendTensor(torch.Tensor):
    """A tensor of the pretended device, around the CPU's."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> PretendTensor:
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device="meta",
        )  # fmt: skip
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """The pretended one."""
        return PRETENDED

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """As its device says."""
        return True

    def numpy(self, *_args: Any, **_named: Any) -> Any:
        """Refused, as by every device but the CPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def __array__(self, *_args: Any, **_named: Any) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        """The values; a GPU is waited for here."""
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Any:
        # A list becomes a tensor of the device below the level at which operations can be heard.
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(
            tuple(torch.tensor(part, device=PRETENDED) if isinstance(part, list) else part for part in parts)
        )

    def __repr__(self, *_args: Any, **_named: Any) -> str:
        return f"Pretend({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Hears what makes new tensors, too."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(func, args, kwargs or {})


_CPU_GENERATOR = torch.Generator


class _Generator:
    """What asks for a generator of the device gets one of the CPU."""

    def __new__(cls, _device: Any = "cpu") -> torch.Generator:  # type: ignore[misc]
        return _CPU_GENERATOR("cpu")


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """The device, while the block runs."""
    with ExitStack() as stack:
        stack.enter_context(patch("torch.cuda._lazy_init", lambda: None))
        stack.enter_context(patch("torch.Generator", _Generator))
        # These two go to a device below the level at which operations can be heard.
        stack.enter_context(patch("torch.tensor", _then_moved(torch.tensor)))
        stack.enter_context(patch("torch.as_tensor", _then_moved(torch.as_tensor)))
        stack.enter_context(patch("torch.cuda.is_available", lambda: True))
        stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda: True))
        stack.enter_context(patch("torch.cuda.get_device_capability", lambda _device=None: (8, 0)))
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a module gets new parameters, of this class
        stack.enter_context(_Everywhere())
        yield PRETENDED


def hear_this_thread() -> None:
    """For threads that are started within the block: what makes new tensors is heard thread by thread."""
    _Everywhere().__enter__()


def _then_moved(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def made(data: Any, *, device: Any = None, **named: Any) -> torch.Tensor:
        tensor = make(data, **named)
        return tensor if device is None else tensor.to(device)

    return made


def _dispatch(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.__name__  # type: ignore[attr-defined]
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    pretended = [value for value in given if isinstance(value, PretendTensor)]
    if any(not isinstance(value, PretendTensor) and value.is_meta for value in given):
        raise RuntimeError(f"Something was made for the wrappers' own device, and holds nothing ({name}).")
    asked = kwargs.get("device")
    moves = name.split(".")[0] in ("_to_copy", "copy_", "copy", "_has_compatible_shallow_copy_type")
    if pretended and not moves:
        # A GPU takes single numbers of the CPU as operands, and the CPU's index tensors; nothing else.
        strangers = [value for value in given if not isinstance(value, PretendTensor) and value.dim() > 0]
        if strangers and not name.startswith(("index.", "index_put")):
            raise RuntimeError(f"Expected all tensors to be on the same device ({name}).")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        # "meta" is what the wrappers themselves are on, and is asked for where a tensor's own device is.
        there = torch.device(asked).type in (PRETENDED.type, "meta")
    else:
        there = bool(pretended)
    if name.startswith(("_local_scalar_dense", "equal", "is_same_size", "_has_compatible")):
        there = False
    result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if name.split(".")[0].endswith("_") and args and isinstance(args[0], torch.Tensor):
        return args[0]  # changed in place: the wrapper's metadata stay
    return tree_map(_wrapped, result) if there else result


def _held(value: Any) -> Any:
    return value.held if isinstance(value, PretendTensor) else value


def _wrapped(value: Any) -> Any:
    return PretendTensor(value) if isinstance(value, torch.Tensor) else value

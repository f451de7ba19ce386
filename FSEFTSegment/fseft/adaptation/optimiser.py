"""AdamW for a handful of small tensors.

The arithmetic is torch's. Its optimiser classes load torch's compiler when the first one is made, which takes two
seconds and serves nothing here: a tenth of going on from a model after a correction.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim.adamw import adamw


class AdamW:
    """``torch.optim.AdamW`` with its default moments.

    Args:
        parameters: to be optimised, in place.
        learning_rate: of the next step; may be changed between steps.
        weight_decay: share of a parameter that goes per step and unit of learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._means = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._squares = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = [torch.tensor(0.0) for _ in self.parameters]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved = [number for number, parameter in enumerate(self.parameters) if parameter.grad is not None]
        adamw(
            [self.parameters[number] for number in moved],
            [gradient for parameter in self.parameters if (gradient := parameter.grad) is not None],
            [self._means[number] for number in moved],
            [self._squares[number] for number in moved],
            [],
            [self._steps[number] for number in moved],
            foreach=False,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            eps=1e-8,
            maximize=False,
        )

"""AdamW for a handful of small tensors.

The same steps as ``torch.optim.AdamW``. The library's optimisers load its compiler on first use, which nothing here
needs and which takes seconds: as long as a fifth of going on from a model after a correction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class AdamW:
    """Adam with decoupled weight decay.

    Args:
        parameters: to be optimised, in place.
        learning_rate: of the next step; may be changed between steps.
        weight_decay: share of a parameter that goes per step and unit of learning rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self._mean = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._square = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._steps = [0] * len(self.parameters)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        for index, parameter in enumerate(self.parameters):
            gradient = parameter.grad
            if gradient is None:
                continue
            self._steps[index] += 1
            mean, square, steps = self._mean[index], self._square[index], self._steps[index]
            parameter.mul_(1 - self.learning_rate * self.weight_decay)
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            deviation = (square.sqrt() / math.sqrt(1 - BETAS[1] ** steps)).add_(EPSILON)
            parameter.addcdiv_(mean, deviation, value=-self.learning_rate / (1 - BETAS[0] ** steps))

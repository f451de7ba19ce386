"""What changes during a run: learning rate, averaging, normalisation; and when the run is over."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from fseft.pretraining.settings import PretrainingSettings


def fraction_done(settings: PretrainingSettings, step: int, seconds: float) -> float:
    """Share of the budget that is used up, 0..1; the scarcer of minutes and steps decides."""
    shares = [0.0]
    if settings.minutes is not None:
        shares.append(seconds / (60.0 * settings.minutes) if settings.minutes > 0 else 1.0)
    if settings.steps is not None:
        shares.append(step / settings.steps if settings.steps > 0 else 1.0)
    return min(1.0, max(shares))


def learning_rate(settings: PretrainingSettings, step: int, fraction: float) -> float:
    """Linear warm-up over steps, and a cosine over the budget."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    cosine = 0.5 * (1.0 + math.cos(math.pi * fraction))
    return settings.learning_rate * warm * (cosine * (1.0 - settings.final_rate) + settings.final_rate)


def freeze_normalisation(network: nn.Module) -> None:
    """Batch normalisation keeps its statistics from here on, as it does when the backbone is used."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


class WeightAverage:
    """Exponential moving average of a network's state, short at first.

    Args:
        network: whose present state starts the average.
        decay: in the long run.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state: dict[str, Tensor] = {k: v.detach().clone() for k, v in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network's state after ``step`` steps; counters are copied."""
        decay = min(self.decay, (step + 1) / (step + 20))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.state[name].mul_(decay).add_(value, alpha=1.0 - decay)
            else:
                self.state[name].copy_(value)

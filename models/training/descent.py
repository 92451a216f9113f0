"""How a small head learns: AdamW, a rate that warms up and falls, the moving average at its end.

Knows nothing of films; what the loss is, is the run's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.training.average import Average
from models.training.records import TrainingError


class Descent:
    """The optimiser of one head, for a stated number of steps."""

    def __init__(
        self,
        head: nn.Module,
        *,
        rate: float,
        weight_decay: float,
        ema_decay: float,
        steps: int,
        warm_steps: int,
    ) -> None:
        self._head, self._rate, self._steps, self._warm_steps = head, rate, steps, warm_steps
        self._optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=weight_decay)
        self._average = Average(head, ema_decay)
        self._done = 0

    def step(self, loss: Tensor) -> None:
        """One step down; TrainingError when the loss is not a number."""
        if not torch.isfinite(loss):
            raise TrainingError("the loss is not a number: lower rate")
        warm = min(1.0, (self._done + 1) / self._warm_steps)
        fall = 0.5 * (1 + math.cos(math.pi * self._done / self._steps))
        for group in self._optimiser.param_groups:
            group["lr"] = self._rate * warm * fall
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._head.parameters(), 5.0)
        self._optimiser.step()
        self._average.update(self._head)
        self._done += 1

    def end(self) -> None:
        """Leave the moving average in the head, ready to read."""
        self._head.load_state_dict(self._average.state)
        self._head.eval()

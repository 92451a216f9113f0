"""The moving average of a network's weights, which serves or draws better than the last step.

Knows nothing of what is trained: classifier, box heads and the GAN's generator use it alike.
"""

from __future__ import annotations

from torch import nn


class Average:
    """Exponential moving average of a network's weights and statistics.

    It warms up: the first steps weigh more, or a short run would end near its random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for key, value in model.state_dict().items():
            mine = self.state[key]
            if mine.dtype.is_floating_point:
                mine.mul_(decay).add_(value.detach(), alpha=1 - decay)
            else:
                mine.copy_(value)

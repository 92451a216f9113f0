"""What ultralytics needs from us: its trainer, started from given tensors, in mixed precision.

Imported only when a detector is trained or a YOLO trunk is built, because importing ultralytics
is slow. Never lets it install, download or report anything.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel

from models.training.records import TrainingError


def _full(answer: Any) -> Any:
    """The same answer with every tensor in float32: losses are computed there."""
    if isinstance(answer, Tensor):
        return answer.float() if answer.is_floating_point() else answer
    if isinstance(answer, dict):
        return {key: _full(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return type(answer)(_full(value) for value in answer)
    return answer


class MixedModel(DetectionModel):
    """A detection network that trains in bfloat16 where the processor has it."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.training):
            return _full(super().predict(*args, **kwargs))


class StartedTrainer(DetectionTrainer):
    """ultralytics' trainer whose network starts from `start`, by tensor name and shape."""

    start: ClassVar[dict[str, Tensor]] = {}
    labels: ClassVar[int] = 1
    taken: ClassVar[int] = 0

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = False) -> Any:
        model = MixedModel(cfg, nc=self.labels, ch=3, verbose=False)
        own = model.state_dict()
        fits = {
            key: value
            for key, value in self.start.items()
            if key in own and own[key].shape == value.shape
        }
        if self.start and not fits:
            raise TrainingError("none of the tensors to start from fits this detector")
        model.load_state_dict(fits, strict=False)
        type(self).taken = len(fits)
        return model

    def validate(self) -> tuple[dict[str, float], float]:
        """Nothing: figures come from the exported file on the served path."""
        return {}, 0.0

    def final_eval(self) -> None:
        """Nothing, for the same reason."""

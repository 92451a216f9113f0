"""What the classifier and the detector share: an onnxruntime session that matches its card.

Only onnxruntime on the CPU, numpy and the island's own decoder may enter. A session of more
than one thread does not survive a fork; workers/app.py says when one may.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.card import BadCard, Fit, InputSpec, ModelCard
from models.xray import Pixels, letterbox, stretch

Floats = npt.NDArray[np.float32]


class NetworkFailure(Exception):
    """The network answered something that is no reading, such as NaN."""


class NetworkInput(NamedTuple):
    """A film as a network sees it; a film point x lies at x * scale_x + pad_x of the input."""

    tensor: Floats
    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int


def to_input(pixels: Pixels, spec: InputSpec) -> NetworkInput:
    """float32 (1, channels, size_px, size_px) of uint8 (H, W), as the card describes it."""
    height, width = pixels.shape
    if spec.fit is Fit.LETTERBOX:
        square, scale, pad_x, pad_y = letterbox(pixels, spec.size_px)
        scale_x = scale_y = scale
    else:
        square, pad_x, pad_y = stretch(pixels, spec.size_px), 0, 0
        scale_x, scale_y = spec.size_px / width, spec.size_px / height
    mean = np.asarray(spec.mean, np.float32).reshape(1, -1, 1, 1)
    std = np.asarray(spec.std, np.float32).reshape(1, -1, 1, 1)
    tensor = (square.astype(np.float32)[None, None] / np.float32(255) - mean) / std
    return NetworkInput(np.ascontiguousarray(tensor), scale_x, scale_y, pad_x, pad_y)


class Network:
    """An onnxruntime session on the CPU whose inputs and outputs were checked against its card."""

    def __init__(self, card: ModelCard, *, threads: int, outputs: tuple[str, ...] | None) -> None:
        """Open the card's weight with `threads` cores; raises BadCard if it is another network.

        outputs: names that must be there, or None for exactly one output of any name.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 3
        where = card.directory / card.file
        try:
            self._session = onnxruntime.InferenceSession(
                card.model_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except BadCard:
            raise
        except Exception as error:  # onnxruntime raises pybind exceptions of its own
            raise BadCard(f"{where}: onnxruntime cannot load it: {error}") from error
        inputs = self._session.get_inputs()
        wanted = [1, card.input.channels, card.input.size_px, card.input.size_px]
        if len(inputs) != 1 or not _fits(inputs[0].shape, wanted):
            raise BadCard(f"{where}: takes {[i.shape for i in inputs]}, the card says {wanted}")
        self.shapes = {output.name: output.shape for output in self._session.get_outputs()}
        if outputs is None and len(self.shapes) != 1:
            raise BadCard(f"{where}: answers {sorted(self.shapes)}; exactly one array is expected")
        if missing := set(outputs or ()) - self.shapes.keys():
            raise BadCard(f"{where}: does not answer {', '.join(sorted(missing))}")
        self._input_name = inputs[0].name

    def run(self, tensor: Floats) -> dict[str, Floats]:
        """All outputs by name for one input; raises NetworkFailure when one is not finite."""
        answers = self._session.run(None, {self._input_name: tensor})
        for name, answer in zip(self.shapes, answers, strict=True):
            if not np.isfinite(answer).all():
                raise NetworkFailure(f"the network's {name} holds numbers that are not finite")
        return dict(zip(self.shapes, answers, strict=True))


def _fits(shape: list[Any], wanted: list[int]) -> bool:
    """Whether a shape with names for its free axes admits the wanted one."""
    return len(shape) == len(wanted) and all(
        not isinstance(have, int) or have == want for have, want in zip(shape, wanted, strict=True)
    )

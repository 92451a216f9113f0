"""The detector at serving time: one film in, labelled boxes out. onnxruntime, no torch.

Reads the one output array of an ultralytics export (YOLOv5u, YOLOv8 and later): (1, 4 + labels, N)
with centre x, centre y, width and height in input pixels, then one score per label.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.card import BadCard, ModelCard, ModelKind
from models.network import Floats, Network, NetworkFailure, to_input
from models.xray import Box, Pixels

NMS_IOU = 0.5
"""Of two boxes of one label that overlap more than this, only the better one is kept."""
MAX_CANDIDATES = 300
"""Only so many boxes, the best ones, enter the comparison of each with each."""


@dataclass(frozen=True)
class DetectorReading:
    """Boxes in pixels of the film that was read, best first; seconds: "prepare", "run", "boxes"."""

    boxes: Sequence[Box]
    seconds: Mapping[str, float]


class Detector:
    """A one-stage detector as its card describes it; one per process, used by one thread."""

    def __init__(self, card: ModelCard, *, threads: int = 1) -> None:
        """Open the weight of a card of kind detect; raises BadCard."""
        if card.kind is not ModelKind.DETECT:
            raise BadCard(f"{card.name} is for {card.kind}; a detector is needed")
        self.card = card
        self._network = Network(card, threads=threads, outputs=None)
        ((_, shape),) = self._network.shapes.items()
        if len(shape) != 3 or shape[1] != 4 + len(card.labels):
            raise BadCard(f"{card.name}: output {shape} is not (1, 4 + {len(card.labels)}, N)")

    def read(self, pixels: Pixels, *, min_score: float | None = None) -> DetectorReading:
        """Boxes on one film, uint8 (H, W), at or over the card's thresholds; raises NetworkFailure.

        min_score replaces the thresholds, for measuring over all operating points.
        """
        started = time.perf_counter()
        given = to_input(pixels, self.card.input)
        prepared = time.perf_counter()
        (answer,) = self._network.run(given.tensor).values()
        ended = time.perf_counter()
        rows = answer[0].T
        if rows.ndim != 2 or rows.shape[1] != 4 + len(self.card.labels):
            raise NetworkFailure(f"the network answered {answer.shape}")
        label_of, score = rows[:, 4:].argmax(axis=1), rows[:, 4:].max(axis=1)
        least = np.array([self.card.thresholds[label] for label in self.card.labels])
        wanted = score >= (least[label_of] if min_score is None else min_score)
        order = np.argsort(-score[wanted], kind="stable")[:MAX_CANDIDATES]
        centre, size = rows[wanted][order, :2], rows[wanted][order, 2:4]
        corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        corners = (corners - [given.pad_x, given.pad_y] * 2) / ([given.scale_x, given.scale_y] * 2)
        height, width = pixels.shape
        corners = np.clip(corners, 0, [width, height] * 2)
        label_of, score = label_of[wanted][order], score[wanted][order]
        boxes = [
            Box(self.card.labels[label_of[i]], float(score[i]), *map(float, corners[i]))
            for i in _suppressed(corners, label_of)
            if corners[i, 2] > corners[i, 0] and corners[i, 3] > corners[i, 1]
        ]
        seconds = {
            "prepare": prepared - started,
            "run": ended - prepared,
            "boxes": time.perf_counter() - ended,
        }
        return DetectorReading(boxes, seconds)


def _suppressed(
    corners: npt.NDArray[np.float64] | Floats, label_of: npt.NDArray[np.int64]
) -> list[int]:
    """Indices that survive non-maximum suppression per label; corners (N, 4), best first."""
    area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    overlap = shared / np.maximum(area[:, None] + area[None, :] - shared, 1e-9)
    rivals = (overlap > NMS_IOU) & (label_of[:, None] == label_of[None, :])
    kept: list[int] = []
    for i in range(len(corners)):
        if not rivals[i, kept].any():
            kept.append(i)
    return kept

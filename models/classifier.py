"""The classifier at serving time: one film in, a score per finding out. onnxruntime, no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.card import BadCard, ModelCard, ModelKind
from models.network import Floats, Network, NetworkFailure, to_input
from models.operating import Operating, PredictionSet
from models.xray import Pixels


@dataclass(frozen=True, eq=False)
class ClassifierReading:
    """What the classifier says of one film.

    scores: calibrated score 0..1 of every label, in the card's order, at the site's prevalence if
        one is set (then they are probabilities).
    top3: the three labels with the highest scores, best first.
    above_threshold: labels at or over their threshold, best first; empty is a result, too.
    prediction_set: labels that cannot be left out at the card's coverage; None if it states none.
    cams: per label float32 (h, w) class activation map over the network's input, in logit units
        (its mean over the map is about the label's logit), or None if the network has none.
    seconds: "prepare" and "run".
    """

    scores: Mapping[str, float]
    top3: tuple[str, ...]
    above_threshold: tuple[str, ...]
    prediction_set: PredictionSet | None
    cams: Mapping[str, Floats] | None
    seconds: Mapping[str, float]


class Classifier:
    """A multi-label classifier as its card describes it; one per process, used by one thread."""

    def __init__(
        self,
        card: ModelCard,
        *,
        threads: int = 1,
        site_prevalence: Mapping[str, float] | None = None,
    ) -> None:
        """Open the weight of a card of kind classify; raises BadCard, and BadPrevalence when the
        card's scores cannot be moved to the site's prevalence.
        """
        if card.kind is not ModelKind.CLASSIFY:
            raise BadCard(f"{card.name} is for {card.kind}; a classifier is needed")
        self.card = card
        self.operating = Operating(card, site_prevalence)
        self._network = Network(card, threads=threads, outputs=("logits",))
        if self._network.shapes["logits"][-1] != len(card.labels):
            raise BadCard(
                f"{card.name}: {self._network.shapes['logits'][-1]} logits for "
                f"{len(card.labels)} labels"
            )

    def read(self, pixels: Pixels) -> ClassifierReading:
        """Read one film, uint8 (H, W), 0 air .. 255 bone; raises NetworkFailure."""
        labels = self.card.labels
        started = time.perf_counter()
        tensor = to_input(pixels, self.card.input).tensor
        prepared = time.perf_counter()
        answers = self._network.run(tensor)
        ended = time.perf_counter()
        logits = answers["logits"].reshape(-1).astype(np.float64)
        if len(logits) != len(labels):
            raise NetworkFailure(f"{len(logits)} logits for {len(labels)} labels")
        if calibration := self.card.calibration:
            logits = logits / [calibration.temperature[label] for label in labels]
            logits = logits + [calibration.bias[label] for label in labels]
        values = 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
        calibrated = {label: float(value) for label, value in zip(labels, values, strict=True)}
        scores = self.operating.served(calibrated)
        ranked = sorted(labels, key=lambda label: -scores[label])  # stable: ties in card order
        cam = answers.get("cam")
        return ClassifierReading(
            scores=scores,
            top3=tuple(ranked[:3]),
            # Judged before the scores move: rounding then turns no finding on or off.
            above_threshold=tuple(
                label for label in ranked if calibrated[label] >= self.card.thresholds[label]
            ),
            prediction_set=self.operating.prediction_set(calibrated),
            cams=None if cam is None else dict(zip(labels, cam[0], strict=True)),
            seconds={"prepare": prepared - started, "run": ended - prepared},
        )

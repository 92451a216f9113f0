"""Scores → calibrated scores and operating points, from held-out films only.

score = sigmoid(logit / temperature + bias), per label. The result is calibrated to the prevalence
of the films it was fitted on, which the card names; models/operating.py moves it to another one.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.card import Calibration, CalibrationMethod
from models.training import metrics
from models.training.records import LABELS

Floats = NDArray[np.float64]
#: How strongly a label's temperature is held to that of all labels: worth about this many films.
HOLD = 4.0


def sigmoid(values: Floats) -> Floats:
    """Logits → scores in (0, 1)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(values, -60, 60))), dtype=np.float64)


def _fit(logits: Floats, truth: Floats, anchor: float, hold: float) -> tuple[float, float]:
    """(temperature, bias) of least log loss, the log temperature pulled towards `anchor`."""
    known = ~np.isnan(truth)
    logits, truth = logits[known], truth[known]
    positives = truth.sum()
    # Platt's smoothed targets (1999): a label with few positives gets no certainty
    high = (positives + 1) / (positives + 2)
    low = 1 / (truth.size - positives + 2)
    target = np.where(truth > 0.5, high, low)

    def loss(free: Floats) -> float:
        moved = logits * math.exp(-free[0]) + free[1]
        entropy = np.logaddexp(0.0, moved) - target * moved
        return float(entropy.sum() + hold * (free[0] - anchor) ** 2)

    best = minimize(loss, np.array([anchor, 0.0]), method="Nelder-Mead")
    return float(np.exp(np.clip(best.x[0], -3, 3))), float(best.x[1])


def fit(logits: Floats, truth: Floats) -> Calibration:
    """Temperature and bias per label from held-out logits (N, 14) and labels (N, 14)."""
    everything, _ = _fit(logits.ravel(), truth.ravel(), 0.0, 0.0)
    pairs = [
        _fit(logits[:, k], truth[:, k], math.log(everything), HOLD) for k in range(len(LABELS))
    ]
    return Calibration(
        CalibrationMethod.PLATT,
        {label: round(pair[0], 5) for label, pair in zip(LABELS, pairs, strict=True)},
        {label: round(pair[1], 5) for label, pair in zip(LABELS, pairs, strict=True)},
    )


def apply(calibration: Calibration, logits: Floats) -> Floats:
    """Calibrated scores (N, 14) of logits (N, 14), as serving computes them."""
    temperature = np.array([calibration.temperature[label] for label in LABELS])
    bias = np.array([calibration.bias[label] for label in LABELS])
    return sigmoid(logits / temperature + bias)


def cross_fitted(logits: Floats, truth: Floats, folds: list[NDArray[np.intp]]) -> Floats:
    """Scores of every fold calibrated on the others: an honest basis for ECE on validation."""
    scores = np.empty_like(logits)
    everything = np.arange(len(logits))
    for rows in folds:
        others = np.setdiff1d(everything, rows)
        scores[rows] = apply(fit(logits[others], truth[others]), logits[rows])
    return scores


def operating_points(
    scores: Floats, truth: Floats, specificity: float = 0.9, sensitivity: float = 0.9
) -> dict[str, dict[str, float]]:
    """Per label the threshold for a stated specificity and for a stated sensitivity, with both
    rates at the first; a label without a positive or a negative is left out."""
    points = {}
    for number, label in enumerate(LABELS):
        at_specificity = metrics.threshold_at_specificity(
            truth[:, number], scores[:, number], specificity
        )
        at_sensitivity = metrics.threshold_at_sensitivity(
            truth[:, number], scores[:, number], sensitivity
        )
        if math.isnan(at_specificity) or math.isnan(at_sensitivity):
            continue
        reached = metrics.rates(truth[:, number], scores[:, number], at_specificity)
        points[label] = {
            "threshold": round(at_specificity, 6),
            "sensitivity": round(reached[0], 4),
            "specificity": round(reached[1], 4),
            f"threshold_at_sensitivity_{sensitivity}": round(at_sensitivity, 6),
        }
    return points


def conformal_thresholds(scores: Floats, truth: Floats, coverage: float = 0.9) -> dict[str, float]:
    """Per label the threshold of a prediction set that holds a label which is there with at least
    `coverage` (class-conditional split conformal, Vovk 2012); 0 where positives are too few."""
    out = {}
    for number, label in enumerate(LABELS):
        positives = np.sort(scores[truth[:, number] > 0.5, number])
        place = math.floor((positives.size + 1) * (1 - coverage))
        out[label] = round(float(positives[place - 1]), 6) if place >= 1 else 0.0
    return out

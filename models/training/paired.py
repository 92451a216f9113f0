"""Two blends of finished runs on the same held-out films: which ranks better, and is it more than
noise. Looks at validation answers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training import metrics
from models.training.finished import OutOfFold, out_of_fold
from models.training.records import LABELS, TrainingError

Floats = NDArray[np.float64]
#: Draws of patients with replacement.
ROUNDS = 1000


@dataclass(frozen=True)
class Paired:
    """Mean AUC of both on the same films, and the second minus the first: 95 % interval by patient
    and the share of draws in which it is above 0."""

    first: float
    second: float
    low: float
    high: float
    above: float
    films: int
    patients: int

    def __str__(self) -> str:
        return (
            f"{self.first:.4f} and {self.second:.4f} on {self.films} films of {self.patients} "
            f"patients; difference {self.second - self.first:.4f} ({self.low:.4f} to "
            f"{self.high:.4f}), above 0 in {self.above:.1%} of {ROUNDS} draws of patients"
        )


def shares_of(text: str) -> dict[str, float]:
    """'ridge=0.65,yolov5n=0.35' → shares by run; TrainingError says what is wrong."""
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.strip().partition("=")
        try:
            shares[name] = float(share or 1)
        except ValueError:
            raise TrainingError(f"{part.strip()!r} is not RUN=SHARE") from None
    if not all(shares) or abs(sum(shares.values()) - 1) > 1e-6:
        raise TrainingError(f"{text!r}: the shares of named runs must add up to 1")
    return shares


def blended(runs: Path, shares: Mapping[str, float], folds: Sequence[int]) -> OutOfFold:
    """The runs' held-out logits, each label brought to mean 0 and spread 1, by their shares."""
    parts = {name: out_of_fold(runs / name, folds) for name in shares}
    first = next(iter(parts.values()))
    if other := [name for name, part in parts.items() if part.names != first.names]:
        raise TrainingError(f"run {other[0]} answered other films: give all runs the same split")
    logits = sum(
        shares[name] * (part.logits - part.logits.mean(axis=0)) / part.logits.std(axis=0)
        for name, part in parts.items()
    )
    return OutOfFold(first.names, np.asarray(logits), first.truth, first.folds)


def compare(first: OutOfFold, second: OutOfFold, patients: Mapping[str, str]) -> Paired:
    """Both on the same films; `patients` by film name."""
    if first.names != second.names:
        raise TrainingError("both sides must have answered the same films")
    both = np.concatenate([first.logits, second.logits], axis=1)
    count = len(LABELS)

    def gain(truth: Floats, scores: Floats) -> float:
        before = metrics.mean_auc(truth, scores[:, :count])
        return metrics.mean_auc(truth, scores[:, count:]) - before

    owners = [patients[name] for name in first.names]
    values = np.asarray(metrics.resampled(gain, first.truth, both, owners, ROUNDS, seed=0))
    low, high = np.percentile(values, [2.5, 97.5])
    return Paired(
        metrics.mean_auc(first.truth, first.logits),
        metrics.mean_auc(second.truth, second.logits),
        float(low),
        float(high),
        float((values > 0).mean()),
        len(first.names),
        len(set(owners)),
    )

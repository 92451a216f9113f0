"""Figures of merit with their uncertainty: numpy only, no torch, no I/O.

Intervals are percentile bootstraps over patients, not films, because films of one patient
are not independent.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def auc(truth: Floats, score: Floats) -> float:
    """Area under the ROC curve (rank statistic, ties count half); NaN if one class is missing."""
    known = ~np.isnan(truth)
    truth, score = truth[known], score[known]
    positives = int((truth > 0.5).sum())
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2.0)[inverse]
    rank_sum = float(ranks[truth > 0.5].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def average_precision(truth: Floats, score: Floats) -> float:
    """Area under the precision-recall curve as a step sum; NaN without a positive."""
    known = ~np.isnan(truth)
    positive, score = truth[known] > 0.5, score[known]
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    positive, score = positive[order], score[order]
    ends = np.r_[np.nonzero(np.diff(score))[0], score.size - 1]
    hits = np.cumsum(positive)[ends]
    precision = hits / (ends + 1)
    recall = hits / positive.sum()
    return float(np.sum(np.diff(np.r_[0.0, recall]) * precision))


def threshold_at_specificity(truth: Floats, score: Floats, specificity: float) -> float:
    """Smallest threshold t for which `score >= t` is false on at least that share of negatives."""
    negatives = np.sort(score[(truth < 0.5) & ~np.isnan(truth)])
    if negatives.size == 0:
        return float("nan")
    rank = min(int(np.ceil(specificity * negatives.size)), negatives.size)
    if rank == 0:
        return float(negatives[0])
    return float(np.nextafter(negatives[rank - 1], np.inf))


def threshold_at_sensitivity(truth: Floats, score: Floats, sensitivity: float) -> float:
    """Largest threshold t for which `score >= t` holds for at least that share of positives."""
    positives = np.sort(score[truth > 0.5])[::-1]
    if positives.size == 0:
        return float("nan")
    rank = max(int(np.ceil(sensitivity * positives.size)), 1)
    return float(positives[rank - 1])


def rates(truth: Floats, score: Floats, threshold: float) -> tuple[float, float]:
    """(sensitivity, specificity) of the rule `score >= threshold`."""
    positive, negative = truth > 0.5, truth < 0.5
    called = score >= threshold
    sensitivity = float(called[positive].mean()) if positive.any() else float("nan")
    specificity = float((~called[negative]).mean()) if negative.any() else float("nan")
    return sensitivity, specificity


def sensitivity_at_specificity(truth: Floats, score: Floats, specificity: float = 0.9) -> float:
    """Sensitivity at the threshold that leaves that share of the negatives uncalled."""
    return rates(truth, score, threshold_at_specificity(truth, score, specificity))[0]


def ece(truth: Floats, probability: Floats, bins: int = 10) -> float:
    """Expected calibration error over equal-mass bins (Nixon et al. 2019, adaptive ECE)."""
    known = ~np.isnan(truth)
    truth, probability = truth[known], probability[known]
    if truth.size == 0:
        return float("nan")
    order = np.argsort(probability, kind="stable")
    gaps = [
        (abs(float(truth[part].mean() - probability[part].mean())), part.size)
        for part in np.array_split(order, bins)
        if part.size
    ]
    return sum(gap * size for gap, size in gaps) / truth.size


def mean_auc(truth: Floats, score: Floats) -> float:
    """Mean of the per-label AUCs that exist; both arrays (films, labels)."""
    values = [auc(truth[:, k], score[:, k]) for k in range(truth.shape[1])]
    finite = [value for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")


def mean_ece(truth: Floats, probability: Floats) -> float:
    """Mean of the per-label ECEs; both arrays (films, labels)."""
    return float(np.nanmean([ece(truth[:, k], probability[:, k]) for k in range(truth.shape[1])]))


def resampled(
    figure: Callable[[Floats, Floats], float],
    truth: Floats,
    score: Floats,
    patients: list[str],
    rounds: int,
    seed: int,
) -> list[float]:
    """The figure on `rounds` draws of patients with replacement, where it exists."""
    _, group = np.unique(np.asarray(patients), return_inverse=True)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = generator.integers(0, len(members), len(members))
        rows = np.concatenate([members[i] for i in drawn])
        value = figure(truth[rows], score[rows])
        if not np.isnan(value):
            values.append(value)
    return values


def bootstrap(
    figure: Callable[[Floats, Floats], float],
    truth: Floats,
    score: Floats,
    patients: list[str],
    rounds: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of `figure` when patients are drawn with replacement."""
    values = resampled(figure, truth, score, patients, rounds, seed)
    if not values:
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def spread_interval(
    figure: Callable[[Floats, Floats], float],
    truth: Floats,
    score: Floats,
    patients: list[str],
    rounds: int = 300,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % interval of a figure from the spread of its resampled values about their mean.

    For ECE, which rises in every resample (ties make bins noisier), so that percentiles of the
    resampled values need not even contain the figure itself.
    """
    values = resampled(figure, truth, score, patients, rounds, seed)
    if len(values) < 2:
        return float("nan"), float("nan")
    middle, reach = figure(truth, score), 1.96 * float(np.std(values))
    return max(middle - reach, 0.0), middle + reach

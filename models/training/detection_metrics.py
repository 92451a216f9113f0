"""How good boxes are: average precision, FROC and the pointing game. numpy only.

Films without a box count: a box on one of them is a false positive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
IOUS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2))
#: False positives per film at which ChestX-Det10's organisers take the recall.
FROC_RATES = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class FilmBoxes:
    """One film: true boxes (T, 4), found boxes (F, 4) as x0 y0 x1 y1, and their scores (F,)."""

    true: Floats
    found: Floats
    scores: Floats


def iou(left: Floats, right: Floats) -> Floats:
    """Intersection over union of every pair, (L, R)."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area_left = (left[:, 2:] - left[:, :2]).prod(axis=1)
    area_right = (right[:, 2:] - right[:, :2]).prod(axis=1)
    union = area_left[:, None] + area_right[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), dtype=np.float64)


def _matches(films: Sequence[FilmBoxes], least_iou: float) -> tuple[Floats, NDArray[np.bool_], int]:
    """Scores of all found boxes, best first, whether each hits, and the number of true boxes.

    Greedy as COCO and VOC do it: the best-scored box takes the free true box it overlaps most.
    """
    scores, hits, true = [], [], 0
    for film in films:
        true += len(film.true)
        order = np.argsort(-film.scores, kind="stable")
        free = np.ones(len(film.true), dtype=bool)
        overlap = iou(film.found[order], film.true) if len(film.true) else None
        for number, index in enumerate(order):
            hit = False
            if overlap is not None and free.any():
                best = int(np.argmax(np.where(free, overlap[number], -1.0)))
                if overlap[number, best] >= least_iou:
                    free[best], hit = False, True
            scores.append(film.scores[index])
            hits.append(hit)
    ranked = np.argsort(-np.asarray(scores), kind="stable")
    return np.asarray(scores)[ranked], np.asarray(hits, dtype=bool)[ranked], true


@dataclass(frozen=True)
class LabelledBoxes:
    """One film: true boxes (T, 4) with label numbers (T,), found boxes (F, 4) with theirs, best
    first."""

    true: Floats
    true_labels: NDArray[np.intp]
    found: Floats
    found_labels: NDArray[np.intp]


def confusion(
    films: Sequence[LabelledBoxes], labels: int, least_iou: float = 0.5
) -> NDArray[np.intp]:
    """Counts (labels + 1, labels + 1) of true label by found label; the last row counts found
    boxes where there is none, the last column true boxes that were missed."""
    table = np.zeros((labels + 1, labels + 1), dtype=np.intp)
    for film in films:
        free = np.ones(len(film.true), dtype=bool)
        overlap = iou(film.found, film.true)
        for number, label in enumerate(film.found_labels):
            best = int(np.argmax(np.where(free, overlap[number], -1.0))) if free.any() else -1
            if best >= 0 and overlap[number, best] >= least_iou:
                free[best] = False
                table[film.true_labels[best], label] += 1
            else:
                table[labels, label] += 1
        for label in film.true_labels[free]:
            table[label, labels] += 1
    return table


def average_precision(films: Sequence[FilmBoxes], least_iou: float = 0.5) -> float:
    """COCO's 101-point interpolated average precision; NaN without a true box."""
    _, hits, true = _matches(films, least_iou)
    if true == 0:
        return float("nan")
    if hits.size == 0:
        return 0.0
    found = np.cumsum(hits)
    recall = found / true
    precision = found / np.arange(1, hits.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean([envelope[p] if p < hits.size else 0.0 for p in places]))


def mean_average_precision(films: Sequence[FilmBoxes]) -> float:
    """mAP50-95: the mean of `average_precision` over IoU 0.50, 0.55 … 0.95."""
    return float(np.mean([average_precision(films, least) for least in IOUS]))


def froc(
    films: Sequence[FilmBoxes], rates: Sequence[float] = FROC_RATES, least_iou: float = 0.5
) -> dict[float, float]:
    """Recall at each number of false positives per film (all films counted)."""
    scores, hits, true = _matches(films, least_iou)
    if true == 0:
        return {rate: float("nan") for rate in rates}
    false = np.cumsum(~hits) / max(len(films), 1)
    recall = np.cumsum(hits) / true
    # a threshold admits all boxes of one score at once
    ends = np.r_[np.nonzero(np.diff(scores))[0], scores.size - 1] if scores.size else []
    return {
        rate: max((float(recall[end]) for end in ends if false[end] <= rate), default=0.0)
        for rate in rates
    }


def threshold_at_false_positives(
    films: Sequence[FilmBoxes], rate: float, least_iou: float = 0.5
) -> float:
    """Lowest score that keeps false positives per film at or under `rate`."""
    scores, hits, _ = _matches(films, least_iou)
    false = np.cumsum(~hits) / max(len(films), 1)
    good = np.nonzero(false <= rate)[0]
    if good.size == 0:
        return 1.0
    last = int(good[-1])
    if last + 1 < scores.size and scores[last + 1] == scores[last]:
        return float(np.nextafter(scores[last], 1.0))
    return float(scores[last])


@dataclass(frozen=True)
class Summary:
    """Figures of some films: means over the labels that have a true box there."""

    map50: float
    map50_95: float
    froc: dict[float, float]
    boxes: int

    def as_dict(self) -> dict[str, object]:
        """The figures with four decimals, as a run's result.json holds them."""
        return {
            "map50": round(self.map50, 4),
            "map50_95": round(self.map50_95, 4),
            "froc": {str(rate): round(value, 4) for rate, value in self.froc.items()},
            "validation_boxes": self.boxes,
        }


def summary(per_label: Mapping[str, Sequence[FilmBoxes]]) -> Summary:
    """Average precision and recall per label, then their means; NaN without a true box at all."""
    counted = {label: sum(len(film.true) for film in films) for label, films in per_label.items()}
    there = [per_label[label] for label, count in counted.items() if count]
    if not there:
        nothing = float("nan")
        return Summary(nothing, nothing, dict.fromkeys(FROC_RATES, nothing), 0)
    recalls = [froc(films) for films in there]
    return Summary(
        float(np.mean([average_precision(films) for films in there])),
        float(np.mean([mean_average_precision(films) for films in there])),
        {rate: float(np.mean([recall[rate] for recall in recalls])) for rate in FROC_RATES},
        sum(counted.values()),
    )


def pointing_game(cams: Sequence[Floats], boxes: Sequence[Floats]) -> float:
    """Share of films on which the map's peak lies in a true box; boxes in [0, 1] of the film."""
    hits = []
    for cam, true in zip(cams, boxes, strict=True):
        y, x = np.unravel_index(int(np.argmax(cam)), cam.shape)
        at_x, at_y = (x + 0.5) / cam.shape[1], (y + 0.5) / cam.shape[0]
        inside = (true[:, 0] <= at_x) & (at_x <= true[:, 2])
        hits.append(bool((inside & (true[:, 1] <= at_y) & (at_y <= true[:, 3])).any()))
    return float(np.mean(hits)) if hits else float("nan")

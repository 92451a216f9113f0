"""Figures of a shipped weight on any films, through the path that serving uses.

Prints a table, writes figures.json, plots as PNG and one HTML report. Reads labels, trains
nothing, chooses nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models import xray
from models.card import ModelCard
from models.classifier import Classifier
from models.detector import Detector
from models.operating import Operating
from models.training import detection_metrics, metrics
from models.training.records import LABELS, Film, TrainingError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelFigures:
    """One label on one set of films; intervals are 95 %, bootstrapped by patient."""

    label: str
    positives: int
    negatives: int
    auc: float
    auc_low: float
    auc_high: float
    average_precision: float
    sensitivity_at_specificity_0_9: float
    sensitivity_at_threshold: float
    specificity_at_threshold: float
    ece: float


@dataclass(frozen=True)
class Figures:
    """All figures of a classifier, and of a detector if boxes were given."""

    films: int
    patients: int
    labels: tuple[LabelFigures, ...]
    mean_auc: float
    mean_auc_low: float
    mean_auc_high: float
    mean_ece: float
    mean_ece_low: float
    mean_ece_high: float
    boxes: dict[str, Any] | None = None
    pointing: dict[str, Any] | None = None
    prediction_set: dict[str, Any] | None = None


def judge_sets(operating: Operating, scores: Floats, films: list[Film]) -> dict[str, Any] | None:
    """How many findings that are there lie in the prediction sets, and how large those are."""
    there = found = size = 0
    coverage = 0.0
    for row, film in zip(scores, films, strict=True):
        given = operating.prediction_set(dict(zip(LABELS, map(float, row), strict=True)))
        if given is None:
            return None
        present = {label for label, value in zip(LABELS, film.labels, strict=True) if value > 0.5}
        there += len(present)
        found += len(present & set(given.labels))
        size += len(given.labels)
        coverage = given.coverage
    return {
        "coverage": coverage,
        "there": there,
        "found": found,
        "mean_size": size / max(len(films), 1),
    }


def scores_of(classifier: Classifier, films: list[Film]) -> Floats:
    """Served scores (N, 14) in the order of LABELS."""
    if classifier.card.labels != LABELS:
        raise TrainingError(f"{classifier.card.name} does not answer the 14 NIH labels")
    rows = []
    for film in tqdm(films, desc="classifying", unit="film"):
        answer = classifier.read(pixels_of(film)).scores
        rows.append([answer[label] for label in LABELS])
    return np.asarray(rows, dtype=np.float64)


def pixels_of(film: Film) -> xray.Pixels:
    try:
        return xray.decode(film.path.read_bytes()).pixels
    except (xray.UnreadableFilm, OSError) as error:
        raise TrainingError(f"{film.path} cannot be read: {error}") from None


def judge(
    scores: Floats, films: list[Film], thresholds: dict[str, float], rounds: int = 1000
) -> Figures:
    """Figures of scores (N, 14) against the films' labels."""
    truth = np.asarray([film.labels for film in films], dtype=np.float64)
    patients = [film.patient_id for film in films]
    out = []
    for k, label in enumerate(LABELS):
        column, score = truth[:, k], scores[:, k]
        area = metrics.auc(column, score)
        low, high = (math.nan, math.nan)
        if not math.isnan(area):
            low, high = metrics.bootstrap(metrics.auc, column, score, patients, rounds)
        reached = metrics.rates(column, score, thresholds[label])
        out.append(
            LabelFigures(
                label,
                int(np.nansum(column > 0.5)),
                int(np.nansum(column < 0.5)),
                area,
                low,
                high,
                metrics.average_precision(column, score),
                metrics.sensitivity_at_specificity(column, score),
                *reached,
                metrics.ece(column, score),
            )
        )
    interval = metrics.bootstrap(metrics.mean_auc, truth, scores, patients, rounds)
    ece_interval = metrics.spread_interval(metrics.mean_ece, truth, scores, patients, rounds // 3)
    return Figures(
        len(films),
        len(set(patients)),
        tuple(out),
        metrics.mean_auc(truth, scores),
        *interval,
        metrics.mean_ece(truth, scores),
        *ece_interval,
    )


def judge_boxes(detector: Detector, films: list[Film]) -> dict[str, Any]:
    """mAP50, mAP50-95 and recall at 0.05 / 0.1 / 0.2 false positives per film, all films that
    were read for boxes counted."""
    from models.training.train_detector import boxed, read_boxes

    chosen = boxed(films, detector.card.labels)
    per_label: dict[str, Any] = {}
    for label in detector.card.labels:
        measured = read_boxes(detector, chosen, label)
        per_label[label] = {
            "true_boxes": sum(len(film.true) for film in measured),
            "map50": detection_metrics.average_precision(measured),
            "map50_95": detection_metrics.mean_average_precision(measured),
            "recall_at_false_positives_per_film": {
                str(rate): value for rate, value in detection_metrics.froc(measured).items()
            },
        }
    return {
        "films": len(chosen),
        "films_without_box": sum(1 for film in chosen if not film.boxes),
        "labels": per_label,
        "confusion": {
            "labels": [*detector.card.labels, "none"],
            "true_by_found": box_confusion(detector, chosen).tolist(),
            "note": "at the served thresholds, IoU 0.5; last row: false, last column: missed",
        },
        "map50": float(np.nanmean([item["map50"] for item in per_label.values()])),
        "map50_95": float(np.nanmean([item["map50_95"] for item in per_label.values()])),
    }


def box_confusion(detector: Detector, films: list[Film]) -> NDArray[np.intp]:
    """True label by found label (and missed, and false) at the thresholds that serve."""
    from models.training.train_detector import label_of

    labels = detector.card.labels
    measured = []
    for film in films:
        true = [(box, label_of(box.label, labels)) for box in film.boxes]
        known = [(box, label) for box, label in true if label is not None]
        found = detector.read(pixels_of(film)).boxes
        measured.append(
            detection_metrics.LabelledBoxes(
                np.array([(b.x0, b.y0, b.x1, b.y1) for b, _ in known]).reshape(-1, 4),
                np.array([label for _, label in known], dtype=np.intp),
                np.array([(b.x0, b.y0, b.x1, b.y1) for b in found]).reshape(-1, 4),
                np.array([labels.index(b.label) for b in found], dtype=np.intp),
            )
        )
    return detection_metrics.confusion(measured, len(labels))


def point(classifier: Classifier, films: list[Film]) -> dict[str, Any]:
    """Pointing game (Zhang et al. 2016): how often a label's map peaks inside its true box.

    Boxes that are no NIH label are opacities and are looked for on the map of Pneumonia. `chance`
    is the mean share of the film that the boxes cover.
    """
    cams, boxes, covered = [], [], []
    for film in tqdm([film for film in films if film.boxes], desc="pointing", unit="film"):
        pixels = pixels_of(film)
        height, width = pixels.shape
        answer = classifier.read(pixels).cams
        if answer is None:
            return {}
        wanted: dict[str, list[tuple[float, float, float, float]]] = {}
        for box in film.boxes:
            label = box.label if box.label in LABELS else "Pneumonia"
            corners = (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
            wanted.setdefault(label, []).append(corners)
        for label, corners_of in wanted.items():
            cams.append(np.asarray(answer[label], dtype=np.float64))
            boxes.append(np.asarray(corners_of, dtype=np.float64))
            share = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in corners_of)
            covered.append(min(share, 1.0))
    return {
        "hits": detection_metrics.pointing_game(cams, boxes),
        "chance": float(np.mean(covered)),
        "maps": len(cams),
    }


def table(figures: Figures) -> str:
    """The figures as lines of text."""
    lines = [
        f"{'label':20s} {'pos':>5s} {'neg':>5s} {'AUC':>6s} {'95 % interval':>15s} "
        f"{'AUPRC':>6s} {'sens@.9':>7s} {'ECE':>6s}"
    ]
    for row in figures.labels:
        lines.append(
            f"{row.label:20s} {row.positives:5d} {row.negatives:5d} {row.auc:6.3f} "
            f"{row.auc_low:7.3f}-{row.auc_high:.3f} {row.average_precision:8.3f} "
            f"{row.sensitivity_at_specificity_0_9:7.3f} {row.ece:6.3f}"
        )
    lines.append(
        f"mean AUC {figures.mean_auc:.4f} ({figures.mean_auc_low:.4f}-{figures.mean_auc_high:.4f})"
        f", mean ECE {figures.mean_ece:.4f} ({figures.mean_ece_low:.4f}-"
        f"{figures.mean_ece_high:.4f}), {figures.films} films of {figures.patients} patients"
    )
    if figures.boxes:
        recall = ", ".join(
            f"{label}: "
            + " ".join(
                f"{value:.3f}@{rate}"
                for rate, value in item["recall_at_false_positives_per_film"].items()
            )
            for label, item in figures.boxes["labels"].items()
        )
        lines.append(
            f"boxes: mAP50 {figures.boxes['map50']:.4f}, mAP50-95 "
            f"{figures.boxes['map50_95']:.4f}, recall at false positives per film {recall}, "
            f"{figures.boxes['films']} films, {figures.boxes['films_without_box']} without a box"
        )
        counts = np.asarray(figures.boxes["confusion"]["true_by_found"])
        lines.append(
            f"boxes at the served thresholds, IoU 0.5: {int(np.trace(counts))} found with their "
            f"label, {int(counts[:-1, -1].sum())} missed, {int(counts[-1].sum())} false"
        )
    if figures.prediction_set:
        given = figures.prediction_set
        lines.append(
            f"prediction set: {given['found']} of {given['there']} findings that are there are in "
            f"it ({given['found'] / max(given['there'], 1):.1%}, stated {given['coverage']:.0%}), "
            f"{given['mean_size']:.1f} of {len(LABELS)} labels on average"
        )
    if figures.pointing:
        lines.append(
            f"pointing game: {figures.pointing['hits']:.3f} of {figures.pointing['maps']} maps "
            f"peak in a true box, by chance {figures.pointing['chance']:.3f}"
        )
    return "\n".join(lines)


def by_source(scores: Floats, films: list[Film]) -> dict[str, tuple[int, float]]:
    """(films, mean AUC) of every source with two films or more: label and source may be tied."""
    truth = np.asarray([film.labels for film in films], dtype=np.float64)
    out = {}
    for source in sorted({film.source for film in films if film.source}):
        rows = np.array([film.source == source for film in films])
        if rows.sum() > 1:
            out[source] = (int(rows.sum()), metrics.mean_auc(truth[rows], scores[rows]))
    return out


def evaluate(
    films: list[Film],
    classifier_card: ModelCard,
    detector_card: ModelCard | None = None,
    threads: int = 2,
    rounds: int = 1000,
) -> tuple[Figures, Floats]:
    """Figures and served scores of a classifier (and a detector when films have boxes)."""
    classifier = Classifier(classifier_card, threads=threads)
    scores = scores_of(classifier, films)
    figures = judge(scores, films, dict(classifier_card.thresholds), rounds)
    figures = replace(figures, prediction_set=judge_sets(classifier.operating, scores, films))
    if any(film.boxes for film in films):
        figures = replace(figures, pointing=point(classifier, films))
        if detector_card is not None:
            boxes = judge_boxes(Detector(detector_card, threads=threads), films)
            figures = replace(figures, boxes=boxes)
    return figures, scores


def write_json(figures: Figures, path: Path) -> None:
    """Figures as JSON; what does not exist is null."""

    def clean(value: Any) -> Any:
        if isinstance(value, float):
            return None if math.isnan(value) else round(value, 5)
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [clean(item) for item in value]
        return value

    path.write_text(json.dumps(clean(asdict(figures)), indent=1) + "\n")

"""Classifier runs → a weight that serves: ensemble or blend, calibration, thresholds, ONNX, parity,
card, and the runs kept beside it. Looks at validation films only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from models import card as cards
from models.training import calibrate, export_onnx, metrics, pixels
from models.training.blend import Ensemble, RidgePart, blend
from models.training.config import ClassifierConfig, read_config
from models.training.finished import members, out_of_fold
from models.training.provenance import ATTRIBUTION, NOT_FOR, RECORDS, interval, keep_run, licence
from models.training.readers import read_plain
from models.training.records import LABELS, Film


def ship(
    run: Path,
    folds: Sequence[int],
    name: str,
    version: str,
    data: Path,
    runs: Path,
    weights: Path = cards.WEIGHTS,
    records: Path = RECORDS,
    ridge: RidgePart | None = None,
) -> cards.ModelCard:
    """Write weights/<name>/{model.onnx,card.json} from the named folds of a run, blended with a
    ridge run's head if one is named."""
    config = read_config(run / f"fold{folds[0]}" / "config.yaml", ClassifierConfig)
    held = out_of_fold(run, folds)
    networks = members(run, folds, config)
    network: nn.Module = Ensemble(networks)
    architecture = f"{config.backbone}, mean and max pooling" + (
        f", mean of {len(folds)} networks" if len(folds) > 1 else ""
    )
    started = "YOLOv5n's COCO weights (ultralytics, AGPL-3.0)" if config.init else "random weights"
    if ridge is not None:
        blended = blend(networks, held, folds, config.size_px, ridge)
        network, held = blended.network, blended.held
        trunks = blended.config.trunks.replace("@", " at ")
        architecture += (
            f"; blended {1 - ridge.share:g} to {ridge.share:g} with ridge regression on frozen "
            f"lower blocks of {trunks} px (maps: of the former alone)"
        )
        started += f" and, left as they are, those of {blended.config.init} (Apache-2.0)"
    films = {film.name: film for film in read_plain(data)}
    chosen = [films[film] for film in held.names]
    patients = [film.patient_id for film in chosen]
    calibration = calibrate.fit(held.logits, held.truth)
    parts = held.folds if len(folds) > 1 else _halves(chosen)
    honest = calibrate.cross_fitted(held.logits, held.truth, parts)
    scores = calibrate.apply(calibration, held.logits)
    points = calibrate.operating_points(scores, held.truth)
    folder = weights / name
    export_onnx.export(network, config.size_px, folder / "model.onnx")
    sample = pixels.load(chosen[:: max(1, len(chosen) // 48)][:48], config.size_px, runs / "cache")
    parity = export_onnx.check(network, folder / "model.onnx", sample)
    area = metrics.mean_auc(held.truth, held.logits)
    measured_on = (
        f"{len(chosen)} validation films of {len(set(patients))} patients, each scored by a "
        f"network that saw neither film nor patient ({len(folds)} fold(s)), positives enriched"
    )
    prevalence = {
        label: round(float(np.nanmean(held.truth[:, k])), 4) for k, label in enumerate(LABELS)
    }
    per_label = {}
    for k, label in enumerate(LABELS):
        value = metrics.auc(held.truth[:, k], held.logits[:, k])
        if math.isnan(value):
            continue
        low_high = metrics.bootstrap(
            metrics.auc, held.truth[:, k], held.logits[:, k], patients, rounds=500
        )
        per_label[label] = {"auc": round(value, 4), "auc_95": [round(v, 4) for v in low_high]}
    thresholds = {label: points[label]["threshold"] if label in points else 1.0 for label in LABELS}
    card = cards.ModelCard(
        name=name,
        kind=cards.ModelKind.CLASSIFY,
        architecture=architecture,
        version=version,
        labels=LABELS,
        input=cards.InputSpec(config.size_px, 1, (0.0,), (1.0,), cards.Fit.STRETCH),
        thresholds=thresholds,
        calibration=calibration,
        score_kind=cards.ScoreKind.SCORE,
        data=(
            "1,289 frontal films of NIH ChestX-ray14 with text-mined labels, enriched with "
            "positives; patient-wise stratified split, a fifth of the patients kept out for the "
            "final test"
            + (
                "; soft targets from a public DenseNet-121 (jrzech/reproduce-chexnet) on films it "
                "was not trained on"
                if config.teacher and config.teacher_share > 0
                else ""
            )
            + f"; started from {started}"
            + ". Scores are calibrated to the prevalence in figures.prevalence, not to a site's."
        ),
        licence=licence("Started from ultralytics' AGPL-3.0 weights." if config.init else ""),
        attribution=ATTRIBUTION,
        figures={
            "validation": {
                "mean_auc": interval(
                    area, metrics.bootstrap(metrics.mean_auc, held.truth, held.logits, patients)
                ),
                "mean_ece": interval(
                    metrics.mean_ece(held.truth, honest),
                    metrics.spread_interval(metrics.mean_ece, held.truth, honest, patients),
                ),
                "labels": per_label,
                "measured_on": measured_on,
                "ece_note": "calibrated on the other folds than the one measured",
            },
            "operating_points": {
                "specificity": 0.9,
                "labels": points,
                "measured_on": "the same validation films that set the thresholds",
            },
            "conformal_set": {
                "coverage": 0.9,
                "thresholds": calibrate.conformal_thresholds(scores, held.truth),
                "note": "a label that is there is in the set with this probability, on films like "
                "the validation films; 0: too few positives to leave the label out",
            },
            "prevalence": prevalence,
            "onnx_parity": asdict(parity) | {"measured_on": "validation films"},
            "run": {"seed": config.seed, "folds": list(folds), "size_px": config.size_px},
        },
        intended_use="Research and demonstration of routing on chest X-ray findings.",
        not_for=NOT_FOR,
    )
    finished = cards.write(card, folder)
    keep_run(run, folds, records / name)
    if ridge is not None:
        keep_run(ridge.run, folds, records / name / "ridge")
    return finished


def _halves(films: list[Film]) -> list[NDArray[np.intp]]:
    """Two patient-wise halves of one fold's films, for an honest calibration figure."""
    patients = sorted({film.patient_id for film in films})
    side = {patient: number % 2 for number, patient in enumerate(patients)}
    marks = np.array([side[film.patient_id] for film in films])
    return [np.nonzero(marks == 0)[0], np.nonzero(marks == 1)[0]]

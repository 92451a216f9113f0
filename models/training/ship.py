"""Runs → a weight that serves: ensemble, calibration, thresholds, ONNX, parity, card, and the
run's YAML, log and result beside them. Looks at validation films only."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from models import card as cards
from models.training import calibrate, checkpoint, export_onnx, metrics, pixels
from models.training.backbones import FilmReader, build
from models.training.config import ClassifierConfig, RidgeConfig, read_config
from models.training.detection_metrics import (
    FROC_RATES,
    FilmBoxes,
    summary,
    threshold_at_false_positives,
)
from models.training.evaluate import Figures
from models.training.readers import read_plain
from models.training.records import LABELS, Film, TrainingError
from models.training.train_ridge import reader_of

LICENCE = (
    "Non-commercial research only, because the terms of the training data (NIH ChestX-ray14, "
    "RSNA 2018 annotations) allow no more. {extra}The code around them is AGPL-3.0-or-later."
)
ATTRIBUTION = (
    "Films: NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017). Lung-opacity boxes: "
    "RSNA Pneumonia Detection Challenge 2018 (Shih et al., Radiology: AI 2019)."
)
NOT_FOR = "Research software, not a medical device: not for diagnosis."
#: False positives per film that a served box threshold allows, on validation films.
BOX_FALSE_POSITIVES = 0.2


@dataclass(frozen=True)
class OutOfFold:
    """Validation answers of the folds of one run, put together."""

    names: list[str]
    logits: NDArray[np.float64]
    truth: NDArray[np.float64]
    folds: list[NDArray[np.intp]]


def out_of_fold(run: Path, folds: list[int]) -> OutOfFold:
    """Every film's logits from the network that never saw it."""
    names, logits, truth, rows, start = [], [], [], [], 0
    for fold in folds:
        path = run / f"fold{fold}" / "validation.npz"
        if not path.exists():
            raise TrainingError(f"{path} is missing: finish fold {fold} of this run first")
        with np.load(path) as saved:
            names += [str(name) for name in saved["names"]]
            logits.append(saved["logits"])
            truth.append(saved["truth"])
        rows.append(np.arange(start, start + len(logits[-1])))
        start += len(logits[-1])
    return OutOfFold(names, np.concatenate(logits), np.concatenate(truth), rows)


def members(run: Path, folds: list[int], config: ClassifierConfig) -> list[FilmReader]:
    """The averaged weights of each fold's network."""
    out = []
    for fold in folds:
        saved = checkpoint.load(run / f"fold{fold}" / "last.pt")
        if saved is None:
            raise TrainingError(f"fold {fold} of {run} has no checkpoint")
        model = build(config.backbone, None, config.dropout)
        model.load_state_dict(saved["ema"])
        out.append(model.eval())
    return out


@dataclass(frozen=True)
class RidgePart:
    """A finished ridge run that is blended with fold networks, and its share of the score."""

    run: Path
    share: float


@dataclass(frozen=True)
class Blended:
    """The network of a blend, its held-out answers, and the ridge run's configuration."""

    network: nn.Module
    held: OutOfFold
    config: RidgeConfig


def blend(
    networks: list[FilmReader], held: OutOfFold, folds: list[int], size_px: int, part: RidgePart
) -> Blended:
    """Fold networks and the ridge head as one network; TrainingError if they do not belong
    together."""
    config = read_config(part.run / "fold0" / "config.yaml", RidgeConfig)
    saved = checkpoint.load(part.run / "all" / "head.pt")
    other = out_of_fold(part.run, folds)
    if saved is None:
        raise TrainingError(f"{part.run} holds no head: run 'goldentime train ridge' first")
    if config.size_px != size_px:
        raise TrainingError(f"{part.run} sees {config.size_px} px, the networks {size_px} px")
    if other.names != held.names:
        raise TrainingError(f"{part.run} was run on another split or other films: run it again")
    reader = reader_of(config, None)
    reader.load_state_dict(saved["ema"])
    center, spread = held.logits.mean(axis=0), held.logits.std(axis=0)
    network = export_onnx.Blend(
        export_onnx.Ensemble(networks),
        reader,
        part.share,
        torch.tensor(center, dtype=torch.float32),
        torch.tensor(spread, dtype=torch.float32),
    )
    logits = (1 - part.share) * (held.logits - center) / spread + part.share * other.logits
    return Blended(network, replace(held, logits=logits), config)


def _interval(value: float, interval: tuple[float, float], digits: int = 4) -> dict[str, Any]:
    return {"value": round(value, digits), "interval_95": [round(v, digits) for v in interval]}


def _keep_run(run: Path, folds: list[int], record: Path) -> None:
    """Copy what repeats and documents the run: YAML, log and result of each fold."""
    for fold in folds:
        target = record / f"fold{fold}"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.yaml", "log.jsonl", "result.json"):
            if (run / f"fold{fold}" / name).exists():
                shutil.copyfile(run / f"fold{fold}" / name, target / name)


def ship_classifier(
    run: Path,
    folds: list[int],
    name: str,
    version: str,
    data: Path,
    runs: Path,
    weights: Path = cards.WEIGHTS,
    records: Path | None = None,
    ridge: RidgePart | None = None,
) -> cards.ModelCard:
    """Write weights/<name>/{model.onnx,card.json} from the named folds of a run, blended with a
    ridge run's head if one is named."""
    config = read_config(run / f"fold{folds[0]}" / "config.yaml", ClassifierConfig)
    held = out_of_fold(run, folds)
    networks = members(run, folds, config)
    network: nn.Module = export_onnx.Ensemble(networks)
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
        interval = metrics.bootstrap(
            metrics.auc, held.truth[:, k], held.logits[:, k], patients, rounds=500
        )
        per_label[label] = {"auc": round(value, 4), "auc_95": [round(v, 4) for v in interval]}
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
        licence=LICENCE.format(
            extra="Started from ultralytics' AGPL-3.0 weights. " if config.init else ""
        ),
        attribution=ATTRIBUTION,
        figures={
            "validation": {
                "mean_auc": _interval(
                    area, metrics.bootstrap(metrics.mean_auc, held.truth, held.logits, patients)
                ),
                "mean_ece": _interval(
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
            "run": {"seed": config.seed, "folds": folds, "size_px": config.size_px},
        },
        intended_use="Research and demonstration of routing on chest X-ray findings.",
        not_for=NOT_FOR,
    )
    finished = cards.write(card, folder)
    record = (records or Path(__file__).parent / "shipped") / name
    _keep_run(run, folds, record)
    if ridge is not None:
        _keep_run(ridge.run, folds, record / "ridge")
    return finished


def _halves(films: list[Film]) -> list[NDArray[np.intp]]:
    """Two patient-wise halves of one fold's films, for an honest calibration figure."""
    patients = sorted({film.patient_id for film in films})
    side = {patient: number % 2 for number, patient in enumerate(patients)}
    marks = np.array([side[film.patient_id] for film in films])
    return [np.nonzero(marks == 0)[0], np.nonzero(marks == 1)[0]]


def held_boxes(run: Path, fold: int, label: str) -> list[FilmBoxes]:
    """True and found boxes of a label on a fold's validation films, as its run stored them."""
    path = run / f"fold{fold}" / "validation.npz"
    if not path.exists():
        raise TrainingError(f"{path} is missing: finish fold {fold} of this run first")

    def array(text: str, width: int | None) -> NDArray[np.float64]:
        values = np.asarray(json.loads(text), dtype=np.float64)
        return values.reshape(-1, width) if width else values.reshape(-1)

    with np.load(path) as saved:
        parts = [saved[f"{part} {label}"] for part in ("true", "found", "scores")]
        return [
            FilmBoxes(array(str(t), 4), array(str(f), 4), array(str(s), None))
            for t, f, s in zip(*parts, strict=True)
        ]


def ship_detector(
    run: Path,
    folds: list[int],
    fold: int,
    name: str,
    version: str,
    weights: Path = cards.WEIGHTS,
    records: Path | None = None,
) -> cards.ModelCard:
    """Write weights/<name>/ with figures and thresholds from all `folds`: the network of `fold`,
    or that of all films where the run fitted one."""
    everything = (run / "all" / "card.json").exists()
    chosen = run / ("all" if everything else f"fold{fold}")
    source = cards.load(chosen)
    config = yaml.safe_load((chosen / "config.yaml").read_text())
    per_fold = [{x: held_boxes(run, number, x) for x in source.labels} for number in folds]
    thresholds = {
        label: threshold_at_false_positives(
            [film for held in per_fold for film in held[label]], BOX_FALSE_POSITIVES
        )
        for label in source.labels
    }
    figures = [summary(held) for held in per_fold]
    folder = weights / name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source.directory / source.file, folder / "model.onnx")
    films = [film for held in per_fold for film in zip(*held.values(), strict=True)]
    without = sum(1 for film in films if not any(len(label.true) for label in film))
    whose = (
        "fitted alike on all of these films, so that it has no such figure of its own"
        if everything
        else f"that of fold {fold}"
    )
    card = cards.ModelCard(
        **{
            **source.__dict__,
            "name": name,
            "version": version,
            "file": "model.onnx",
            "directory": folder,
            "thresholds": {label: round(value, 6) for label, value in thresholds.items()},
            "data": (
                "442 films of NIH ChestX-ray14 that radiologists read for the RSNA 2018 challenge "
                "or NIH boxed; Lung_Opacity and Pneumonia boxes are one class, films read as free "
                "of opacity are negatives; patient-wise split, a fifth of the patients kept out "
                f"for the final test; {source.data}"
            ),
            "licence": LICENCE.format(
                extra="Trained with and from ultralytics (AGPL-3.0). "
                if "ultralytics" in source.architecture
                else ""
            ),
            "attribution": ATTRIBUTION,
            "figures": {
                "validation": {
                    "map50": round(float(np.mean([item.map50 for item in figures])), 4),
                    "map50_by_fold": {
                        str(number): round(item.map50, 4)
                        for number, item in zip(folds, figures, strict=True)
                    },
                    "map50_95": round(float(np.mean([item.map50_95 for item in figures])), 4),
                    "recall_at_false_positives_per_film": {
                        str(rate): round(float(np.mean([item.froc[rate] for item in figures])), 4)
                        for rate in FROC_RATES
                    },
                    "measured_on": (
                        f"mean over {len(folds)} patient-wise validation fold(s), {len(films)} "
                        f"films, {without} of them without a box; the weight is {whose}"
                    ),
                },
                "threshold_rule": (
                    f"{BOX_FALSE_POSITIVES} false positives per film on those validation films"
                ),
                "run": {
                    "seed": config["seed"],
                    "fold": "all" if everything else fold,
                    "size_px": config["size_px"],
                },
            },
            "intended_use": "Research and demonstration: where to look on a chest X-ray.",
            "not_for": NOT_FOR,
        }
    )
    finished = cards.write(card, folder)
    _keep_run(run, folds, (records or Path(__file__).parent / "shipped") / name)
    return finished


def keep_evaluation(
    classifier: cards.ModelCard,
    detector: cards.ModelCard | None,
    figures: Figures,
    key: str,
    part: str,
) -> None:
    """Write the figures of an evaluation into the cards of the weights it judged."""
    measured_on = f"{figures.films} films of {figures.patients} patients ({part})"
    content = {
        "mean_auc": _interval(figures.mean_auc, (figures.mean_auc_low, figures.mean_auc_high)),
        "mean_ece": _interval(figures.mean_ece, (figures.mean_ece_low, figures.mean_ece_high)),
        "labels": {
            row.label: {
                "auc": round(row.auc, 4),
                "auc_95": [round(row.auc_low, 4), round(row.auc_high, 4)],
                "positives": row.positives,
            }
            for row in figures.labels
            if not math.isnan(row.auc)
        },
        **({"pointing_game": figures.pointing} if figures.pointing else {}),
        "measured_on": measured_on,
    }
    _add(classifier, key, content)
    if detector is not None and figures.boxes:
        _add(detector, key, {**figures.boxes, "measured_on": part})


def _add(card: cards.ModelCard, key: str, content: dict[str, Any]) -> None:
    cards.write(replace(card, figures={**card.figures, key: content}), card.directory)

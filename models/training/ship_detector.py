"""A detector's runs → a weight that serves: thresholds, card, and the runs kept beside it. Looks at
validation films only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from models import card as cards
from models.training.detection_metrics import (
    FROC_RATES,
    FilmBoxes,
    summary,
    threshold_at_false_positives,
)
from models.training.provenance import ATTRIBUTION, NOT_FOR, RECORDS, keep_run, licence
from models.training.records import TrainingError

#: False positives per film that a served box threshold allows, on validation films.
BOX_FALSE_POSITIVES = 0.2


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


def ship(
    run: Path,
    folds: Sequence[int],
    fold: int,
    name: str,
    version: str,
    weights: Path = cards.WEIGHTS,
    records: Path = RECORDS,
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
            "licence": licence(
                "Trained with and from ultralytics (AGPL-3.0)."
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
    keep_run(run, folds, records / name)
    return finished

"""Where a weight comes from and what it may be used for: licence and credit in its card, the
run's YAML, log and result beside it, and figures that are measured once it is there.

Knows cards and files; networks and films may not enter.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import card as cards
from models.training.evaluate import Figures

LICENCE = (
    "Non-commercial research only, because the terms of the training data (NIH ChestX-ray14, "
    "RSNA 2018 annotations) allow no more. {extra}The code around them is AGPL-3.0-or-later."
)
ATTRIBUTION = (
    "Films: NIH Clinical Center, ChestX-ray14 (Wang et al., CVPR 2017). Lung-opacity boxes: "
    "RSNA Pneumonia Detection Challenge 2018 (Shih et al., Radiology: AI 2019)."
)
NOT_FOR = "Research software, not a medical device: not for diagnosis."
#: Where the runs of shipped weights are kept.
RECORDS = Path(__file__).parent / "shipped"


def licence(from_ultralytics: str = "") -> str:
    """The licence text of a card; `from_ultralytics` says what came from there, if anything."""
    return LICENCE.format(extra=from_ultralytics and f"{from_ultralytics} ")


def interval(value: float, low_high: tuple[float, float], digits: int = 4) -> dict[str, Any]:
    """A figure and its 95 % interval as cards hold them."""
    return {"value": round(value, digits), "interval_95": [round(v, digits) for v in low_high]}


def keep_run(run: Path, folds: Sequence[int], record: Path) -> None:
    """Copy what repeats and documents the run: YAML, log and result of each fold."""
    for fold in folds:
        target = record / f"fold{fold}"
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.yaml", "log.jsonl", "result.json"):
            if (run / f"fold{fold}" / name).exists():
                shutil.copyfile(run / f"fold{fold}" / name, target / name)


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
        "mean_auc": interval(figures.mean_auc, (figures.mean_auc_low, figures.mean_auc_high)),
        "mean_ece": interval(figures.mean_ece, (figures.mean_ece_low, figures.mean_ece_high)),
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

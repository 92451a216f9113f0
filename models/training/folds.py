"""Runs that do all folds at once: who learns and who is held back in each, and the answers kept.

Writes fold<K>/{config.yaml,result.json,validation.npz}; nothing here looks at the final test set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training import metrics
from models.training.config import AttentionConfig, RidgeConfig, write_config
from models.training.records import Film, TrainingError
from models.training.splits import fingerprint, guard
from models.training.train_classifier import check_classes, find_split

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Folds:
    """Films outside the final test set, and per fold the rows of those that are learnt from and of
    those that are held back."""

    films: list[Film]
    rows: list[tuple[list[int], list[int]]]

    @property
    def truth(self) -> Floats:
        """Labels (films, 14)."""
        return np.asarray([film.labels for film in self.films], dtype=np.float64)


@dataclass(frozen=True)
class Result:
    """A finished run: mean AUC of each fold on films its heads never saw, and of all of them."""

    folder: Path
    fold_auc: tuple[float, ...]
    mean_auc: float
    films: int
    seconds: float


def folds_of(
    config: RidgeConfig | AttentionConfig, films: list[Film], base: Path, hashes: Mapping[str, str]
) -> Folds:
    """All folds of a run's split, guarded; TrainingError if something leaks, a class is empty or a
    film is synthetic."""
    split = find_split(config, films, base)
    used = [film for film in films if film.name not in split.test]
    if synthetic := [film.name for film in used if film.synthetic]:
        raise TrainingError(f"this run takes no synthetic films (first: {synthetic[0]})")
    place = {film.name: number for number, film in enumerate(used)}
    rows = []
    for number in range(len(split.folds)):
        fit, held, test = split.parts(films, number)
        guard(fit, held, test, hashes=dict(hashes))
        check_classes(fit)
        rows.append(([place[film.name] for film in fit], [place[film.name] for film in held]))
    return Folds(used, rows)


def keep(
    folder: Path, config: RidgeConfig | AttentionConfig, folds: Folds, logits: Floats
) -> tuple[float, ...]:
    """Write every fold's logits of the films it held back, with configuration and result; the mean
    AUC of each fold."""
    areas = []
    names = np.asarray([film.name for film in folds.films])
    for number, (fit, held) in enumerate(folds.rows):
        target = folder / f"fold{number}"
        target.mkdir(parents=True, exist_ok=True)
        write_config(config, target / "config.yaml")
        truth = folds.truth[held]
        np.savez(target / "validation.npz", names=names[held], logits=logits[held], truth=truth)
        areas.append(metrics.mean_auc(truth, logits[held]))
        summary = {
            "mean_auc": round(areas[-1], 4),
            "films": {"train": len(fit), "validation": len(held)},
            "train_fingerprint": fingerprint(names[fit]),
        }
        (target / "result.json").write_text(json.dumps(summary, indent=1) + "\n")
    return tuple(areas)

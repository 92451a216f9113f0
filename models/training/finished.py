"""What finished classifier runs left: answers on films that no network of theirs saw, and the
networks. Looks at validation films only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.training import checkpoint
from models.training.backbones import FilmReader, build
from models.training.config import ClassifierConfig
from models.training.records import TrainingError


@dataclass(frozen=True)
class OutOfFold:
    """Validation answers of the folds of one run, put together."""

    names: list[str]
    logits: NDArray[np.float64]
    truth: NDArray[np.float64]
    folds: list[NDArray[np.intp]]


def out_of_fold(run: Path, folds: Sequence[int]) -> OutOfFold:
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


def members(run: Path, folds: Sequence[int], config: ClassifierConfig) -> list[FilmReader]:
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

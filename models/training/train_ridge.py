"""One run of linear heads on frozen trunks: every fold for the figures, then all films outside
the final test set for the head that ships.

Writes fold<K>/{config.yaml,result.json,validation.npz} and all/head.pt into the run folder.
Nothing here looks at the final test set.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.training import checkpoint, metrics, pixels, ridge
from models.training.config import RidgeConfig, write_config
from models.training.readers_public import read
from models.training.records import LABELS, Film, TrainingError
from models.training.splits import fingerprint, guard
from models.training.train_classifier import check_classes, find_split, targets

BATCH = 8


@dataclass(frozen=True)
class Result:
    """A finished run: mean AUC of each fold on films its head never saw, and of all of them."""

    folder: Path
    fold_auc: tuple[float, ...]
    mean_auc: float
    films: int
    seconds: float


def reader_of(config: RidgeConfig, data: Path | None) -> ridge.RidgeReader:
    """The network of a run: trunks with their given weights if `data` is named, no head yet."""
    specs = ridge.parse_trunks(config.trunks)
    if data is None:
        return ridge.RidgeReader(specs, config.grid)
    return ridge.RidgeReader(specs, config.grid, ridge.inits_of(config.init, len(specs), data))


def _features(reader: ridge.RidgeReader, images: pixels.Gray, rows: list[int]) -> ridge.Floats:
    reader.to(memory_format=torch.channels_last)
    found = []
    with torch.inference_mode():
        for start in tqdm(range(0, len(rows), BATCH), desc="features", unit="batch"):
            batch = torch.from_numpy(np.array(images[rows[start : start + BATCH]]))[:, None]
            batch = (batch.float() / 255.0).contiguous(memory_format=torch.channels_last)
            found.append(reader.features(batch).numpy())
    return np.concatenate(found).astype(np.float64)


def train(config: RidgeConfig, data: Path, runs: Path, base: Path = Path()) -> Result:
    """Fit and judge every fold, then fit the head that ships; TrainingError says what is wrong
    with the input."""
    started = time.monotonic()
    torch.set_num_threads(config.threads)
    films = read(data, config.layout, config.teacher)
    split = find_split(config, films, base)
    images = pixels.load(films, config.size_px, runs / "cache")
    hashes = pixels.hashes(films, images)
    folds = []
    for number in range(len(split.folds)):
        fit, held, test = split.parts(films, number)
        guard(fit, held, test, hashes=hashes)
        check_classes(fit)
        folds.append((fit, held))
    used = [film for film in films if film.name not in split.test]
    if synthetic := [film.name for film in used if film.synthetic]:
        raise TrainingError(f"a ridge run takes no synthetic films (first: {synthetic[0]})")
    if unknown := [film.name for film in used if np.isnan(film.labels).any()]:
        raise TrainingError(
            f"{len(unknown)} films have blank labels (first: {unknown[0]}): least squares needs "
            "all of them; use 'goldentime train classifier'"
        )
    row = {film.name: number for number, film in enumerate(films)}
    reader = reader_of(config, data)
    features = _features(reader, images, [row[film.name] for film in used])
    wanted = targets(used, config.teacher_share)[:, : len(LABELS)].astype(np.float64)
    place = {film.name: number for number, film in enumerate(used)}

    def places(part: list[Film]) -> list[int]:
        return [place[film.name] for film in part]

    scores = np.empty_like(wanted)
    for fit, held in folds:
        learnt = places(fit)
        scale = ridge.scale_of(features[learnt], reader.widths, reader.cells)
        weight, bias = ridge.fit(scale(features[learnt]), wanted[learnt], config.strength)
        scores[places(held)] = scale(features[places(held)]) @ weight + bias
    # least squares answers between 0 and 1 at rare labels' small spread: one unit is made one
    # spread, so that scores of all labels, and of other networks, can be put on one scale
    center, spread = scores.mean(axis=0), scores.std(axis=0)
    logits = (scores - center) / spread
    truth = np.asarray([film.labels for film in used], dtype=np.float64)

    folder = runs / config.name
    areas = []
    for number, (fit, held) in enumerate(folds):
        target = folder / f"fold{number}"
        target.mkdir(parents=True, exist_ok=True)
        write_config(config, target / "config.yaml")
        rows = places(held)
        names = np.asarray([film.name for film in held])
        np.savez(target / "validation.npz", names=names, logits=logits[rows], truth=truth[rows])
        areas.append(metrics.mean_auc(truth[rows], logits[rows]))
        summary = {
            "mean_auc": round(areas[-1], 4),
            "films": {"train": len(fit), "validation": len(held)},
            "train_fingerprint": fingerprint(film.name for film in fit),
        }
        (target / "result.json").write_text(json.dumps(summary, indent=1) + "\n")
    scale = ridge.scale_of(features, reader.widths, reader.cells)
    weight, bias = ridge.fit(scale(features), wanted, config.strength)
    weight = weight / scale.divisor[:, None] / spread
    reader.set_head(weight, (bias - center) / spread - scale.center @ weight)
    (folder / "all").mkdir(exist_ok=True)
    checkpoint.save({"ema": reader.state_dict()}, folder / "all" / "head.pt")
    area = metrics.mean_auc(truth, logits)
    return Result(folder, tuple(areas), area, len(used), time.monotonic() - started)

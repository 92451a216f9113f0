"""One run of linear heads on frozen trunks: every fold for the figures, then all films outside
the final test set for the head that ships.

Writes fold<K>/{config.yaml,result.json,validation.npz} and all/head.pt into the run folder.
Nothing here looks at the final test set.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from models.training import checkpoint, frozen, metrics, pixels, ridge
from models.training.config import RidgeConfig
from models.training.folds import Result, folds_of, keep
from models.training.readers_public import read
from models.training.records import LABELS, TrainingError
from models.training.train_classifier import targets

BATCH = 8


def reader_of(config: RidgeConfig, data: Path | None) -> ridge.RidgeReader:
    """The network of a run: trunks with their given weights if `data` is named, no head yet."""
    specs = frozen.parse_trunks(config.trunks)
    if data is None:
        return ridge.RidgeReader(specs, config.grid)
    return ridge.RidgeReader(specs, config.grid, frozen.inits_of(config.init, len(specs), data))


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
    images = pixels.load(films, config.size_px, runs / "cache")
    folds = folds_of(config, films, base, pixels.hashes(films, images))
    if unknown := [film.name for film in folds.films if np.isnan(film.labels).any()]:
        raise TrainingError(
            f"{len(unknown)} films have blank labels (first: {unknown[0]}): least squares needs "
            "all of them; use 'goldentime train classifier'"
        )
    row = {film.name: number for number, film in enumerate(films)}
    reader = reader_of(config, data)
    features = _features(reader, images, [row[film.name] for film in folds.films])
    wanted = targets(folds.films, config.teacher_share)[:, : len(LABELS)].astype(np.float64)

    scores = np.empty_like(wanted)
    for learnt, held in folds.rows:
        scale = ridge.scale_of(features[learnt], reader.widths, reader.cells)
        weight, bias = ridge.fit(scale(features[learnt]), wanted[learnt], config.strength)
        scores[held] = scale(features[held]) @ weight + bias
    # least squares answers between 0 and 1 at rare labels' small spread: one unit is made one
    # spread, so that scores of all labels, and of other networks, can be put on one scale
    center, spread = scores.mean(axis=0), scores.std(axis=0)
    logits = (scores - center) / spread
    folder = runs / config.name
    areas = keep(folder, config, folds, logits)
    scale = ridge.scale_of(features, reader.widths, reader.cells)
    weight, bias = ridge.fit(scale(features), wanted, config.strength)
    weight = weight / scale.divisor[:, None] / spread
    reader.set_head(weight, (bias - center) / spread - scale.center @ weight)
    (folder / "all").mkdir(exist_ok=True)
    checkpoint.save({"ema": reader.state_dict()}, folder / "all" / "head.pt")
    area = metrics.mean_auc(folds.truth, logits)
    return Result(folder, areas, area, len(folds.films), time.monotonic() - started)

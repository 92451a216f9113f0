"""One run of box heads on frozen trunks: every fold for the figures, then all films outside the
final test set for the heads that ship.

Writes fold<K>/ and all/, each with config.yaml, weights.pt, model.onnx and its card; a fold also
result.json and validation.npz. The figures come from the served path (models.detector on the ONNX
file). Nothing here looks at the final test set.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models import card as cards, xray
from models.detector import Detector
from models.training import checkpoint, detection_metrics, export_onnx, pixels, ridge
from models.training.config import DenseConfig, write_config
from models.training.dense import DenseDetector, DenseHead, FrozenMaps, answerable, loss_of
from models.training.readers_public import read
from models.training.records import Film, TrainingError
from models.training.splits import fingerprint, guard, load_split, make_split
from models.training.train_classifier import Average
from models.training.train_detector import (
    boxed,
    class_names,
    keep_boxes,
    label_of,
    read_boxes,
    start_card,
)

Halves = NDArray[np.float16]
#: How far copies of a film are scaled, moved (share of the film) and changed in contrast (log).
SCALES, MOVE, CONTRAST = (0.85, 1.2), 0.08, 0.35


@dataclass(frozen=True)
class Result:
    """A finished run: mAP50 of each fold's heads on films that they never saw, and the mean."""

    folder: Path
    fold_map50: tuple[float, ...]
    map50: float
    map50_95: float
    froc: dict[float, float]
    films: int
    boxes: int
    seconds: float


@dataclass(frozen=True)
class Copies:
    """Frozen maps (films, copies, planes, g, g) and the boxes of every copy, as shares."""

    maps: Halves
    boxes: list[list[Tensor]]
    labels: list[list[int]]


def shares(film: Film, labels: tuple[str, ...]) -> tuple[NDArray[np.float64], list[int]]:
    """The film's boxes of the run's labels as shares of its sides (N, 4), and their numbers."""
    try:
        height, width = xray.decode(film.path.read_bytes()).pixels.shape
    except (xray.UnreadableFilm, OSError) as error:
        raise TrainingError(f"{film.path} cannot be read: {error}") from None
    known = [(box, label_of(box.label, labels)) for box in film.boxes]
    rows = [
        (box.x0 / width, box.y0 / height, box.x1 / width, box.y1 / height)
        for box, label in known
        if label is not None
    ]
    return np.array(rows).reshape(-1, 4), [label for _, label in known if label is not None]


def _moved(
    film: Tensor, boxes: NDArray[np.float64], size_px: int, generator: np.random.Generator | None
) -> tuple[Tensor, Tensor]:
    """A film (1, 1, H, W) in [0, 1] at the graph's size with its boxes; as it is without a
    generator, else scaled, moved and of other contrast (never flipped: the heart's side counts)."""
    if generator is not None:
        scale, contrast = generator.uniform(*SCALES), generator.uniform(-CONTRAST, CONTRAST)
        move = generator.uniform(-MOVE, MOVE, 2)
        # the film's point p comes to (p + move - 1/2) * scale + 1/2
        theta = torch.tensor(
            [[[1 / scale, 0, -2 * move[0]], [0, 1 / scale, -2 * move[1]]]], dtype=torch.float32
        )
        places = functional.affine_grid(theta, list(film.shape), align_corners=False)
        film = functional.grid_sample(film, places, align_corners=False).pow(math.exp(contrast))
        boxes = ((boxes + np.tile(move, 2) - 0.5) * scale + 0.5).clip(0, 1)
    small = functional.interpolate(
        film, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
    )
    return small, torch.tensor(boxes, dtype=torch.float32)


def copies_of(
    maps: FrozenMaps, films: list[Film], images: pixels.Gray, config: DenseConfig, cache: Path
) -> Copies:
    """Frozen maps of every film and its copies, in a file under `cache` while the run lasts."""
    labels = class_names(config.labels)
    generator = np.random.default_rng(config.seed)
    cache.mkdir(parents=True, exist_ok=True)
    shape = (len(films), config.copies, maps.planes, maps.grid, maps.grid)
    out: Halves = np.lib.format.open_memmap(
        cache / "maps.npy", mode="w+", dtype=np.float16, shape=shape
    )
    # takes the room now: writing a mapped file on a full disk would kill the process (SIGBUS)
    with (cache / "maps.npy").open("r+b") as stream:
        os.posix_fallocate(stream.fileno(), 0, (cache / "maps.npy").stat().st_size)
    all_boxes, all_labels = [], []
    with torch.inference_mode():
        for number, film in enumerate(tqdm(films, desc="frozen maps", unit="film")):
            given = torch.from_numpy(np.array(images[number]))[None, None].float() / 255.0
            boxes, marks = shares(film, labels)
            moved = [
                _moved(given, boxes, config.size_px, generator if copy else None)
                for copy in range(config.copies)
            ]
            batch = torch.cat([item[0] for item in moved])
            batch = batch.contiguous(memory_format=torch.channels_last)
            out[number] = maps(batch).to(torch.float16).numpy()
            all_boxes.append([item[1] for item in moved])
            all_labels.append(marks)
    return Copies(out, all_boxes, all_labels)


def fit(copies: Copies, rows: list[int], config: DenseConfig, seed: int, said: str) -> DenseHead:
    """One head trained on the films of `rows`; the moving average of its weights."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    count, planes, grid = len(class_names(config.labels)), *copies.maps.shape[2:4]
    head = DenseHead(planes, grid, count, config.width)
    plain = np.asarray(copies.maps[rows, 0], dtype=np.float32)
    for name, value in (("center", plain.mean((0, 2, 3))), ("spread", plain.std((0, 2, 3)) + 1e-4)):
        getattr(head, name).copy_(torch.from_numpy(value)[None, :, None, None])
    wanted = {
        row: [answerable(boxes, copies.labels[row], grid) for boxes in copies.boxes[row]]
        for row in rows
    }
    present = torch.zeros(len(copies.maps), count)
    for row in rows:
        present[row, copies.labels[row]] = 1.0
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=config.rate, weight_decay=config.weight_decay
    )
    average = Average(head, config.ema_decay)
    steps, done = max(len(rows) // config.batch, 1), 0
    for _ in tqdm(range(config.epochs), desc=said, unit="epoch"):
        order = generator.permutation(rows)
        for step in range(steps):
            chosen = order[step * config.batch : (step + 1) * config.batch]
            copy = generator.integers(0, config.copies, len(chosen))
            share = done / (steps * config.epochs)
            for group in optimiser.param_groups:
                warm = min(1.0, (done + 1) / 30)
                group["lr"] = config.rate * warm * 0.5 * (1 + math.cos(math.pi * share))
            given = np.stack([copies.maps[r, c] for r, c in zip(chosen, copy, strict=True)])
            true = [wanted[int(r)][c] for r, c in zip(chosen, copy, strict=True)]
            loss = loss_of(
                head(torch.from_numpy(given.astype(np.float32))),
                torch.stack([item[0] for item in true]),
                torch.stack([item[1] for item in true]),
                present[chosen],
            )
            if not torch.isfinite(loss):
                raise TrainingError("the loss is not a number: lower rate")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 5.0)
            optimiser.step()
            average.update(head)
            done += 1
    head.load_state_dict(average.state)
    head.eval()
    return head


def _write(maps: FrozenMaps, heads: list[DenseHead], config: DenseConfig, folder: Path) -> Detector:
    """Checkpoint, ONNX file and card of some heads; the detector that serves them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder / "config.yaml")
    network = DenseDetector(maps, heads, config.size_px).eval()
    checkpoint.save({"heads": [head.state_dict() for head in heads]}, folder / "weights.pt")
    export_onnx.export(network, config.size_px, folder / "model.onnx", outputs=("boxes",))
    labels = class_names(config.labels)
    trunks = config.trunks.replace("@", " at ")
    card = start_card(
        config.name,
        f"box head on frozen lower blocks of {trunks} px (mean of {len(heads)} heads)",
        labels,
        config.size_px,
        "started from ImageNet weights of EfficientNet-lite, left as they are (Apache-2.0)"
        if config.init
        else "started from random weights",
    )
    return Detector(cards.write(card, folder), threads=config.threads)


def train(config: DenseConfig, data: Path, runs: Path, base: Path = Path()) -> Result:
    """Fit and judge every fold, then fit the heads that ship; TrainingError says what is wrong
    with the input."""
    started = time.monotonic()
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    labels = class_names(config.labels)
    films = read(data, config.layout)
    split = (
        load_split(base / config.split)
        if config.split
        else make_split(films, config.folds, 0.2, config.seed)
    )
    folds = []
    for number in range(len(split.folds)):
        parts = [boxed(part, labels) for part in split.parts(films, number)]
        guard(*parts)
        folds.append((parts[0], parts[1]))
        if not any(film.boxes for film in parts[0]):
            raise TrainingError(f"no film of the training folds has a box of {', '.join(labels)}")
    used = [film for film in boxed(films, labels) if film.name not in split.test]
    if synthetic := [film.name for film in used if film.synthetic]:
        raise TrainingError(f"a dense run takes no synthetic films (first: {synthetic[0]})")
    row = {film.name: number for number, film in enumerate(used)}
    specs = ridge.parse_trunks(config.trunks)
    maps = FrozenMaps(specs, ridge.inits_of(config.init, len(specs), data))
    maps.to(memory_format=torch.channels_last)
    # moved at twice the graph's size, so that nothing is lost on the way to it
    images = pixels.load(used, 2 * config.size_px, runs / "cache")
    folder = runs / config.name
    copies = copies_of(maps, used, images, config, folder)

    def heads(part: list[Film], said: str) -> list[DenseHead]:
        rows = [row[film.name] for film in part]
        return [
            fit(copies, rows, config, 100 * config.seed + number, f"{said}, head {number + 1}")
            for number in range(config.heads)
        ]

    per_fold = []
    for number, (learnt, held) in enumerate(folds):
        target = folder / f"fold{number}"
        detector = _write(maps, heads(learnt, f"fold {number}"), config, target)
        measured = {label: read_boxes(detector, held, label) for label in labels}
        figures = detection_metrics.summary(measured)
        keep_boxes(target / "validation.npz", held, measured)
        content = figures.as_dict() | {
            "films": {"train": len(learnt), "validation": len(held)},
            "train_fingerprint": fingerprint(film.name for film in learnt),
        }
        (target / "result.json").write_text(json.dumps(content, indent=1) + "\n")
        per_fold.append(figures)
    _write(maps, heads(used, "all films"), config, folder / "all")
    (folder / "maps.npy").unlink()
    values = tuple(figures.map50 for figures in per_fold)
    return Result(
        folder,
        values,
        float(np.nanmean(values)),
        float(np.nanmean([figures.map50_95 for figures in per_fold])),
        {
            rate: float(np.nanmean([figures.froc[rate] for figures in per_fold]))
            for rate in detection_metrics.FROC_RATES
        },
        len(used),
        sum(figures.boxes for figures in per_fold),
        time.monotonic() - started,
    )

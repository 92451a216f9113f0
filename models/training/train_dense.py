"""One run of box heads on frozen trunks: every fold for the figures, then all films outside the
final test set for the heads that ship.

Writes fold<K>/ and all/, each with config.yaml, a checkpoint of every head, model.onnx and its
card; a fold also result.json and validation.npz. A stopped run goes on with the head it was at. The
figures come from the served path (models.detector on the ONNX file). Nothing here looks at the
final test set.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from models import card as cards, xray
from models.detector import Detector
from models.training import checkpoint, detection_metrics, export_onnx, film_copies, frozen, pixels
from models.training.config import DenseConfig, write_config
from models.training.dense import DenseDetector, DenseHead, answerable, loss_of
from models.training.descent import Descent
from models.training.film_copies import Copies
from models.training.readers_public import read
from models.training.records import Film, TrainingError
from models.training.splits import fingerprint, guard, load_split, make_split
from models.training.train_detector import (
    boxed,
    class_names,
    keep_boxes,
    label_of,
    read_boxes,
    start_card,
)


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
class Lesson:
    """What heads learn from: copies of films, and each film's boxes as shares with their labels."""

    copies: Copies
    boxes: list[NDArray[np.float64]]
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


def fit(lesson: Lesson, rows: list[int], config: DenseConfig, seed: int, said: str) -> DenseHead:
    """One head trained on the films of `rows`; the moving average of its weights."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    maps = lesson.copies.maps
    count, planes, grid = len(class_names(config.labels)), *maps.shape[2:4]
    head = DenseHead(planes, grid, count, config.width)
    plain = np.asarray(maps[rows, 0], dtype=np.float32)
    for name, value in (("center", plain.mean((0, 2, 3))), ("spread", plain.std((0, 2, 3)) + 1e-4)):
        getattr(head, name).copy_(torch.from_numpy(value)[None, :, None, None])
    wanted = {
        row: [
            answerable(
                torch.tensor(move.boxes(lesson.boxes[row]), dtype=torch.float32),
                lesson.labels[row],
                grid,
            )
            for move in lesson.copies.moves[row]
        ]
        for row in rows
    }
    present = torch.zeros(len(maps), count)
    for row in rows:
        present[row, lesson.labels[row]] = 1.0
    steps = max(len(rows) // config.batch, 1)
    descent = Descent(
        head,
        rate=config.rate,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        steps=steps * config.epochs,
        warm_steps=30,
    )
    for _ in tqdm(range(config.epochs), desc=said, unit="epoch"):
        order = generator.permutation(rows)
        for step in range(steps):
            chosen = order[step * config.batch : (step + 1) * config.batch]
            copy = generator.integers(0, config.copies, len(chosen))
            given = np.stack([maps[r, c] for r, c in zip(chosen, copy, strict=True)])
            true = [wanted[int(r)][c] for r, c in zip(chosen, copy, strict=True)]
            loss = loss_of(
                head(torch.from_numpy(given.astype(np.float32))),
                torch.stack([item[0] for item in true]),
                torch.stack([item[1] for item in true]),
                present[chosen],
            )
            descent.step(loss)
    descent.end()
    return head


def _head(
    lesson: Lesson, rows: list[int], config: DenseConfig, number: int, place: Path
) -> DenseHead:
    """A head of the run, from its checkpoint if the same run on the same films wrote one."""
    changeable = {"name": "", "heads": 0, "threads": 0}
    facts = {"run": asdict(config) | changeable, "rows": rows, "films": len(lesson.boxes)}
    path = place / f"head{number + 1}.pt"
    saved = checkpoint.load(path)
    if saved and saved["facts"] == facts:
        planes, grid = lesson.copies.maps.shape[2:4]
        head = DenseHead(planes, grid, len(class_names(config.labels)), config.width)
        head.load_state_dict(saved["head"])
        head.eval()
        return head
    said = f"{place.name}, head {number + 1} of {config.heads}"
    head = fit(lesson, rows, config, 100 * config.seed + number, said)
    place.mkdir(parents=True, exist_ok=True)
    checkpoint.save({"head": head.state_dict(), "facts": facts}, path)
    return head


def _write(
    maps: frozen.FrozenMaps, heads: list[DenseHead], config: DenseConfig, folder: Path
) -> Detector:
    """Checkpoint, ONNX file and card of some heads; the detector that serves them."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder / "config.yaml")
    network = DenseDetector(maps, heads, config.size_px).eval()
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
        cards.Fit.STRETCH,  # as pixels.load brings films to a square for training
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
    hashes = pixels.known_hashes(boxed(films, labels), runs / "cache")
    folds = []
    for number in range(len(split.folds)):
        parts = [boxed(part, labels) for part in split.parts(films, number)]
        guard(*parts, hashes=hashes)
        folds.append((parts[0], parts[1]))
        if not any(film.boxes for film in parts[0]):
            raise TrainingError(f"no film of the training folds has a box of {', '.join(labels)}")
    used = [film for film in boxed(films, labels) if film.name not in split.test]
    if synthetic := [film.name for film in used if film.synthetic]:
        raise TrainingError(f"a dense run takes no synthetic films (first: {synthetic[0]})")
    row = {film.name: number for number, film in enumerate(used)}
    specs = frozen.parse_trunks(config.trunks)
    maps = frozen.FrozenMaps(specs, frozen.inits_of(config.init, len(specs), data))
    maps.to(memory_format=torch.channels_last)
    boxes = [shares(film, labels) for film in used]
    copies = film_copies.load(maps, used, config, runs / "cache")
    lesson = Lesson(copies, [item[0] for item in boxes], [item[1] for item in boxes])
    folder = runs / config.name

    def heads(part: list[Film], place: Path) -> list[DenseHead]:
        rows = [row[film.name] for film in part]
        return [_head(lesson, rows, config, number, place) for number in range(config.heads)]

    per_fold = []
    for number, (learnt, held) in enumerate(folds):
        target = folder / f"fold{number}"
        detector = _write(maps, heads(learnt, target), config, target)
        measured = {label: read_boxes(detector, held, label) for label in labels}
        figures = detection_metrics.summary(measured)
        keep_boxes(target / "validation.npz", held, measured)
        content = figures.as_dict() | {
            "films": {"train": len(learnt), "validation": len(held)},
            "train_fingerprint": fingerprint(film.name for film in learnt),
        }
        (target / "result.json").write_text(json.dumps(content, indent=1) + "\n")
        per_fold.append(figures)
    _write(maps, heads(used, folder / "all"), config, folder / "all")
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

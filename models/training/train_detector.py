"""One detector run through ultralytics: patient-wise fold, films without a box included.

Writes config.yaml, weights.safetensors, model.onnx and result.json into the run folder. The
figures come from the served path (models.detector on the ONNX file), not from the trainer.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from models import card as cards, xray
from models.detector import Detector
from models.training import detection_metrics, pixels as arrays
from models.training.backbones import read_tensors
from models.training.config import DetectorConfig, write_config
from models.training.detection_metrics import FilmBoxes
from models.training.export_onnx import OPSET
from models.training.readers_public import read
from models.training.records import Film, TrainingError
from models.training.splits import guard, load_split, make_split

OPACITY = "lung_opacity"
#: What radiologists boxed as one concept in the RSNA 2018 challenge.
MERGED = {"Lung_Opacity": OPACITY, "Pneumonia": OPACITY, OPACITY: OPACITY}


@dataclass(frozen=True)
class Result:
    """A detector run: where it lies and what its ONNX file reaches on the held-out fold."""

    folder: Path
    map50: float
    map50_95: float
    froc: dict[float, float]
    films: int
    boxes: int
    seconds: float


def class_names(text: str) -> tuple[str, ...]:
    """The labels of a run from its comma list, in output order."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def label_of(name: str, labels: tuple[str, ...]) -> int | None:
    """Index of an annotation's label among the run's, merging opacities where that is asked."""
    if labels == (OPACITY,):
        name = MERGED.get(name, name)
    return labels.index(name) if name in labels else None


def boxed(films: list[Film], labels: tuple[str, ...]) -> list[Film]:
    """Films with a box of one of the labels, and films that were read and have none at all."""
    chosen = []
    for film in films:
        if any(label_of(box.label, labels) is not None for box in film.boxes) or (
            film.boxes_known and not film.boxes
        ):
            chosen.append(film)
    return chosen


def _write_part(films: list[Film], labels: tuple[str, ...], size: int, folder: Path) -> None:
    """The folder layout ultralytics reads: images/*.png and labels/*.txt."""
    images, notes = folder / "images", folder / "labels"
    for place in (images, notes):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
    for film in tqdm(films, desc=f"writing {folder.name}", unit="film"):
        try:
            pixels = xray.decode(film.path.read_bytes()).pixels
        except (xray.UnreadableFilm, OSError) as error:
            raise TrainingError(f"{film.path} cannot be read: {error}") from None
        height, width = pixels.shape
        stem = Path(film.name).stem
        (images / f"{stem}.png").write_bytes(xray.encode_png(xray.resize_to(pixels, size)))
        lines = []
        for box in film.boxes:
            index = label_of(box.label, labels)
            if index is None:
                continue
            if not (0 <= box.x0 < box.x1 <= width + 1 and 0 <= box.y0 < box.y1 <= height + 1):
                raise TrainingError(f"{film.name}: box {box} lies outside its film")
            values = (
                (box.x0 + box.x1) / 2 / width,
                (box.y0 + box.y1) / 2 / height,
                (box.x1 - box.x0) / width,
                (box.y1 - box.y0) / height,
            )
            lines.append(" ".join([str(index), *(f"{min(value, 1.0):.6f}" for value in values)]))
        (notes / f"{stem}.txt").write_text("\n".join(lines) + ("\n" if lines else ""))


class _Served(nn.Module):
    """(B, 1, S, S) → (B, 4 + labels, N): the detector with one gray plane in."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, films: Tensor) -> Tensor:
        answer = self.network(films.expand(-1, 3, -1, -1))
        return answer[0] if isinstance(answer, (tuple, list)) else answer


def export(network: Any, size_px: int, path: Path) -> None:
    """Write an ultralytics network as ONNX: input (1, 1, S, S) in [0, 1]."""
    network = network.float().cpu().eval()
    for module in network.modules():
        if hasattr(module, "export") and hasattr(module, "format"):
            module.export, module.format = True, "onnx"
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        torch.onnx.export(
            _Served(network).eval(),
            (torch.zeros(1, 1, size_px, size_px),),
            stream,
            input_names=["film"],
            output_names=["boxes"],
            opset_version=OPSET,
            dynamo=False,
        )
    path.write_bytes(stream.getvalue())


def start_card(
    name: str,
    architecture: str,
    labels: tuple[str, ...],
    size_px: int,
    started: str,
    fit: cards.Fit = cards.Fit.LETTERBOX,
) -> cards.ModelCard:
    """The card of a detector run, to be completed when it ships; `started` says from what."""
    return cards.ModelCard(
        name=name,
        kind=cards.ModelKind.DETECT,
        architecture=architecture,
        version="0",
        labels=labels,
        input=cards.InputSpec(size_px, 1, (0.0,), (1.0,), fit),
        thresholds=dict.fromkeys(labels, 0.25),
        calibration=None,
        score_kind=cards.ScoreKind.SCORE,
        data=started,
        licence="research only",
        attribution="see the shipped card",
        figures={},
        intended_use="research",
        not_for="not for diagnosis",
    )


def read_boxes(detector: Detector, films: list[Film], label: str) -> list[FilmBoxes]:
    """True and found boxes of one label on every film, through the served path."""
    out = []
    for film in tqdm(films, desc="reading", unit="film"):
        try:
            pixels = xray.decode(film.path.read_bytes()).pixels
        except (xray.UnreadableFilm, OSError) as error:
            raise TrainingError(f"{film.path} cannot be read: {error}") from None
        found = [b for b in detector.read(pixels, min_score=0.001).boxes if b.label == label]
        true = [
            (box.x0, box.y0, box.x1, box.y1)
            for box in film.boxes
            if label_of(box.label, detector.card.labels) == detector.card.labels.index(label)
        ]
        out.append(
            FilmBoxes(
                np.asarray(true, dtype=np.float64).reshape(-1, 4),
                np.asarray([b[2:6] for b in found], dtype=np.float64).reshape(-1, 4),
                np.asarray([b.score for b in found], dtype=np.float64),
            )
        )
    return out


def keep_boxes(path: Path, films: list[Film], measured: Mapping[str, list[FilmBoxes]]) -> None:
    """Write true and found boxes of films, label by label, for `ship`."""
    content: dict[str, Any] = {"names": np.asarray([film.name for film in films])}
    for label, found in measured.items():
        content[f"true {label}"] = np.asarray([json.dumps(film.true.tolist()) for film in found])
        content[f"found {label}"] = np.asarray([json.dumps(film.found.tolist()) for film in found])
        content[f"scores {label}"] = np.asarray(
            [json.dumps(film.scores.tolist()) for film in found]
        )
    np.savez(path, **content)


def _start_weights(config: DetectorConfig, data: Path, runs: Path) -> dict[str, Tensor]:
    """Tensors to begin with: `init`, then a classifier run's trunk of the same fold over it."""
    given: dict[str, Tensor] = {}
    if config.init:
        given.update(read_tensors(data / config.init))
    if config.trunk_run:
        path = runs / config.trunk_run / f"fold{config.fold}" / "last.pt"
        for key, value in read_tensors(path).items():
            if key.startswith("trunk."):
                given[key.replace("trunk.", "model.", 1)] = value
    return given


def train(config: DetectorConfig, data: Path, runs: Path, base: Path = Path()) -> Result:
    """Run one detector configuration on one fold; TrainingError says what is wrong."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics import YOLO

    from models.training.yolo import StartedTrainer

    torch.set_num_threads(config.threads)
    folder = (runs / config.name / f"fold{config.fold}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder / "config.yaml")
    labels = class_names(config.labels)
    films = read(data, config.layout)
    split = (
        load_split(base / config.split)
        if config.split
        else make_split(films, config.folds, 0.2, config.seed)
    )
    fit, held, test = (boxed(part, labels) for part in split.parts(films, config.fold))
    guard(fit, held, test, hashes=arrays.known_hashes(fit + held + test, runs / "cache"))
    with_box = [film for film in fit if film.boxes]
    if not with_box:
        raise TrainingError(f"no film of the training folds has a box of {', '.join(labels)}")
    without = [film for film in fit if not film.boxes]
    random.Random(config.seed).shuffle(without)
    fit = with_box + without[: round(config.negatives * len(with_box))]
    for part, name in ((fit, "train"), (held, "val")):
        _write_part(part, labels, max(config.size_px, 512), folder / name)
    description = folder / "data.yaml"
    names = "".join(f"  {number}: {label}\n" for number, label in enumerate(labels))
    description.write_text(f"path: {folder}\ntrain: train/images\nval: val/images\nnames:\n{names}")
    given, count = _start_weights(config, data, runs), len(labels)

    class Trainer(StartedTrainer):
        start, labels, taken = given, count, 0

    started = time.monotonic()
    yolo = YOLO(f"{config.backbone}.yaml", task="detect")
    yolo.train(
        trainer=Trainer,
        data=str(description),
        imgsz=config.size_px,
        epochs=config.epochs,
        batch=config.batch,
        optimizer="AdamW",
        lr0=config.rate,
        lrf=0.05,
        cos_lr=True,
        warmup_epochs=2,
        weight_decay=0.01,
        seed=config.seed,
        device="cpu",
        workers=0,
        amp=False,
        val=False,
        plots=False,
        project=str(folder),
        name="ultralytics",
        exist_ok=True,
        fliplr=0.0,  # the heart's side is a finding
        mosaic=config.mosaic,
        close_mosaic=max(1, config.epochs // 4),
        hsv_h=0.0,
        hsv_s=0.0,
        hsv_v=0.4,
        degrees=5.0,
        translate=0.1,
        scale=config.scale,
        mixup=config.mixup,
        erasing=0.0,
        auto_augment=None,
    )
    seconds = time.monotonic() - started
    network = yolo.trainer.ema.ema
    from safetensors.torch import save_file

    save_file(
        {key: value.contiguous() for key, value in network.state_dict().items()},
        folder / "weights.safetensors",
    )
    export(network, config.size_px, folder / "model.onnx")
    card = cards.write(
        start_card(
            config.name,
            f"{config.backbone} (ultralytics)",
            labels,
            config.size_px,
            f"started from {config.init}" if config.init else "started from random weights",
        ),
        folder,
    )
    detector = Detector(card, threads=config.threads)
    measured = {label: read_boxes(detector, held, label) for label in labels}
    figures = detection_metrics.summary(measured)
    keep_boxes(folder / "validation.npz", held, measured)
    summary = figures.as_dict() | {
        "films": {"train": len(fit), "validation": len(held)},
        "tensors_started_from": Trainer.taken,
        "seconds": round(seconds, 1),
    }
    (folder / "result.json").write_text(json.dumps(summary, indent=1) + "\n")
    for place in ("train", "val", "ultralytics"):
        shutil.rmtree(folder / place, ignore_errors=True)
    return Result(
        folder,
        figures.map50,
        figures.map50_95,
        figures.froc,
        len(held),
        figures.boxes,
        seconds,
    )

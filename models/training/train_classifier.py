"""One classifier run: patient-wise fold, augmentation, mix-up, teacher, EMA, checkpoints.

Writes config.yaml, log.jsonl, last.pt and validation.npz into the run folder. Resumes from
last.pt. Nothing here looks at the final test set.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from models.training import augment, checkpoint, metrics, pixels
from models.training.average import Average
from models.training.backbones import SIDE_TARGETS, FilmReader, build, find_init, load_init
from models.training.config import AttentionConfig, ClassifierConfig, RidgeConfig, begin
from models.training.readers import read_plain
from models.training.readers_public import read
from models.training.records import LABELS, UNKNOWN, Film, TrainingError
from models.training.splits import Split, fingerprint, guard, load_split, make_split


@dataclass(frozen=True)
class Result:
    """What a run gives back: weights of the moving average, and its validation scores."""

    folder: Path
    mean_auc: float
    seconds: float
    epochs: int


def targets(films: list[Film], teacher_share: float) -> NDArray[np.float32]:
    """(N, 14 + 3): labels, blended with a teacher's scores where there are any, then side facts."""
    rows = []
    for film in films:
        labels = np.asarray(film.labels, dtype=np.float64)
        if film.teacher is not None and teacher_share > 0:
            labels = (1 - teacher_share) * labels + teacher_share * np.asarray(film.teacher)
        view = {"AP": 1.0, "PA": 0.0}.get(film.view, UNKNOWN)
        sex = {"M": 1.0, "F": 0.0}.get(film.sex, UNKNOWN)
        rows.append(np.r_[labels, view, sex, min(film.age, 100.0) / 100.0])
    return np.asarray(rows, dtype=np.float32).reshape(-1, len(LABELS) + SIDE_TARGETS)


def gather(
    films: pixels.Gray, rows: NDArray[np.intp], more: pixels.Gray, chosen: NDArray[np.intp]
) -> pixels.Gray:
    """Films of a batch (B, S, S): `chosen` counts through `rows` of `films`, then `more`."""
    out = np.empty((len(chosen), *films.shape[1:]), dtype=np.uint8)
    near = chosen < len(rows)
    out[near] = films[rows[chosen[near]]]
    out[~near] = more[chosen[~near] - len(rows)]
    return out


def masked_loss(logits: Tensor, wanted: Tensor, positive_weight: Tensor | None) -> Tensor:
    """Binary cross-entropy over the known targets."""
    known = ~torch.isnan(wanted)
    loss = functional.binary_cross_entropy_with_logits(
        logits, torch.nan_to_num(wanted), reduction="none", pos_weight=positive_weight
    )
    return (loss * known).sum() / known.sum().clamp(min=1)


def find_split(
    config: ClassifierConfig | RidgeConfig | AttentionConfig, films: list[Film], base: Path
) -> Split:
    """The committed split file of the run, or one dealt from its seed."""
    if config.split:
        return load_split(base / config.split)
    return make_split(films, config.folds, 0.2, config.seed)


def _more_films(config: ClassifierConfig, data: Path, held: set[str]) -> list[Film]:
    """More films from a second table, without the patients that are held back, and synthetic
    ones."""
    films: list[Film] = []
    if config.low_resolution:
        table = data / config.low_resolution
        films += read_plain(
            table.parent,
            labels=table.name,
            images=table.stem.replace("labels", "nih"),
            boxes_file="",
        )
    if config.synthetic:
        made = read_plain(data / config.synthetic, boxes_file="")
        if real := [film.name for film in made if not film.synthetic]:
            raise TrainingError(
                f"{config.synthetic}: {len(real)} films are not marked synthetic (first: {real[0]})"
            )
        films += made
    return [film for film in films if film.patient_id not in held]


def score(model: FilmReader, images: pixels.Gray, batch: int = 32) -> NDArray[np.float64]:
    """Logits (N, 14) of the films."""
    model.eval()
    device = next(model.parameters()).device
    out = []
    with torch.no_grad():
        for start in range(0, len(images), batch):
            films = torch.from_numpy(np.array(images[start : start + batch]))
            out.append(model(films[:, None].to(device).float() / 255.0)[0].float().cpu().numpy())
    return np.concatenate(out).astype(np.float64)


def check_classes(films: list[Film]) -> None:
    table = np.asarray([film.labels for film in films])
    for number, label in enumerate(LABELS):
        known = table[~np.isnan(table[:, number]), number]
        if known.size == 0 or known.max() < 0.5:
            raise (
                TrainingError(
                    f"no film with {label} is in the training folds: add some, or leave its column "
                    "blank in every row"
                )
                if known.size
                else TrainingError(f"no film says anything about {label}")
            )


def _device(config: ClassifierConfig) -> torch.device:
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but torch finds no GPU: set device: cpu")
    if config.device not in ("cpu", "cuda"):
        raise TrainingError(f"device is {config.device!r}: cpu or cuda")
    return torch.device(config.device)


def _clock(config: ClassifierConfig, wall_s: float, cpu_s: float) -> float:
    """How much of the time that a run is given is used up, 1 at its end; 0 where epochs rule."""
    wall = wall_s / config.wall_clock_s if config.wall_clock_s else 0.0
    return max(wall, cpu_s / config.cpu_s if config.cpu_s else 0.0)


def train(config: ClassifierConfig, data: Path, runs: Path, base: Path = Path()) -> Result:
    """Run one configuration on one fold; TrainingError says what is wrong with the input."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    folder = runs / config.name / f"fold{config.fold}"
    begin(config, folder)

    films = read(data, config.layout, config.teacher)
    split = find_split(config, films, base)
    fit, held, test = split.parts(films, config.fold)
    check_classes(fit)
    cache = runs / "cache"
    images = pixels.load(films, config.size_px, cache)
    row = {film.name: number for number, film in enumerate(films)}
    guard(fit, held, test, hashes=pixels.hashes(films, images))
    more = _more_films(config, data, {film.patient_id for film in held + test})
    if config.pretrain_epochs and not more:
        raise TrainingError("pretrain_epochs needs low_resolution or synthetic films")
    blurred = pixels.load(more, config.size_px, cache) if more else images[:0]

    fit_rows = np.array([row[film.name] for film in fit])
    held_images = images[[row[film.name] for film in held]]
    hard = torch.from_numpy(targets(fit, 0.0))[:, : len(LABELS)]
    wanted = torch.from_numpy(
        np.concatenate([targets(fit, config.teacher_share), targets(more, 0.0)])
    )
    truth = np.asarray([film.labels for film in held], dtype=np.float64)
    positive_weight = None
    if config.balance > 0:
        positive = torch.nansum(hard, dim=0).clamp(min=1.0)
        negative = torch.nansum(1 - hard, dim=0)
        positive_weight = ((negative / positive) ** config.balance).to(_device(config))

    model = build(config.backbone, find_init(config.init, data), config.dropout)
    if config.start_run:
        load_init(model, runs / config.start_run / f"fold{config.fold}" / "last.pt")
    device = _device(config)
    model.to(device=device, memory_format=torch.channels_last)
    heads = [p for n, p in model.named_parameters() if not n.startswith("trunk.")]
    trunk = [p for n, p in model.named_parameters() if n.startswith("trunk.")]
    optimiser = torch.optim.AdamW(
        [{"params": heads, "lr": config.rate}, {"params": trunk, "lr": config.trunk_rate}],
        weight_decay=config.weight_decay,
    )
    peaks = [group["lr"] for group in optimiser.param_groups]
    average = Average(model, config.ema_decay)
    total_epochs = config.pretrain_epochs + config.epochs
    first, spent, spent_cpu, best, stale = 0, 0.0, 0.0, math.inf, 0
    saved = checkpoint.load(folder / "last.pt")
    if saved:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        average.state = {key: value.to(device) for key, value in saved["ema"].items()}
        average.steps = saved["steps"]
        generator.set_state(saved["generator"])
        first, spent, best, stale = saved["epoch"], saved["spent"], saved["best"], saved["stale"]
        spent_cpu = saved.get("spent_cpu", 0.0)
    judge = build(config.backbone, None, config.dropout).to(device)
    progress = tqdm(total=total_epochs, initial=first, desc=folder.parent.name, unit="epoch")
    finished = first
    for epoch in range(first, total_epochs):
        tired = config.patience and stale >= config.patience
        if tired or _clock(config, spent, spent_cpu) >= 1.0:
            break
        started, started_cpu = time.monotonic(), time.process_time()
        model.train()
        rows, extra_rows = torch.arange(len(fit)), torch.arange(0)
        if epoch < config.pretrain_epochs:
            rows, extra_rows = torch.arange(0), torch.arange(len(more))
        elif more and config.low_resolution_share > 0:
            drawn = torch.randperm(len(more), generator=generator)
            extra_rows = drawn[: int(config.low_resolution_share * len(more))]
        # rows of `more` stand behind those of `fit`
        epoch_rows = torch.cat([rows, extra_rows + len(fit)])
        order = epoch_rows[torch.randperm(len(epoch_rows), generator=generator)]
        steps = len(order) // config.batch or 1
        losses: list[float] = []
        for step in range(steps):
            done = epoch + step / steps
            warm = min(1.0, (done + 1.0 / steps) / max(config.warmup_epochs, 1e-9))
            share = done / total_epochs
            if config.wall_clock_s or config.cpu_s:
                used = _clock(
                    config,
                    spent + time.monotonic() - started,
                    spent_cpu + time.process_time() - started_cpu,
                )
                if used >= 1.0 and losses:
                    break
                share = min(used, 1.0)
            rate = warm * 0.5 * (1 + math.cos(math.pi * share))
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            chosen = order[step * config.batch : (step + 1) * config.batch]
            films_now = gather(images, fit_rows, blurred, chosen.numpy())
            batch = torch.from_numpy(films_now)[:, None].to(device).float() / 255.0
            batch = augment.vary(batch, config.augment, generator)
            if config.low_resolution:
                batch = augment.blur_some(batch, 0.3, generator)
            batch, aim = augment.mix(batch, wanted[chosen].to(device), config.mix_alpha, generator)
            batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.mixed_precision):
                logits, _, side = model(batch)
            loss = masked_loss(logits.float(), aim[:, : len(LABELS)], positive_weight)
            if config.side_weight > 0:
                loss = loss + config.side_weight * masked_loss(
                    side.float(), aim[:, len(LABELS) :], None
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            average.update(model)
            losses.append(float(loss.detach()))
        if not all(math.isfinite(value) for value in losses):
            raise TrainingError(
                f"the loss is not a number in epoch {epoch + 1}: lower rate, or set "
                "mixed_precision: false; the last checkpoint is intact"
            )
        judge.load_state_dict(average.state)
        logits_held = score(judge, held_images)
        area = metrics.mean_auc(truth, logits_held)
        held_loss = float(masked_loss(torch.from_numpy(logits_held), torch.from_numpy(truth), None))
        spent += time.monotonic() - started
        spent_cpu += time.process_time() - started_cpu
        finished = epoch + 1
        stale = 0 if held_loss < best else stale + 1
        best = min(best, held_loss)
        line = {
            "epoch": epoch + 1,
            "loss": round(float(np.mean(losses)), 5),
            "validation_loss": round(held_loss, 5),
            "validation_mean_auc": round(area, 4),
            "seconds": round(spent, 1),
            "cpu_seconds": round(spent_cpu, 1),
        }
        with (folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        progress.set_postfix(auc=f"{area:.3f}", loss=f"{line['loss']:.3f}")
        progress.update()
        checkpoint.save(
            {
                "model": model.state_dict(),
                "ema": average.state,
                "optimiser": optimiser.state_dict(),
                "generator": generator.get_state(),
                "epoch": epoch + 1,
                "steps": average.steps,
                "spent": spent,
                "spent_cpu": spent_cpu,
                "best": best,
                "stale": stale,
            },
            folder / "last.pt",
        )
    progress.close()
    judge.load_state_dict(average.state)
    logits_held = score(judge, held_images)
    np.savez(
        folder / "validation.npz",
        names=np.asarray([film.name for film in held]),
        logits=logits_held,
        truth=truth,
    )
    area = metrics.mean_auc(truth, logits_held)
    summary = {
        "mean_auc": round(area, 4),
        "films": {"train": len(fit), "validation": len(held), "more": len(more)},
        "train_fingerprint": fingerprint(film.name for film in fit),
        "seconds": round(spent, 1),
        "cpu_seconds": round(spent_cpu, 1),
        "epochs": finished,
    }
    (folder / "result.json").write_text(json.dumps(summary, indent=1) + "\n")
    return Result(folder, area, spent, finished)

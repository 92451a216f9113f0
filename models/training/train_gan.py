"""Growing the GAN on one fold's training films, and writing labelled synthetic films with it.

Only films of the training part are seen; what is written is marked synthetic, so that the leakage
guard keeps it out of validation and test. Too-close copies of a training film are not written.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from tqdm import tqdm

from models import xray
from models.training import checkpoint, pixels
from models.training.average import Average
from models.training.config import GanConfig, begin
from models.training.pggan import FIRST_PX, LATENT, Critic, Generator, gradient_penalty, levels
from models.training.readers_public import read
from models.training.records import LABELS, Film, TrainingError
from models.training.splits import load_split, make_split

#: Weight of the gradient penalty and of the drift term, as in Karras et al. 2018.
PENALTY, DRIFT = 10.0, 1e-3
#: Side at which two films are compared for being copies.
COMPARE_PX = 32


@dataclass(frozen=True)
class Stage:
    """Where a run is after so many films: level, and how far the new level is faded in."""

    level: int
    fade: float


def stage(shown: int, films_per_phase: int, top: int) -> Stage:
    """4 px first; then each level fades in for one phase and settles for one."""
    phase, within = divmod(shown, films_per_phase)
    level = min((phase + 1) // 2, top)
    fading = phase % 2 == 1 and (phase + 1) // 2 <= top
    return Stage(level, within / films_per_phase if fading else 1.0)


def parts_of(config: GanConfig, data: Path, base: Path) -> tuple[list[Film], list[Film]]:
    """The real films that the GAN may see, the training part of the fold, and those held back."""
    films = read(data, config.layout)
    split = (
        load_split(base / config.split)
        if config.split
        else make_split(films, config.folds, 0.2, config.seed)
    )
    fit, held, _ = split.parts(films, config.fold)
    return [film for film in fit if not film.synthetic], held


def _labels(films: list[Film]) -> torch.Tensor:
    return torch.nan_to_num(torch.tensor([film.labels for film in films], dtype=torch.float32))


def train(config: GanConfig, data: Path, runs: Path, base: Path) -> Path:
    """Grow the GAN to size_px and go on there until `cpu_s` is spent; the run folder. Resumes from
    last.pt."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    folder = runs / config.name / f"fold{config.fold}"
    begin(config, folder)
    try:
        top = levels(config.size_px)
    except ValueError as error:
        raise TrainingError(str(error)) from None
    films, _ = parts_of(config, data, base)
    images = pixels.load(films, config.size_px, runs / "cache")
    labels = _labels(films)
    maker, critic = (
        kind(config.size_px, len(LABELS), config.width) for kind in (Generator, Critic)
    )
    average = Average(maker, config.ema_decay)
    optimisers = [
        torch.optim.Adam(network.parameters(), lr=config.rate, betas=(0.0, 0.99))
        for network in (maker, critic)
    ]
    total, shown, spent = config.films_per_phase * (2 * top + 1), 0, 0.0
    saved = checkpoint.load(folder / "last.pt")
    if saved:
        maker.load_state_dict(saved["maker"])
        critic.load_state_dict(saved["critic"])
        for optimiser, state in zip(optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        generator.set_state(saved["generator"])
        shown, spent = saved["shown"], saved["spent"]
        average.state, average.steps = saved["average"], shown // config.batch
    progress = tqdm(total=total, initial=shown, desc=config.name, unit="film")
    next_save = shown + config.films_per_phase
    started = time.process_time() - spent
    with (folder / "log.jsonl").open("a") as log:
        while shown < total or spent < config.cpu_s:
            at = stage(shown, config.films_per_phase, top)
            chosen = torch.randint(len(films), (config.batch,), generator=generator)
            real = torch.from_numpy(images[chosen.numpy()])[:, None].float() / 127.5 - 1.0
            real = functional.interpolate(real, size=FIRST_PX * 2**at.level, mode="area")
            wanted = labels[chosen]
            noise = torch.randn(config.batch, LATENT, generator=generator)
            made = maker(noise, wanted, at.level, at.fade)
            # critic: real up, made down, slope near one, answers near zero
            answer = critic(real, wanted, at.level, at.fade)
            mix = torch.rand(config.batch, 1, 1, 1, generator=generator)
            loss = (
                critic(made.detach(), wanted, at.level, at.fade).mean()
                - answer.mean()
                + PENALTY
                * gradient_penalty(critic, real, made.detach(), wanted, at.level, at.fade, mix)
                + DRIFT * answer.pow(2).mean()
            )
            optimisers[1].zero_grad(set_to_none=True)
            loss.backward()
            optimisers[1].step()
            maker_loss = -critic(made, wanted, at.level, at.fade).mean()
            optimisers[0].zero_grad(set_to_none=True)
            maker_loss.backward()
            optimisers[0].step()
            average.update(maker)
            shown += config.batch
            progress.update(config.batch)
            spent = time.process_time() - started
            if shown >= next_save or (shown >= total and spent >= config.cpu_s):
                if not torch.isfinite(loss):
                    raise TrainingError(
                        "the GAN's loss is not a number: lower rate; the last checkpoint is intact"
                    )
                line = {
                    "films": shown,
                    "size_px": FIRST_PX * 2**at.level,
                    "critic": round(float(loss.detach()), 4),
                    "maker": round(float(maker_loss.detach()), 4),
                    "cpu_s": round(spent, 1),
                }
                log.write(json.dumps(line) + "\n")
                log.flush()
                checkpoint.save(
                    {
                        "maker": maker.state_dict(),
                        "critic": critic.state_dict(),
                        "average": average.state,
                        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                        "generator": generator.get_state(),
                        "shown": shown,
                        "spent": spent,
                    },
                    folder / "last.pt",
                )
                next_save += config.films_per_phase
    progress.close()
    return folder


def _small(images: pixels.Gray) -> NDArray[np.float32]:
    """Films as unit vectors of 32 × 32 pixels, so that brightness and contrast do not matter."""
    tensor = torch.from_numpy(np.array(images))[:, None].float()
    flat = functional.interpolate(tensor, size=COMPARE_PX, mode="area").flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    units: NDArray[np.float32] = (flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-6)).numpy()
    return units


def copy_limit(images: pixels.Gray, patients: list[str]) -> float:
    """Likeness above which a synthetic film counts as a copy: the 99th percentile of the likeness
    of real films to their nearest film of another patient."""
    small = _small(images)
    likeness = small @ small.T
    _, group = np.unique(patients, return_inverse=True)
    likeness[group[:, None] == group[None, :]] = -1.0
    return float(np.percentile(likeness.max(axis=1), 99))


def nearest(made: pixels.Gray, real: pixels.Gray) -> NDArray[np.float32]:
    """Likeness in [-1, 1] of every made film to its nearest real one."""
    return np.asarray((_small(made) @ _small(real).T).max(axis=1))


def kid(real: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    """Kernel inception distance (Bińkowski et al. 2018): unbiased MMD² with the cubic kernel on
    features (N, D); 0 for like distributions."""
    width = real.shape[1]

    def kernel(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((left @ right.T / width + 1) ** 3)

    def inside(given: NDArray[np.float64]) -> float:
        square, count = kernel(given, given), len(given)
        return float((square.sum() - np.trace(square)) / (count * (count - 1)))

    return inside(real) + inside(made) - 2 * float(kernel(real, made).mean())


Judge = Callable[[torch.Tensor], torch.Tensor]
"""(B, 1, S, S) in [0, 1] → feature maps (B, planes, g, g) of a network that has learnt films."""


def features(judge: Judge, images: pixels.Gray) -> NDArray[np.float64]:
    """Mean-pooled features (N, planes) as the judge sees films."""
    out = []
    with torch.no_grad():
        for start in range(0, len(images), 32):
            films = torch.from_numpy(np.array(images[start : start + 32]))[:, None].float() / 255
            out.append(judge(films).mean(dim=(2, 3)).numpy())
    return np.concatenate(out).astype(np.float64)


@dataclass(frozen=True)
class Written:
    """What `synthesise` wrote, what it refused as a copy and from which likeness on, and the KID of
    the training films from what it wrote and, as a yardstick, from the real films held back."""

    folder: Path
    written: int
    refused: int
    limit: float
    kid: float | None
    kid_of_held: float | None


def synthesise(
    config: GanConfig, run: Path, labels: tuple[str, ...], count: int, out: Path, data: Path,
    runs: Path, base: Path, judge: Judge | None = None,
) -> Written:  # fmt: skip
    """Write `count` films per label with labels.csv (synthetic = 1), copies left out; a label's
    companions are drawn from real films that have it."""
    saved = checkpoint.load(run / "last.pt")
    if saved is None:
        raise TrainingError(f"{run} holds no checkpoint: train the GAN first")
    model = Generator(config.size_px, len(LABELS), config.width)
    model.load_state_dict(saved["average"])
    films, held = parts_of(config, data, base)
    images = pixels.load(films, config.size_px, runs / "cache")
    table, top = _labels(films), levels(config.size_px)
    limit = copy_limit(images, [film.patient_id for film in films])
    generator = torch.Generator().manual_seed(config.seed)
    out.mkdir(parents=True, exist_ok=True)
    rows, kept, refused = [], [], 0
    for label in labels:
        if label not in LABELS:
            raise TrainingError(f"{label} is none of {', '.join(LABELS)}")
        having = table[table[:, LABELS.index(label)] > 0.5]
        if not len(having):
            raise TrainingError(f"no training film has {label}: nothing to learn it from")
        wanted = having[torch.randint(len(having), (count,), generator=generator)]
        with torch.no_grad():
            noise = torch.randn(count, LATENT, generator=generator)
            raw = model(noise, wanted, top, 1.0)[:, 0]
        made = ((raw.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
        likeness = nearest(made, images)
        for number in range(count):
            if likeness[number] > limit:
                refused += 1
                continue
            name = f"synthetic-{label}-{number:05d}.png"
            (out / name).write_bytes(xray.encode_png(made[number]))
            marks = {key: int(wanted[number, k]) for k, key in enumerate(LABELS)}
            rows.append({"image": name, "patient_id": Path(name).stem, **marks, "synthetic": 1})
            kept.append(made[number])
    with (out / "labels.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["image", "patient_id", *LABELS, "synthetic"])
        writer.writeheader()
        writer.writerows(rows)
    distance = yardstick = None
    if judge is not None and len(kept) > 1:
        real = features(judge, images)
        distance = kid(real, features(judge, np.stack(kept)))
        yardstick = kid(real, features(judge, pixels.load(held, config.size_px, runs / "cache")))
    return Written(out, len(kept), refused, limit, distance, yardstick)

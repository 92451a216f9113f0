"""Frozen maps of films and of moved, scaled copies of them, with the boxes of every copy.

Computed once and kept in the cache folder, like decoded films; a stopped run goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from models.training import pixels
from models.training.config import AttentionConfig, DenseConfig
from models.training.frozen import FrozenMaps
from models.training.records import Film, TrainingError

Floats = NDArray[np.float64]
Halves = NDArray[np.float16]
#: How far copies of a film are scaled, moved (share of the film) and changed in contrast (log).
SCALES, MOVE, CONTRAST = (0.85, 1.2), 0.08, 0.35
#: How many films pass between two notes of how far a run came.
COUNT_EVERY = 10


@dataclass(frozen=True)
class Move:
    """How a copy differs from its film: a point p comes to (p + (right, down) - 1/2) * scale + 1/2,
    and pixels in [0, 1] are raised to exp(contrast)."""

    scale: float = 1.0
    contrast: float = 0.0
    right: float = 0.0
    down: float = 0.0

    def boxes(self, boxes: Floats) -> Floats:
        """Boxes (N, 4) as shares of the film, where they lie on the copy."""
        shift = np.array([self.right, self.down] * 2)
        return np.asarray(((boxes + shift - 0.5) * self.scale + 0.5).clip(0, 1))

    def film(self, film: Tensor, size_px: int) -> Tensor:
        """The copy (1, 1, size_px, size_px) of a film (1, 1, H, W); never flipped, because the
        heart's side is a finding."""
        if self != Move():
            theta = torch.tensor(
                [[[1 / self.scale, 0, -2 * self.right], [0, 1 / self.scale, -2 * self.down]]]
            )
            places = functional.affine_grid(theta, list(film.shape), align_corners=False)
            film = functional.grid_sample(film, places, align_corners=False)
            film = film.pow(math.exp(self.contrast))
        return functional.interpolate(
            film, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
        )


def moves(films: int, copies: int, seed: int) -> list[list[Move]]:
    """How every copy of every film is moved; the first of each is the film as it is."""
    generator = np.random.default_rng(seed)

    def one() -> Move:
        scale, contrast = generator.uniform(*SCALES), generator.uniform(-CONTRAST, CONTRAST)
        return Move(scale, contrast, *map(float, generator.uniform(-MOVE, MOVE, 2)))

    return [[Move(), *(one() for _ in range(copies - 1))] for _ in range(films)]


@dataclass(frozen=True)
class Copies:
    """Frozen maps (films, copies, planes, g, g) and how each copy was moved."""

    maps: Halves
    moves: list[list[Move]]


def load(
    maps: FrozenMaps, films: Sequence[Film], config: AttentionConfig | DenseConfig, cache: Path
) -> Copies:
    """Maps of all films' copies, from the cache folder when neither films nor run did change."""
    drawn = moves(len(films), config.copies, config.seed)
    key = f"{config.trunks}|{config.init}|{config.size_px}|{config.copies}|{config.seed}"
    digest = hashlib.sha256(key.encode())
    # moved at twice the graph's size, so that nothing is lost on the way to it
    images = pixels.load(films, config.size_px * (2 if config.copies > 1 else 1), cache)
    for name in pixels.hashes(films, images).values():
        digest.update(name.encode())
    target = cache / f"maps-{digest.hexdigest()[:16]}.npy"
    if not target.exists():
        _compute(maps, images, drawn, config.size_px, target)
    return Copies(np.load(target, mmap_mode="r"), drawn)


def _compute(
    maps: FrozenMaps, images: pixels.Gray, drawn: list[list[Move]], size_px: int, target: Path
) -> None:
    partial, count = target.with_suffix(".partial"), target.with_suffix(".count")
    shape = (len(images), len(drawn[0]), maps.planes, maps.grid, maps.grid)
    try:
        done = pixels.done_before(partial, count)
        out = np.lib.format.open_memmap(
            partial, mode="r+" if done else "w+", dtype=np.float16, shape=shape
        )
        # takes the room now: writing a mapped file on a full disk would kill the process (SIGBUS)
        with partial.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
        progress = tqdm(total=len(images), initial=done, desc="frozen maps", unit="film")
        with torch.inference_mode():
            for number in range(done, len(images)):
                film = torch.from_numpy(np.array(images[number]))[None, None].float() / 255.0
                batch = torch.cat([move.film(film, size_px) for move in drawn[number]])
                batch = batch.contiguous(memory_format=torch.channels_last)
                out[number] = maps(batch).to(torch.float16).numpy()
                progress.update()
                if number % COUNT_EVERY == COUNT_EVERY - 1:
                    out.flush()
                    count.write_text(str(number + 1))
        progress.close()
        out.flush()
        partial.replace(target)
        count.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot write {partial} ({error.strerror}): free some space and run again"
        ) from None

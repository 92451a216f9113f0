"""Films → one uint8 array per size, decoded once and kept in a cache folder.

The decoder is the one that serving uses, so that a network sees the same pixels in both.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from models import xray
from models.training.records import Film, TrainingError

Gray = NDArray[np.uint8]
#: How many films are decoded between two notes of how far a run came.
COUNT_EVERY = 500
#: Side at which two films of other pixels are sure to differ.
HASH_PX = 64


def decode(path: Path, size: int) -> Gray:
    """One film as (size, size) gray; TrainingError names a file that cannot be opened."""
    try:
        return xray.stretch(xray.decode(path.read_bytes()).pixels, size)
    except xray.UnreadableFilm as error:
        raise TrainingError(
            f"{path} cannot be opened as a film ({error.code}): {error}; restore it or drop its row"
        ) from None
    except OSError as error:
        raise TrainingError(f"{path}: {error.strerror}; restore it or drop its row") from None


def load(films: Sequence[Film], size: int, cache: Path) -> Gray:
    """All films as (N, size, size) uint8, from the cache folder when they did not change."""
    digest = hashlib.sha256(f"{size}".encode())
    for film in films:
        try:
            facts = film.path.stat()
        except FileNotFoundError:
            raise TrainingError(f"{film.path} is missing: restore it or drop its row") from None
        digest.update(f"{film.path}|{facts.st_size}|{facts.st_mtime_ns}\n".encode())
    target = cache / f"films-{size}-{digest.hexdigest()[:16]}.npy"
    if target.exists():
        return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]
    cache.mkdir(parents=True, exist_ok=True)
    _decode_all(films, size, target)
    return np.load(target, mmap_mode="r")  # type: ignore[no-any-return]


def done_before(partial: Path, count: Path) -> int:
    """How many films a stopped run left in `partial`; 0 where the count beside it is not there, or
    was cut off by a full disk or a power cut."""
    try:
        return int(count.read_text()) if partial.exists() else 0
    except (FileNotFoundError, ValueError):
        return 0


def _decode_all(films: Sequence[Film], size: int, target: Path) -> None:
    """Decode into a file beside `target`, which takes its name when complete; a stopped run goes
    on where the count beside it says."""
    partial, count = target.with_suffix(".partial"), target.with_suffix(".count")
    shape = (len(films), size, size)
    try:
        done = done_before(partial, count)
        pixels = np.lib.format.open_memmap(
            partial, mode="r+" if done else "w+", dtype=np.uint8, shape=shape
        )
        # Takes the room now: writing a mapped file on a full disk would kill the process (SIGBUS).
        with partial.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, partial.stat().st_size)
        progress = tqdm(total=len(films), initial=done, desc=f"decoding at {size} px", unit="film")
        for number in range(done, len(films)):
            pixels[number] = decode(films[number].path, size)
            progress.update()
            if number % COUNT_EVERY == COUNT_EVERY - 1:
                pixels.flush()
                count.write_text(str(number + 1))
        progress.close()
        pixels.flush()
        partial.replace(target)
        count.unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(
            f"cannot write {partial} ({error.strerror}): free some space and run again"
        ) from None


def hashes(films: Sequence[Film], pixels: Gray) -> dict[str, str]:
    """A hash of each film's pixels, for the leakage guard."""
    return {
        film.name: hashlib.sha256(pixels[number].tobytes()).hexdigest()
        for number, film in enumerate(films)
    }


def known_hashes(films: Sequence[Film], cache: Path) -> dict[str, str]:
    """A hash of each film's pixels at HASH_PX, for runs that need no other array of all films."""
    return hashes(films, load(films, HASH_PX, cache))

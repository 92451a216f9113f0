"""The quality gate's verdicts on films and on other pictures: `python -m models.training.gate`.

Real films as they are and spoilt on purpose; photographs that installed libraries bring along,
whole and in parts; generated noise, gradients, documents and screens. Every picture is encoded and
decoded as an upload would be. Prints how many of each kind got which verdict; chooses nothing.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models import quality, xray
from models.training.cli import data_folder
from models.training.records import TrainingError

Gray = NDArray[np.uint8]
SIDE_PX = 384
PHOTOGRAPHS = (
    ("sklearn.datasets", "images/china.jpg"),
    ("sklearn.datasets", "images/flower.jpg"),
    ("ultralytics", "assets/bus.jpg"),
    ("ultralytics", "assets/zidane.jpg"),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
)
"""Photographs of things and people: (package, file)."""


def _to_bytes(values: NDArray[np.floating[Any]]) -> Gray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _tilted(film: Gray, degrees: float) -> Gray:
    return np.asarray(Image.fromarray(film).rotate(degrees, Image.Resampling.BILINEAR))


def _framed(film: Gray, gray: int) -> Gray:
    """The film in the middle of a screen or light box, 60 % of its width."""
    height, width = film.shape
    frame = np.full((round(height * 1.25), round(width * 1.66)), gray, np.uint8)
    top, left = (frame.shape[0] - height) // 2, (frame.shape[1] - width) // 2
    frame[top : top + height, left : left + width] = film
    return frame


SPOILT: dict[str, Callable[[Gray], Gray]] = {
    "film as it is": lambda film: film,
    "film, tilted by 8 degrees": lambda film: _tilted(film, 8),
    "film in a black frame": lambda film: _framed(film, 0),
    "film in a white frame": lambda film: _framed(film, 255),
    "film, half its contrast": lambda film: _to_bytes(film * 0.5 + 64),
    "film, JPEG quality 15": lambda film: xray.decode(xray.encode_jpeg(film, 15)).pixels,
    "film, inverted": lambda film: 255 - film,
    "film, turned by 90": lambda film: np.rot90(film, 1).copy(),
    "film, turned by 180": lambda film: np.rot90(film, 2).copy(),
    "film, turned by 270": lambda film: np.rot90(film, 3).copy(),
    "film, too dark (x 0.15)": lambda film: _to_bytes(film * 0.15),
    "film, too bright": lambda film: _to_bytes(film * 0.15 + 215),
    "film, burnt out (x 3)": lambda film: _to_bytes(film * 3.0),
    "film, left half only": lambda film: film[:, : film.shape[1] // 2].copy(),
    "film, upper half only": lambda film: film[: film.shape[0] // 2].copy(),
    "film, lower half only": lambda film: film[film.shape[0] // 2 :].copy(),
}


def _photographs(chance: np.random.Generator, count: int) -> Iterator[NDArray[np.uint8]]:
    """Parts of the photographs, at least a third of a side long; RGB (H, W, 3)."""
    whole = []
    for package, name in PHOTOGRAPHS:
        path = resources.files(package).joinpath(*name.split("/"))
        whole.append(np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")))
    for number in range(count):
        picture = whole[number % len(whole)]
        if number < len(whole):
            yield picture
            continue
        side = int(chance.uniform(0.34, 0.95) * min(picture.shape[:2]))
        top = int(chance.integers(0, picture.shape[0] - side + 1))
        left = int(chance.integers(0, picture.shape[1] - side + 1))
        yield picture[top : top + side, left : left + side].copy()


def _noise(chance: np.random.Generator) -> Gray:
    return chance.integers(0, 256, (SIDE_PX, SIDE_PX)).astype(np.uint8)


def _clouds(chance: np.random.Generator) -> Gray:
    """Noise whose spectrum falls as that of natural pictures does (1 / f)."""
    rows = np.fft.fftfreq(SIDE_PX)[:, None]
    columns = np.fft.rfftfreq(SIDE_PX)[None]
    size = np.hypot(rows, columns)
    size[0, 0] = 1.0
    phase = np.exp(2j * np.pi * chance.random(size.shape))
    picture = np.fft.irfft2(phase / size ** chance.uniform(1.0, 1.6), s=(SIDE_PX, SIDE_PX))
    low, high = np.percentile(picture, (0.5, 99.5))
    return _to_bytes((picture - low) / (high - low) * 255)


def _gradient(chance: np.random.Generator) -> Gray:
    down, across = np.mgrid[-1 : 1 : SIDE_PX * 1j, -1 : 1 : SIDE_PX * 1j]
    angle = chance.uniform(0, 2 * np.pi)
    value = down * np.sin(angle) + across * np.cos(angle)
    if chance.random() < 0.5:
        x, y = chance.uniform(-0.6, 0.6, 2)
        value = np.hypot(down - y, across - x) * chance.choice([-1.0, 1.0])
    return _to_bytes((value - value.min()) / np.ptp(value) * 255)


def _lines(chance: np.random.Generator, count: int) -> list[str]:
    letters = list("abcdefghijklmnopqrstuvwxyz      ")
    return ["".join(chance.choice(letters, int(chance.integers(10, 70)))) for _ in range(count)]


def _document(chance: np.random.Generator) -> Gray:
    """A page of text as a telephone sees it: gray paper, uneven light, some grain."""
    page = Image.new("L", (SIDE_PX, round(SIDE_PX * 1.3)), 235)
    pen, size = ImageDraw.Draw(page), int(chance.integers(8, 20))
    font = ImageFont.load_default(size=size)
    for number, line in enumerate(_lines(chance, page.height // (size + 4))):
        pen.text((20, number * (size + 4)), line, fill=30, font=font)
    left, right = (float(value) for value in chance.uniform(0.6, 1.0, 2))
    light = np.linspace(left, right, page.width)[None]
    return _to_bytes(np.asarray(page) * light + chance.normal(0, 6, (page.height, page.width)))


def _screen(chance: np.random.Generator) -> Gray:
    """Windows, buttons and text of a screen, dark or light."""
    dark = bool(chance.random() < 0.5)
    screen = Image.new("L", (512, 384), 30 if dark else 240)
    pen = ImageDraw.Draw(screen)
    for _ in range(int(chance.integers(4, 14))):
        x, y = (int(value) for value in chance.integers(0, (460, 340)))
        corner = (x + int(chance.integers(30, 300)), y + int(chance.integers(15, 200)))
        pen.rectangle((x, y, *corner), fill=int(chance.integers(0, 256)))
        pen.text((x + 4, y + 2), _lines(chance, 1)[0][:30], fill=255 if dark else 0)
    return np.asarray(screen)


MADE: dict[str, Callable[[np.random.Generator], Gray]] = {
    "noise": _noise,
    "clouds (1/f noise)": _clouds,
    "gradient": _gradient,
    "document": _document,
    "screen": _screen,
}


def verdict_of(film: xray.Film) -> str:
    """ "read", "read, mended", or the reason of the refusal."""
    verdict = quality.judge(film)
    if not verdict.usable:
        return str(verdict.reason)
    return "read, mended" if verdict.mended else "read"


def measure(paths: Sequence[Path], count: int, seed: int = 0) -> dict[str, Counter[str]]:
    """Verdicts by kind of picture: every film in each of its states, `count` of each other kind."""
    chance = np.random.default_rng(seed)
    found: dict[str, Counter[str]] = {kind: Counter() for kind in SPOILT}
    for path in paths:
        film = xray.decode(path.read_bytes())
        for kind, spoil in SPOILT.items():
            found[kind][verdict_of(replace(film, pixels=spoil(film.pixels)))] += 1
    for kind, make in MADE.items():
        found[kind] = Counter(
            verdict_of(xray.decode(xray.encode_png(make(chance)))) for _ in range(count)
        )
    for kind in ("photograph, gray", "photograph, colour"):
        found[kind] = Counter()
        for picture in _photographs(chance, count):
            shown = (
                picture if "colour" in kind else np.asarray(Image.fromarray(picture).convert("L"))
            )
            found[kind][verdict_of(xray.decode(xray.encode_jpeg(shown)))] += 1
    return found


def table(found: dict[str, Counter[str]]) -> str:
    """Rows of a Markdown table: pictures of a kind, read, mended, refused, and why."""
    lines = ["| picture | n | read | mended | refused | reasons |", "|---|---|---|---|---|---|"]
    for kind, verdicts in found.items():
        n = sum(verdicts.values())
        reasons = [(why, k) for why, k in verdicts.most_common() if not why.startswith("read")]
        refused = sum(k for _, k in reasons)
        said = ", ".join(f"{why} {k}" for why, k in reasons)
        shares = " | ".join(
            f"{k / n:.1%}" for k in (verdicts["read"], verdicts["read, mended"], refused)
        )
        lines.append(f"| {kind} | {n} | {shares} | {said} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table for the films under --data (nih/*.jpg) and for other pictures; the exit
    status."""
    parser = argparse.ArgumentParser(prog="python -m models.training.gate", description=__doc__)
    parser.add_argument("--data", help="folder with labels.csv and the films")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th film")
    parser.add_argument("--count", type=int, default=300, help="pictures of each other kind")
    args = parser.parse_args(argv)
    try:
        folder = data_folder(args.data)
        paths = sorted(folder.glob("nih/*.jpg"))[:: args.every]
        if not paths:
            raise TrainingError(f"no films in {folder / 'nih'}")
    except TrainingError as error:
        print(f"gate: {error}", file=sys.stderr)
        return 2
    print(table(measure(paths, args.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

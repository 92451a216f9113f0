"""The quality gate: may this film be read by the networks, and if not, what should the crew do?

A few numbers from a small copy of the film, no network, under 10 ms. The gate is lenient: a wrong
refusal costs a patient the reading, a wrong pass costs little, for AI is advice. Its verdicts on
real films, spoilt films and other pictures stand in docs/models.md; models/training/gate.py
measures them again. It knows a lateral film by the DICOM header only. It judges; it never opens a
file: numpy and models.xray only.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from models.xray import Film, Pixels, resize_to, stretch

MIN_SIDE_PX = 128
MAX_ASPECT = 1.8
"""Long side over short side, without a plain border; a 35 x 43 cm cassette has 1.23, a 16:9
picture 1.78, half of a square film 2."""
MAX_PLAIN_RANGE = 12
"""Gray levels within one row or column of a plain border; JPEG makes a few."""
MAX_EVEN_SHARE = 0.8
"""Share of neighbours that are equal: up to 0.4 on real films, from 0.87 on screens."""
MAX_ROUGHNESS = 0.045
"""Median Laplacian over the contrast: up to 0.02 on real films, from 0.07 on text and noise."""
MIN_EDGE, MAX_EDGE = 0.025, 0.30
"""Steepest percent of steps over the contrast: 0.04 to 0.19 on real films, 0.01 in a gradient,
0.2 to 0.6 in photographs of things."""
MIN_CONTRAST = 40
"""Gray levels between the darkest and the lightest percent; the real films start at 101."""
MAX_FLAT_SHARE = 0.6
"""Share of one single gray level; the real films end at 0.45, screenshots start above 0.6."""
MAX_COLOUR = 9.0
"""Colour that is not one tint over all the film, in gray levels RMS; photographs of things: > 9."""
MIN_LIKENESS = 0.40
"""Rank correlation with the mean chest below which it is none; two real films of 1,289 fall below
0.45."""
MIN_SURE_LIKENESS = 0.60
"""How well a film must fit once inverted or turned, for it to count as inverted or turned."""
MAX_TURNED_LIKENESS = 0.30
"""A film that fits better than this as it is counts as upright."""

_LATERAL_VIEWS = frozenset({"LL", "RL", "LATERAL", "LAT", "LLAT", "RLAT", "LEFT LATERAL"})
_SIDE = 16
# Mean of the brightness ranks of the 1,289 NIH films at 16 x 16 pixels, 0 dark .. 255 bright.
_MEAN_CHEST: npt.NDArray[np.float64] = np.frombuffer(
    base64.b64decode(
        "AAADBg8sXoaIYjESCAcHBw8bIiYrP2SGiGlDLigoJBU1TFZUTUpae4FfSExVWVE5XHd8bVE/THR9UTpIaHt4X3"
        "WMjXBCLUF2hEwqN2SJi3R9kZJrOCVAgJJSJy9ejI96eIyRZjYqTZCjZjMwWoqLc2yDjWQ6OGGjtIFJOVqGgmZe"
        "e4llRkp3tcWdaE1gg3tZU3aHblpjjsXTt4poa4J2T0pwiIB5hKjT3cmmhXyDckhBao6Zn6vF4OfXvqKRiGxAOW"
        "aZtMPO3e3w5NO9qJBmOTJjocjb5u/4+fDk07yYYzMvYqbS6PP5//737uDIn2IwM2aq1ur0+v79+PDkzqNlMw=="
    ),
    np.uint8,
).astype(np.float64)


class UnusableReason(StrEnum):
    """Why a film that opens is not read by the networks."""

    TOO_SMALL = "too_small"
    WRONG_SHAPE = "wrong_shape"
    NO_CONTRAST = "no_contrast"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    COLOUR_PHOTOGRAPH = "colour_photograph"
    LATERAL = "lateral"
    TURNED = "turned"
    NOT_A_FRONTAL_CHEST = "not_a_frontal_chest"
    CHILD = "child"
    """Under 16 years; judged by dispatch from the header, for pixels do not tell."""


@dataclass(frozen=True)
class Verdict:
    """usable, or why not with a message for the crew; mended: the film must be turned over first
    (255 - pixels), for it came with black and white exchanged.
    """

    usable: bool
    reason: UnusableReason | None = None
    message: str = ""
    mended: bool = False


def judge(film: Film) -> Verdict:
    """Verdict on one decoded film; pure, and quick on films of any size."""
    shown = resize_to(film.pixels, 512)
    content = _without_border(shown)
    small = resize_to(content, 256)
    dark, light = (float(value) for value in np.percentile(small, (1, 99)))
    sides = sorted((film.width_px, film.height_px))
    if sides[0] < MIN_SIDE_PX:
        return _unusable(
            UnusableReason.TOO_SMALL,
            f"The picture is only {film.width_px} x {film.height_px} pixels: send the full size.",
        )
    if light < 60:
        return _unusable(UnusableReason.TOO_DARK, "The film is nearly black: take it again.")
    if dark > 200:
        return _unusable(UnusableReason.TOO_BRIGHT, "The film is nearly white: take it again.")
    if light - dark < MIN_CONTRAST:
        return _unusable(
            UnusableReason.NO_CONTRAST, "The film shows hardly any contrast: take it again."
        )
    if max(content.shape) >= MAX_ASPECT * min(content.shape):
        return _unusable(
            UnusableReason.WRONG_SHAPE,
            "The picture is too long and narrow, or half a film: show the whole film.",
        )
    if film.view_position in _LATERAL_VIEWS:
        return _unusable(
            UnusableReason.LATERAL, "This is a lateral view: the networks read frontal films only."
        )
    if film.colour is not None and _colourfulness(film.colour) > MAX_COLOUR:
        return _unusable(
            UnusableReason.COLOUR_PHOTOGRAPH,
            "This is a colour photograph: send the film, or a picture of it alone.",
        )
    if np.bincount(small.ravel(), minlength=256).max() > MAX_FLAT_SHARE * small.size:
        return _not_a_chest()
    if not _has_texture_of_a_film(small, light - dark):
        return _not_a_chest()
    return _judge_likeness(small)


def _without_border(pixels: Pixels) -> Pixels:
    """The picture without rows and columns of one gray around it, if enough of it is left."""
    rows, columns = (_inside(np.ptp(pixels, axis=axis)) for axis in (1, 0))
    inner = pixels[rows, columns]
    enough = min(inner.shape) >= min(MIN_SIDE_PX, *pixels.shape)
    return np.ascontiguousarray(inner) if enough else pixels


def _inside(extent: npt.NDArray[np.uint8]) -> slice:
    """Where the first and the last line lie that are not of one gray, given each line's range."""
    busy = np.flatnonzero(extent > MAX_PLAIN_RANGE)
    if not len(busy):
        return slice(None)
    first, end = int(busy[0]), int(busy[-1]) + 1
    # The lines next to a border mix it with the film where the picture was made smaller.
    return slice(first + 2 * (first > 0), end - 2 * (end < len(extent)))


def _has_texture_of_a_film(small: Pixels, contrast: float) -> bool:
    """Whether it is neither as even as a screen, as smooth as a gradient nor as rough as text."""
    gray = small.astype(np.int16)
    steps = np.concatenate(
        [np.abs(np.diff(gray, axis=0)).ravel(), np.abs(np.diff(gray, axis=1)).ravel()]
    )
    centre = gray[1:-1, 1:-1]
    around = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return bool(
        (steps == 0).mean() <= MAX_EVEN_SHARE
        and MIN_EDGE <= np.percentile(steps, 99) / contrast <= MAX_EDGE
        and np.median(np.abs(4 * centre - around)) / contrast <= MAX_ROUGHNESS
    )


def _judge_likeness(small: Pixels) -> Verdict:
    whole, best, worst = likeness(small)
    if best < MIN_LIKENESS and -whole > MIN_SURE_LIKENESS and -worst > MIN_SURE_LIKENESS:
        return Verdict(True, mended=True, message="Black and white were exchanged: mended.")
    turned = max(
        float(ranks(np.ascontiguousarray(np.rot90(small, quarter))) @ _mean_chest())
        for quarter in (1, 2, 3)
    )
    if whole < MAX_TURNED_LIKENESS and turned > max(MIN_SURE_LIKENESS, whole + 0.4):
        return _unusable(
            UnusableReason.TURNED, "The film lies on its side or head: send it upright."
        )
    return Verdict(True) if best >= MIN_LIKENESS else _not_a_chest()


def _unusable(reason: UnusableReason, message: str) -> Verdict:
    return Verdict(False, reason, message)


def _not_a_chest() -> Verdict:
    return _unusable(
        UnusableReason.NOT_A_FRONTAL_CHEST,
        "This does not look like a frontal chest film: check the picture, or send it without one.",
    )


def ranks(pixels: Pixels) -> npt.NDArray[np.float64]:
    """Brightness ranks of uint8 (H, W) at 16 x 16, mean 0 and length 1: blind to any window."""
    order = np.argsort(np.argsort(stretch(pixels, _SIDE), axis=None, kind="stable"))
    centred = order - order.mean()
    return np.asarray(centred / np.linalg.norm(centred), np.float64)


def _mean_chest() -> npt.NDArray[np.float64]:
    centred = _MEAN_CHEST - _MEAN_CHEST.mean()
    return np.asarray(centred / np.linalg.norm(centred), np.float64)


def likeness(pixels: Pixels) -> tuple[float, float, float]:
    """Rank correlation -1..1 with the mean chest: of the whole film, and the best and the worst
    over the film and crops of 4/5 and 2/3 of it (a film may lie in a wide frame).
    """
    height, width = pixels.shape
    found = []
    for share in (1.0, 0.8, 0.66):
        rows, columns = round(height * share), round(width * share)
        for top in sorted({0, (height - rows) // 2, height - rows}):
            for left in sorted({0, (width - columns) // 2, width - columns}):
                crop = pixels[top : top + rows, left : left + columns]
                found.append(float(ranks(np.ascontiguousarray(crop)) @ _mean_chest()))
    return found[0], max(found), min(found)


def _colourfulness(thumbnail: Pixels) -> float:
    """RMS in gray levels of the colour that no single tint explains, of uint8 (H, W, 3).

    A photographed film may be bluish or yellow as a whole, more so where it is bright: red and blue
    against luminance are then a straight line of the luminance.
    """
    rgb = thumbnail.reshape(-1, 3).astype(np.float64)
    luminance = rgb @ (0.299, 0.587, 0.114)
    chroma = rgb[:, (0, 2)] - luminance[:, None]
    design = np.stack([np.ones_like(luminance), luminance], axis=1)
    rest = chroma - design @ np.linalg.lstsq(design, chroma, rcond=None)[0]
    return float(np.sqrt((rest**2).mean()))

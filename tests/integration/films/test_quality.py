"""The quality gate on drawn films and on what is no film at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from models import quality
from models.card import NIH_LABELS
from models.phantom import phantom
from models.quality import UnusableReason
from models.xray import Film, MediaType, Pixels, resize_to

CHEST = phantom(5, size_px=256).pixels


def judged(pixels: npt.NDArray[np.uint8], **fields: object) -> quality.Verdict:
    return quality.judge(Film(pixels, MediaType.PNG, **fields))  # type: ignore[arg-type]


def grain(low: int, high: int) -> Pixels:
    return np.random.default_rng(1).integers(low, high, (256, 256)).astype(np.uint8)


def a_house() -> Pixels:
    """A gray photograph of sorts: bright sky, dark ground, a house with windows."""
    y, x = np.mgrid[:256, :256]
    scene = np.where(y < 130, 220 - y // 3, 70 + x // 8)
    scene[90:200, 60:200] = 120
    scene[120:150, 80:110] = scene[120:150, 150:180] = 30
    return (scene + grain(0, 12)).astype(np.uint8)


@pytest.mark.parametrize("label", [None, *NIH_LABELS])
def test_every_drawn_chest_is_usable(label: str | None) -> None:
    film = phantom(17, [label] if label else [], 256)
    assert judged(film.pixels) == quality.Verdict(True)


def a_screen() -> Pixels:
    """Windows on a desktop, bright where a chest is bright, so that the likeness is fooled."""
    screen = np.full((256, 256), 60, np.uint8)
    screen[130:, 20:236] = 230
    screen[:130, 100:156] = 200
    screen[10:30, 10:60] = 90
    return screen


def a_gradient() -> Pixels:
    """Brighter towards the lower middle, as a chest is."""
    y, x = np.mgrid[:256, :256]
    return (255 - np.hypot(x - 128, y - 230) * 0.9).clip(0, 255).astype(np.uint8)


def a_page() -> Pixels:
    """Text over a shadow that looks like a chest from afar."""
    rows = np.indices((256, 256))[0]
    ink = (np.random.default_rng(2).random((256, 256)) < 0.5) & (rows % 8 < 5)
    return np.where(ink, CHEST // 4, CHEST).astype(np.uint8)


UNUSABLE = {
    "small": (resize_to(CHEST, 100), UnusableReason.TOO_SMALL),
    "a strip": (np.repeat(CHEST, 3, axis=1)[:, :700], UnusableReason.WRONG_SHAPE),
    "black": (np.zeros((256, 256), np.uint8), UnusableReason.TOO_DARK),
    "white": (np.full((256, 256), 255, np.uint8), UnusableReason.TOO_BRIGHT),
    "gray": (grain(110, 140), UnusableReason.NO_CONTRAST),
    "noise": (grain(0, 256), UnusableReason.NOT_A_FRONTAL_CHEST),
    "a house": (a_house(), UnusableReason.NOT_A_FRONTAL_CHEST),
    "a screenshot": (
        np.where(np.indices((256, 256))[0] % 16 < 4, CHEST, 255).astype(np.uint8),
        UnusableReason.NOT_A_FRONTAL_CHEST,
    ),
    "a screen": (a_screen(), UnusableReason.NOT_A_FRONTAL_CHEST),
    "a gradient": (a_gradient(), UnusableReason.NOT_A_FRONTAL_CHEST),
    "a page": (a_page(), UnusableReason.NOT_A_FRONTAL_CHEST),
    "the lower half": (CHEST[128:].copy(), UnusableReason.WRONG_SHAPE),
    "the left half": (CHEST[:, :128].copy(), UnusableReason.WRONG_SHAPE),
    "on its side": (np.rot90(CHEST).copy(), UnusableReason.TURNED),
    "on its head": (np.rot90(CHEST, 2).copy(), UnusableReason.TURNED),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_read_has_a_reason_and_an_advice(name: str) -> None:
    pixels, reason = UNUSABLE[name]
    verdict = judged(pixels)
    assert (verdict.usable, verdict.reason) == (False, reason)
    assert ":" in verdict.message


@pytest.mark.parametrize("name", ["a screen", "a gradient", "a page"])
def test_texture_tells_what_likeness_alone_would_pass(name: str) -> None:
    assert quality.likeness(UNUSABLE[name][0])[1] > quality.MIN_LIKENESS


@pytest.mark.parametrize("border", [0, 128, 255])
def test_a_plain_border_does_not_count(border: int) -> None:
    framed = np.full((500, 700), border, np.uint8)
    framed[100:356, 300:556] = CHEST
    assert judged(framed) == quality.Verdict(True)


def test_exchanged_black_and_white_is_mended() -> None:
    verdict = judged(255 - CHEST)
    assert (verdict.usable, verdict.mended) == (True, True)


@pytest.mark.parametrize("view", ["LL", "RL", "LATERAL"])
def test_a_lateral_view_is_known_by_its_header(view: str) -> None:
    assert judged(CHEST, view_position=view).reason is UnusableReason.LATERAL
    assert judged(CHEST, view_position="AP").usable


def test_a_tint_is_no_colour_but_colours_are() -> None:
    small = resize_to(CHEST, 64).astype(float)
    bluish = np.dstack([small * 0.80, small * 0.9, small * 0.95 + 8]).astype(np.uint8)
    assert judged(CHEST, colour=bluish).usable
    colourful = np.dstack([small, small.T, small[::-1]]).astype(np.uint8)
    assert judged(CHEST, colour=colourful).reason is UnusableReason.COLOUR_PHOTOGRAPH


def test_any_window_gives_the_same_likeness() -> None:
    bright = (128 + CHEST.astype(float) * 0.45).astype(np.uint8)
    assert quality.likeness(bright)[0] == pytest.approx(quality.likeness(CHEST)[0], abs=0.03)

"""PNG and JPEG through the one decoder, and what is done with pixels afterwards."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models import xray
from models.phantom import phantom
from models.xray import Box, FilmFault, MediaType, Pixels, UnreadableFilm

RAMP = np.tile(np.arange(0, 240, 2, dtype=np.uint8), (90, 1))  # 90 x 120, dark to light


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png(pixels: Any, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "PNG", **options)


def jpeg(pixels: Any, **options: Any) -> bytes:
    return saved(Image.fromarray(pixels), "JPEG", **({"quality": 95} | options))


def fault(data: bytes) -> FilmFault:
    with pytest.raises(UnreadableFilm) as refused:
        xray.decode(data)
    assert refused.value.message.endswith((".", ")"))
    return refused.value.code


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_gray_png_is_taken_as_it_is() -> None:
    film = xray.decode(png(RAMP))
    assert np.array_equal(film.pixels, RAMP)
    assert (film.width_px, film.height_px) == (120, 90)
    assert film.media_type is MediaType.PNG
    assert not film.was_colour


def test_a_gray_jpeg_is_taken_as_it_is() -> None:
    film = xray.decode(jpeg(RAMP))
    assert film.media_type is MediaType.JPEG
    assert np.abs(film.pixels.astype(int) - RAMP).max() <= 3


@pytest.mark.parametrize("top", [65535, 16383, 4095, 1023])
def test_a_16_bit_png_keeps_its_range(top: int) -> None:
    values = np.tile(np.linspace(0, top, 120).astype(np.uint16), (90, 1))
    film = xray.decode(png(values))
    assert (film.pixels[:, 0].max(), film.pixels[:, -1].min()) == (0, 255)
    assert np.abs(film.pixels[0].astype(int) - np.linspace(0, 255, 120)).max() <= 1


def test_a_1_bit_and_a_palette_png_are_gray() -> None:
    bilevel = xray.decode(saved(Image.fromarray(RAMP > 120), "PNG"))
    assert set(np.unique(bilevel.pixels)) == {0, 255}
    palette = xray.decode(saved(Image.fromarray(RAMP).convert("P"), "PNG"))
    assert np.array_equal(palette.pixels, RAMP)


def test_what_is_transparent_is_black() -> None:
    film = xray.decode(png(np.dstack([RAMP, np.where(RAMP < 120, 0, 255).astype(np.uint8)])))
    assert film.pixels[RAMP < 120].max() == 0
    assert film.pixels[RAMP >= 120].min() == 120


def test_gray_stored_as_colour_counts_as_gray_and_colour_as_colour() -> None:
    assert not xray.decode(jpeg(np.dstack([RAMP] * 3))).was_colour
    film = xray.decode(jpeg(np.dstack([RAMP, RAMP[::-1, ::-1], RAMP])))
    assert film.colour is not None
    assert film.colour.shape == (64, 64, 3)


def test_a_cmyk_jpeg_is_no_negative() -> None:
    film = xray.decode(saved(Image.fromarray(RAMP).convert("CMYK"), "JPEG", quality=95))
    assert film.pixels[:, 0].mean() < 10 < 200 < film.pixels[:, -1].mean()


def test_a_progressive_jpeg_is_read() -> None:
    assert xray.decode(jpeg(RAMP, progressive=True)).pixels.shape == (90, 120)


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [(3, lambda p: p[::-1, ::-1]), (6, lambda p: np.rot90(p, -1)), (8, lambda p: np.rot90(p))],
)
def test_a_turned_photograph_is_put_upright(orientation: int, turned: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    film = xray.decode(jpeg(RAMP, exif=exif))
    assert np.abs(film.pixels.astype(int) - turned(RAMP)).max() <= 3


def test_damaged_exif_is_no_reason_to_refuse() -> None:
    film = xray.decode(jpeg(RAMP, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"))
    assert film.pixels.shape == (90, 120)


def test_of_an_animated_png_the_first_frame_is_read() -> None:
    frames = [Image.fromarray(np.full((64, 64), 255 - i % 250, np.uint8)) for i in range(100)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert xray.decode(data).pixels.min() == 255


def test_a_zip_behind_a_jpeg_is_left_behind() -> None:
    film = xray.decode(jpeg(RAMP) + b"PK\x03\x04" + b"payload" * 100)
    assert b"payload" not in xray.encode_png(film.pixels)


NO_FILMS = {
    "empty": (b"", FilmFault.EMPTY),
    "one byte": (b"\x89", FilmFault.NOT_A_FILM),
    "text": (b"no film at all " * 20, FilmFault.NOT_A_FILM),
    "over 32 MiB": (bytes(xray.MAX_BYTES + 1), FilmFault.TOO_MANY_BYTES),
    "TIFF": (saved(Image.fromarray(RAMP), "TIFF"), FilmFault.OTHER_FORMAT),
    "GIF": (saved(Image.fromarray(RAMP), "GIF"), FilmFault.OTHER_FORMAT),
    "BMP": (saved(Image.fromarray(RAMP), "BMP"), FilmFault.OTHER_FORMAT),
    "WebP": (saved(Image.fromarray(RAMP), "WEBP"), FilmFault.OTHER_FORMAT),
    "Photoshop": (b"8BPS\0\1" + bytes(64), FilmFault.OTHER_FORMAT),
    "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n" + bytes(64), FilmFault.OTHER_FORMAT),
    "PDF": (b"%PDF-1.7\n" + bytes(64), FilmFault.OTHER_FORMAT),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>" + bytes(64), FilmFault.OTHER_FORMAT),
    "HEIC": (b"\0\0\0\x18ftypheic" + bytes(64), FilmFault.OTHER_FORMAT),
    "PNG signature alone": (png(RAMP)[:8], FilmFault.CORRUPT),
    "half a PNG": (png(RAMP)[: len(png(RAMP)) // 2], FilmFault.TRUNCATED),
    "half a JPEG": (jpeg(RAMP)[: len(jpeg(RAMP)) // 2], FilmFault.TRUNCATED),
}


@pytest.mark.parametrize("name", NO_FILMS)
def test_what_is_no_film_is_refused_with_its_reason(name: str) -> None:
    data, code = NO_FILMS[name]
    assert fault(data) is code


def test_a_png_with_a_wrong_checksum_is_refused() -> None:
    data = bytearray(png(RAMP))
    data[data.index(b"IHDR") + 4] ^= 1
    assert fault(bytes(data)) is FilmFault.CORRUPT


def test_a_png_whose_data_is_rubbish_is_refused() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"rubbish") + png_chunk(b"IEND", b"")
    assert fault(data) in (FilmFault.CORRUPT, FilmFault.TRUNCATED)


@pytest.mark.parametrize("side", [6400, 13_000, 60_000])
def test_a_picture_too_large_is_refused_by_its_header(side: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert fault(data) is FilmFault.TOO_MANY_PIXELS


def test_a_text_chunk_that_inflates_too_far_is_refused() -> None:
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200 * 2**20), 9))
    data = png(RAMP)
    assert fault(data[:33] + bomb + data[33:]) is FilmFault.CORRUPT


def test_a_refusal_travels_between_processes() -> None:
    refusal = pickle.loads(pickle.dumps(UnreadableFilm(FilmFault.EMPTY, "The file is empty.")))
    assert (refusal.code, refusal.message) == (FilmFault.EMPTY, "The file is empty.")
    assert str(refusal) == "The file is empty."


def test_codes_are_distinct_and_stable_words() -> None:
    assert len({str(code) for code in FilmFault}) == len(FilmFault)
    assert all(str(code).startswith(("film_", "dicom_")) for code in FilmFault)


def test_resizing_only_makes_films_smaller() -> None:
    assert xray.resize_to(RAMP, 60).shape == (45, 60)
    assert xray.resize_to(RAMP, 600) is RAMP
    assert xray.stretch(RAMP, 50).shape == (50, 50)
    assert xray.resize_to(np.zeros((5, 4000), np.uint8), 100).shape == (1, 100)


def test_a_letterbox_says_where_the_film_lies() -> None:
    square, scale, pad_x, pad_y = xray.letterbox(RAMP, 60)
    assert (square.shape, scale, pad_x, pad_y) == ((60, 60), 0.5, 0, 7)
    assert (square[:7] == xray.LETTERBOX_GRAY).all()
    assert np.abs(square[30].astype(int) - RAMP[0, ::2]).max() <= 4


def test_encoded_films_come_back() -> None:
    pixels = phantom(1, size_px=128).pixels
    assert np.array_equal(xray.decode(xray.encode_png(pixels)).pixels, pixels)
    back = xray.decode(xray.encode_jpeg(pixels, 95)).pixels
    assert np.abs(back.astype(int) - pixels).mean() < 3


def test_boxes_are_drawn_with_their_label_inside_the_film() -> None:
    film: Pixels = np.zeros((300, 400), np.uint8)
    boxes = [Box("Pleural_Thickening", 0.83, 350, 2, 399, 120), Box("Mass", 0.4, 50, 100, 150, 200)]
    drawn = xray.draw_boxes(film, boxes)
    assert drawn.shape == (340, 400, 3)
    drawn, words = drawn[:300], drawn[300:]
    for line in (words[:20], words[20:]):
        assert 0.05 < (line > 128).mean() < 0.5, "English above, Korean below: not for diagnosis"
    yellow = (drawn[..., 0] > 200) & (drawn[..., 2] < 50)
    assert yellow[100, 50:150].all()
    assert yellow[100:200, 50].all()
    assert yellow[75:98, 50:130].any(), "the label stands above its box"
    assert not yellow[201:, :340].any()
    assert np.array_equal(film, np.zeros_like(film)), "the film itself stays as it was"

"""The one decoder: bytes of a chest film in, plain 8-bit pixels out.

Training, serving and what an emergency room sees all come through `decode`, so that a film looks
the same to everybody: uint8 (H, W), 0 is air (black), 255 is bone (white), right way up. Bytes come
from strangers: outside tests and training, decode them only inside broker/sandbox; the checks here
(size before decompression, allow-lists, declared against real lengths) make refusals quick and
their reasons clear, the sandbox makes the rest harmless. numpy, Pillow and pydicom may enter,
nothing of ours. pydicom is imported late, for the inference pools never see a DICOM file.
"""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

from models.film import (
    MAX_BYTES,
    MAX_PIXELS,
    DeepFilm,
    Film,
    FilmFault,
    MediaType,
    Pixels,
    UnreadableFilm,
    colour_thumbnail,
    too_many_pixels,
)

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Box",
    "DeepFilm",
    "Film",
    "FilmFault",
    "MediaType",
    "Pixels",
    "UnreadableFilm",
    "decode",
    "decode_deep",
    "draw_boxes",
    "encode_jpeg",
    "encode_overlay",
    "encode_png",
    "film_of",
    "letterbox",
    "open_dicom",
    "resize_to",
    "shrink_deep",
    "sniff",
    "stretch",
]

Image.preinit()  # films are read in forks: each would import Pillow's formats anew

LETTERBOX_GRAY = 114
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"


class Box(NamedTuple):
    """A labelled rectangle in pixels of the film it was found on; x1 and y1 are exclusive."""

    label: str
    score: float
    x0: float
    y0: float
    x1: float
    y1: float


def decode(data: bytes) -> Film:
    """Pixels of a PNG, JPEG or DICOM chest film; raises UnreadableFilm with a stable code."""
    media_type = sniff(data)
    if media_type is MediaType.DICOM:
        return film_of(open_dicom(data))
    return _decode_raster(data, media_type)


def decode_deep(data: bytes) -> DeepFilm:
    """All gray levels of a PNG, JPEG or DICOM film, upright; raises UnreadableFilm as decode does.

    A picture of 8 bits keeps its 8; nothing is invented.
    """
    if sniff(data) is MediaType.DICOM:
        from models import dicom_pixels

        return dicom_pixels.deep_of(open_dicom(data))
    film = decode(data)  # also refuses what is too large, before anything is decompressed
    if sniff(data) is MediaType.PNG:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.mode.startswith("I"):
                levels = np.clip(np.asarray(_upright(image)), 0, 2**16 - 1).astype(np.uint16)
                bits = _bits_used(int(levels.max(initial=0)))
                return DeepFilm(levels, bits, 0, 2**bits - 1)
    return DeepFilm(film.pixels.astype(np.uint16), 8, 0, 255)


def sniff(data: bytes) -> MediaType:
    """What the bytes are, whatever the name says; raises UnreadableFilm if none of ours."""
    if not data:
        raise UnreadableFilm(FilmFault.EMPTY, "The file is empty; send it again.")
    if len(data) > MAX_BYTES:
        raise UnreadableFilm(
            FilmFault.TOO_MANY_BYTES,
            f"The file has {len(data)} bytes; at most {MAX_BYTES} are accepted.",
        )
    if data.startswith(_PNG_SIGNATURE):
        return MediaType.PNG
    if data.startswith(_JPEG_SIGNATURE):
        return MediaType.JPEG
    # PS3.10 section 7.1: 128 bytes of anything, then DICM. Older writers left both out and began
    # with group 0008 (or 0002), little endian.
    if data[128:132] == b"DICM" or (
        len(data) >= 16 and data[:2] in (b"\x02\x00", b"\x08\x00") and data[3] == 0
    ):
        return MediaType.DICOM
    if name := _other_format(data):
        raise UnreadableFilm(
            FilmFault.OTHER_FORMAT, f"This is {name}; send the film as PNG, JPEG or DICOM."
        )
    raise UnreadableFilm(
        FilmFault.NOT_A_FILM, "This is not an image; send the film as PNG, JPEG or DICOM."
    )


def _other_format(data: bytes) -> str | None:
    head = data[:512].lstrip()
    if data[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file"
    known = {
        b"II*\x00": "a TIFF file",
        b"MM\x00*": "a TIFF file",
        b"GIF8": "a GIF file",
        b"BM": "a BMP file",
        b"RIFF": "a WebP or other RIFF file",
        b"8BPS": "a Photoshop file",
        b"%!PS": "a PostScript file",
        b"%PDF": "a PDF file",
        b"PK\x03\x04": "a ZIP file",
        b"\x1f\x8b": "a gzip file",
        b"\x00\x00\x00\x0cjP  ": "a JPEG 2000 picture",
        b"\xff\x4f\xff\x51": "a JPEG 2000 picture",
        b"<": "an HTML, XML or SVG file",
    }
    return next((name for magic, name in known.items() if head.startswith(magic)), None)


def open_dicom(data: bytes) -> FileDataset:
    """Parse a DICOM file of one plain radiograph without decoding its pixels.

    Everything that a header can tell is judged: kind of object, transfer syntax, lengths, pixel
    description. Files without preamble or file meta group are read, too. Raises UnreadableFilm.
    """
    from models import dicom_pixels

    return dicom_pixels.open_dicom(data)


def film_of(dataset: FileDataset) -> Film:
    """Decode the pixels of an opened radiograph as its header wants them shown."""
    from models import dicom_pixels

    return dicom_pixels.film_of(dataset)


# --- PNG and JPEG -------------------------------------------------------------------------------


def _decode_raster(data: bytes, media_type: MediaType) -> Film:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Other warnings are remarks on EXIF or metadata, which are not kept.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise too_many_pixels(image.width, image.height)
                image.load()
                return _film_of_image(_upright(image), media_type)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableFilm(
            FilmFault.TOO_MANY_PIXELS, f"The picture is larger than {MAX_PIXELS} pixels."
        ) from error
    except (UnreadableFilm, MemoryError):
        raise
    except Exception as error:  # Pillow's parsers raise whatever they stumble over
        if "truncated" in str(error).lower():
            raise UnreadableFilm(
                FilmFault.TRUNCATED, "The picture ends early; send it again."
            ) from error
        raise UnreadableFilm(
            FilmFault.CORRUPT, "The picture is damaged; take it or export it again."
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the pixels: keep them as stored
        return image


def _film_of_image(image: Image.Image, media_type: MediaType) -> Film:
    if image.mode.startswith(("I", "F")):
        return Film(_full_range(np.asarray(image)), media_type)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), rgba).convert("RGB")
    if image.mode in ("L", "1"):
        return Film(np.array(image.convert("L")), media_type)
    rgb = image.convert("RGB")
    return Film(np.array(rgb.convert("L")), media_type, colour=colour_thumbnail(rgb))


def _full_range(values: npt.NDArray[Any]) -> Pixels:
    """8 bits of a 16-bit gray picture, whose writer may have used only 10, 12 or 14 of them."""
    bits = _bits_used(max(int(values.max(initial=0)), 0))
    table = np.linspace(0, 255, 2**bits).round().astype(np.uint8)
    return np.asarray(table[np.clip(values, 0, 2**bits - 1).astype(np.uint16)], np.uint8)


def _bits_used(top: int) -> int:
    """How many of its 16 bits a writer used, by the highest level that occurs."""
    return next((bits for bits in (8, 10, 12, 14) if top < 2**bits), 16)


# --- Pixels in, pixels or files out -------------------------------------------------------------


def _resized(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    image = Image.fromarray(pixels)
    size = (max(width_px, 1), max(height_px, 1))
    return np.array(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))


def resize_to(pixels: Pixels, max_side_px: int) -> Pixels:
    """uint8 (H, W) with its long side at most max_side_px; smaller films stay as they are."""
    height, width = pixels.shape[:2]
    scale = min(1.0, max_side_px / max(height, width))
    return _resized(pixels, round(width * scale), round(height * scale))


def stretch(pixels: Pixels, size_px: int) -> Pixels:
    """uint8 (size_px, size_px), the aspect ratio given up."""
    return _resized(pixels, size_px, size_px)


def letterbox(pixels: Pixels, size_px: int) -> tuple[Pixels, float, int, int]:
    """uint8 (size_px, size_px) with the film centred on gray, and scale, pad_x and pad_y in pixels.

    A point (x, y) of the film lies at (x * scale + pad_x, y * scale + pad_y) of the square.
    """
    height, width = pixels.shape
    scale = size_px / max(height, width)
    inner = _resized(pixels, round(width * scale), round(height * scale))
    pad_y, pad_x = (size_px - inner.shape[0]) // 2, (size_px - inner.shape[1]) // 2
    square = np.full((size_px, size_px), LETTERBOX_GRAY, np.uint8)
    square[pad_y : pad_y + inner.shape[0], pad_x : pad_x + inner.shape[1]] = inner
    return square, scale, pad_x, pad_y


def shrink_deep(film: DeepFilm, max_side_px: int) -> DeepFilm:
    """A deep film with its long side at most max_side_px; smaller ones stay as they are."""
    height, width = film.levels.shape
    scale = min(1.0, max_side_px / max(height, width))
    if scale == 1.0:
        return film
    image = Image.fromarray(film.levels.astype(np.float32))
    size = (round(width * scale), round(height * scale))
    levels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)).round()
    return replace(film, levels=np.clip(levels, 0, 2**film.bits - 1).astype(np.uint16))


def encode_png(pixels: Pixels) -> bytes:
    """PNG file of uint8 (H, W) or (H, W, 3), lossless, written for speed."""
    out = io.BytesIO()
    # On grainy films Huffman coding alone is both the quickest and the smallest.
    Image.fromarray(pixels).save(out, "PNG", compress_type=zlib.Z_HUFFMAN_ONLY)
    return out.getvalue()


def encode_jpeg(pixels: Pixels, quality: int = 90) -> bytes:
    """Progressive JPEG file of uint8 (H, W) or (H, W, 3), for screens on slow lines."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality, progressive=True)
    return out.getvalue()


def encode_overlay(heat: Pixels, side_px: int = 256) -> bytes:
    """PNG (side_px square, with transparency) of uint8 heat (H, W): nothing where it is 0, and one
    colour that is denser the hotter it is. A film seen through it stays gray where it is cool.
    """
    smooth = Image.fromarray(heat).resize((side_px, side_px), Image.Resampling.BICUBIC)
    share = np.asarray(smooth, np.float32) / 255
    overlay = np.empty((side_px, side_px, 4), np.uint8)
    overlay[..., :3] = (255, 96, 0)
    overlay[..., 3] = (170 * share**1.5).round().astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(overlay, "RGBA").save(out, "PNG", optimize=True)
    return out.getvalue()


def draw_boxes(pixels: Pixels, boxes: Iterable[Box]) -> Pixels:
    """uint8 RGB (H + W // 10, W, 3): the gray film with each box, its label and score drawn in.

    Below it stands in English and Korean that this is not for diagnosis: a picture goes where the
    page around it does not.
    """
    image = Image.fromarray(pixels).convert("RGB")
    pen = ImageDraw.Draw(image)
    side = max(image.size)
    width, font = max(2, side // 300), ImageFont.load_default(size=max(12, side // 40))
    for box in boxes:
        pen.rectangle((box.x0, box.y0, box.x1, box.y1), outline="#ffd400", width=width)
        text = f"{box.label.replace('_', ' ')} {box.score:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        x = min(max(box.x0, 0), max(image.width - (right - left) - 2 * width, 0))
        y = box.y0 - (bottom - top) - 4 * width
        if y < 0:  # no room above: inside the box, under its upper edge
            y = min(box.y0 + width, image.height - (bottom - top) - 4 * width)
        plate = (x, y, x + right - left + 2 * width, y + bottom - top + 3 * width)
        pen.rectangle(plate, fill="#000000")
        pen.text((x + width - left, y + width - top), text, fill="#ffd400", font=font)
    return np.vstack([np.array(image), _not_for_diagnosis(image.width)])


def _not_for_diagnosis(width_px: int) -> Pixels:
    """uint8 RGB (W // 10, W, 3): the words as a picture, for not every machine writes Korean."""
    with (resources.files("models") / "not_for_diagnosis.png").open("rb") as file:
        words = Image.open(file).convert("RGB")
    return np.array(words.resize((width_px, width_px // 10), Image.Resampling.LANCZOS))

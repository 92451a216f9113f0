"""An upload becomes a film: opened, judged, and re-encoded as what everybody will see.

`open_film` runs inside the throw-away child of broker/sandbox, and nowhere else: it touches bytes
from strangers. It knows no case and no database. Only dispatch.dicom and the island's decoder and
quality gate may enter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

# Every film is opened in a new child, forked from a server that has imported this module. What
# numpy and pydicom would import on first use is named here, or each child pays again.
import numpy.ma  # noqa: F401
import pydicom.encaps
import pydicom.pixels  # noqa: F401

from dispatch.dicom import HeaderFacts, header_facts
from models import quality, xray
from models.quality import UnusableReason, Verdict
from models.xray import MediaType

RENDITION_SIDE_PX = 1024
DEEP_SIDE_PX = 3072
"""Long side of what a viewer gets: a 43 cm cassette read at 0.15 mm has 2,867."""
ADULT_YEARS = 16
"""The networks were trained on films of adults; NEWS2 begins at 16, too."""


PREVIEW_BYTES = 150_000
"""Largest first picture: under a second at 1.6 Mbit/s, and progressive before that."""


THUMBNAIL_SIDE_PX = 256


@dataclass(frozen=True)
class OpenedFilm:
    """A film that could be opened. The rendition is the 8-bit PNG that networks and ERs see."""

    media_type: MediaType
    width_px: int
    height_px: int
    rendition_width_px: int
    rendition_height_px: int
    facts: HeaderFacts | None
    verdict: Verdict


def open_film(path: str, rendition_path: str) -> OpenedFilm:
    """Decode and judge the upload at path and write its rendition as PNG to rendition_path.

    The rendition has its long side at most RENDITION_SIDE_PX and carries nothing but pixels.
    Raises UnreadableFilm with a stable code; then nothing is written.
    """
    with Path(path).open("rb") as upload:
        data = upload.read(xray.MAX_BYTES + 1)
    facts = None
    if xray.sniff(data) is MediaType.DICOM:
        dataset = xray.open_dicom(data)
        facts = header_facts(dataset)
        film = xray.film_of(dataset)
    else:
        film = xray.decode(data)
    verdict = quality.judge(film)
    if verdict.mended:
        film = replace(film, pixels=255 - film.pixels)
    if facts and facts.patient_age_years is not None and facts.patient_age_years < ADULT_YEARS:
        verdict = Verdict(
            False,
            UnusableReason.CHILD,
            f"The patient is under {ADULT_YEARS}: the networks know films of adults only.",
        )
    rendition = xray.resize_to(film.pixels, RENDITION_SIDE_PX)
    Path(rendition_path).write_bytes(xray.encode_png(rendition))
    return OpenedFilm(
        media_type=film.media_type,
        width_px=film.width_px,
        height_px=film.height_px,
        rendition_width_px=rendition.shape[1],
        rendition_height_px=rendition.shape[0],
        facts=facts,
        verdict=verdict,
    )


@dataclass(frozen=True)
class Deepened:
    """The shape of the gray levels that were written: what an honest header may say of them."""

    width_px: int
    height_px: int
    bits: int
    low: int
    high: int


def deepen(path: str, levels_path: str) -> Deepened:
    """Decode the upload at path with all its gray levels, and write them to levels_path.

    Raw unsigned 16-bit numbers, little endian, row by row; nothing of the upload but its pixels. A
    negative is turned over, as it was for the rendition. Raises UnreadableFilm.
    """
    with Path(path).open("rb") as upload:
        data = upload.read(xray.MAX_BYTES + 1)
    film = xray.shrink_deep(xray.decode_deep(data), DEEP_SIDE_PX)
    levels, low, high = film.levels, film.low, film.high
    if quality.judge(xray.decode(data)).mended:
        top = 2**film.bits - 1
        levels, low, high = top - levels, top - high, top - low
    Path(levels_path).write_bytes(levels.astype("<u2").tobytes())
    height, width = levels.shape
    return Deepened(width, height, film.bits, low, high)


def preview(path: str, preview_path: str) -> None:
    """Write the rendition at path as a progressive JPEG of at most PREVIEW_BYTES."""
    pixels = xray.decode(Path(path).read_bytes()).pixels
    data = b""
    for step in (88, 80, 70, 60, 45, 30):
        data = xray.encode_jpeg(pixels, step)
        if len(data) <= PREVIEW_BYTES:
            break
    Path(preview_path).write_bytes(data)


def thumbnail(path: str, thumbnail_path: str) -> None:
    """Write the rendition at path as a progressive JPEG of a few kilobytes: to know a film by."""
    pixels = xray.resize_to(xray.decode(Path(path).read_bytes()).pixels, THUMBNAIL_SIDE_PX)
    Path(thumbnail_path).write_bytes(xray.encode_jpeg(pixels, 80))

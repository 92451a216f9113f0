"""What a decoded film is, and every way in which a file can fail to be one.

Shared by the decoder's two halves, models/xray.py and models/dicom_pixels.py; everybody else takes
these names from models.xray. numpy and Pillow only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

MAX_BYTES = 32 * 2**20
"""Largest file looked at."""
MAX_PIXELS = 40_000_000
"""Largest film looked at; a 43 cm detector at 0.1 mm has 18 million pixels."""
COLOUR_THUMBNAIL_PX = 64


class MediaType(StrEnum):
    PNG = "image/png"
    JPEG = "image/jpeg"
    DICOM = "application/dicom"


class FilmFault(StrEnum):
    """Why a file cannot be opened as a film: stable codes, each with its one-line meaning."""

    EMPTY = "film_empty"
    """The file has no bytes."""
    TOO_MANY_BYTES = "film_too_many_bytes"
    """Over MAX_BYTES."""
    TOO_MANY_PIXELS = "film_too_many_pixels"
    """Over MAX_PIXELS, by its header."""
    NOT_A_FILM = "film_not_an_image"
    """Neither PNG, JPEG nor DICOM."""
    OTHER_FORMAT = "film_format_not_accepted"
    """A known picture or document format that is not accepted, whatever its name says."""
    TRUNCATED = "film_truncated"
    """A PNG or JPEG that ends early."""
    CORRUPT = "film_corrupt"
    """A PNG or JPEG whose contents do not decode."""
    DICOM_UNREADABLE = "dicom_unreadable"
    """The data elements cannot be parsed."""
    DICOM_TRUNCATED = "dicom_truncated"
    """An element claims more bytes than the file holds."""
    DICOM_INFLATES = "dicom_inflates_too_far"
    """The deflated data set is over MAX_INFLATED_BYTES."""
    DICOM_TOO_DEEP = "dicom_sequences_too_deep"
    DICOM_TOO_MANY_ELEMENTS = "dicom_too_many_elements"
    DICOM_ELEMENT_TOO_LARGE = "dicom_element_too_large"
    DICOM_DIRECTORY = "dicom_directory"
    """A DICOMDIR: a table of contents, not a film."""
    DICOM_DOCUMENT = "dicom_document"
    """Encapsulated PDF, CDA or another document."""
    DICOM_WRONG_MODALITY = "dicom_not_a_radiograph"
    """Modality is not CR, DX or RG."""
    DICOM_FOR_PROCESSING = "dicom_for_processing"
    """Raw detector values, not meant to be looked at."""
    DICOM_NO_PIXELS = "dicom_no_pixels"
    DICOM_MULTI_FRAME = "dicom_multi_frame"
    DICOM_VIDEO = "dicom_video"
    DICOM_SYNTAX = "dicom_transfer_syntax_not_accepted"
    DICOM_PIXEL_DESCRIPTION = "dicom_pixel_description_wrong"
    """Rows, Columns, bits, samples or photometric interpretation are absent or impossible."""
    DICOM_PIXELS_SHORT = "dicom_pixels_short"
    """Fewer pixel bytes than Rows x Columns needs."""
    DICOM_PIXELS_CORRUPT = "dicom_pixels_corrupt"
    """The compressed pixels do not decode, or not to what the header says."""


class UnreadableFilm(Exception):
    """The file cannot be opened as a film; `code` is stable, `message` says what to do."""

    def __init__(self, code: FilmFault, message: str) -> None:
        super().__init__(code, message)  # both in args: it travels between processes by pickle
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, eq=False)
class Film:
    """One decoded film.

    pixels: uint8 (H, W), 0 air .. 255 bone, as decoded; width_px and height_px are its size.
    colour: uint8 RGB (64, 64, 3) thumbnail when the file held real colour, else None.
    inverted: the file said MONOCHROME1 and was turned over.
    view_position: (0018,5101) of a DICOM file, upper case, "" when not given.
    """

    pixels: Pixels
    media_type: MediaType
    colour: Pixels | None = None
    inverted: bool = False
    view_position: str = ""

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def was_colour(self) -> bool:
        return self.colour is not None


@dataclass(frozen=True, eq=False)
class DeepFilm:
    """A film with the gray levels that it came with, for a viewer that windows.

    levels: uint16 (H, W), 0 air .. up to 2**bits - 1 bone, turned over where the file said
    MONOCHROME1; low and high: the levels that its own window shows as black and as white.
    """

    levels: npt.NDArray[np.uint16]
    bits: int
    low: int
    high: int


def too_many_pixels(width_px: int, height_px: int) -> UnreadableFilm:
    """The refusal of a film over MAX_PIXELS, to be raised before it is decompressed."""
    return UnreadableFilm(
        FilmFault.TOO_MANY_PIXELS,
        f"The film has {width_px} x {height_px} pixels; at most {MAX_PIXELS} are accepted.",
    )


def colour_thumbnail(rgb: Image.Image) -> Pixels | None:
    """Film.colour of a picture: uint8 RGB (64, 64, 3), or None if all of it is gray."""
    side = COLOUR_THUMBNAIL_PX
    small = np.array(rgb.resize((side, side), Image.Resampling.BOX, reducing_gap=1.0))
    spread = small.max(axis=2).astype(int) - small.min(axis=2)
    return small if spread.max() > 8 else None  # 8: what JPEG makes of gray stored as colour

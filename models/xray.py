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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

Pixels = npt.NDArray[np.uint8]

MAX_BYTES = 32 * 2**20
"""Largest file looked at."""
MAX_PIXELS = 40_000_000
"""Largest film looked at; a 43 cm detector at 0.1 mm has 18 million pixels."""
MAX_INFLATED_BYTES = 128 * 2**20
"""Largest deflated DICOM data set: twice MAX_PIXELS of 16 bits would not be a radiograph."""
MAX_ELEMENTS = 10_000
MAX_ELEMENT_BYTES = 16 * 2**20
MAX_SEQUENCE_DEPTH = 16
COLOUR_THUMBNAIL_PX = 64
LETTERBOX_GRAY = 114

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_SIGNATURE = b"\xff\xd8\xff"
_UNDEFINED_LENGTH = 0xFFFFFFFF


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


# --- PNG and JPEG -------------------------------------------------------------------------------


def _decode_raster(data: bytes, media_type: MediaType) -> Film:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            # Other warnings are remarks on EXIF or metadata, which are not kept.
            warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise _too_many_pixels(image.width, image.height)
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


def _too_many_pixels(width_px: int, height_px: int) -> UnreadableFilm:
    return UnreadableFilm(
        FilmFault.TOO_MANY_PIXELS,
        f"The film has {width_px} x {height_px} pixels; at most {MAX_PIXELS} are accepted.",
    )


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
    return Film(np.array(rgb.convert("L")), media_type, colour=_colour_thumbnail(rgb))


def _full_range(values: npt.NDArray[Any]) -> Pixels:
    """8 bits of a 16-bit gray picture, whose writer may have used only 10, 12 or 14 of them."""
    top = max(int(values.max(initial=0)), 0)
    bits = next((bits for bits in (8, 10, 12, 14) if top < 2**bits), 16)
    table = np.linspace(0, 255, 2**bits).round().astype(np.uint8)
    return np.asarray(table[np.clip(values, 0, 2**bits - 1).astype(np.uint16)], np.uint8)


def _colour_thumbnail(rgb: Image.Image) -> Pixels | None:
    side = COLOUR_THUMBNAIL_PX
    small = np.array(rgb.resize((side, side), Image.Resampling.BOX, reducing_gap=1.0))
    spread = small.max(axis=2).astype(int) - small.min(axis=2)
    return small if spread.max() > 8 else None  # 8: what JPEG makes of gray stored as colour


# --- DICOM --------------------------------------------------------------------------------------


@contextmanager
def _parsing(code: FilmFault, message: str) -> Iterator[None]:
    """Turn whatever a DICOM parser or codec raises on hostile bytes into one clear refusal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom remarks on odd values, which we judge ourselves
        try:
            yield
        except (UnreadableFilm, MemoryError):
            raise
        except RecursionError as error:
            raise UnreadableFilm(
                FilmFault.DICOM_TOO_DEEP, "The DICOM file nests sequences too deeply."
            ) from error
        except EOFError as error:
            raise UnreadableFilm(
                FilmFault.DICOM_TRUNCATED, "The DICOM file ends early; send it again."
            ) from error
        except Exception as error:
            raise UnreadableFilm(code, f"{message} ({type(error).__name__})") from error


def open_dicom(data: bytes) -> FileDataset:
    """Parse a DICOM file of one plain radiograph without decoding its pixels.

    Files without preamble or file meta group are read too. Everything that a header can tell is
    judged here: kind of object, transfer syntax, lengths, pixel description. Raises UnreadableFilm.
    """
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    with _parsing(FilmFault.DICOM_UNREADABLE, "The DICOM file cannot be parsed."):
        dataset = pydicom.dcmread(io.BytesIO(_inflated(data)), force=True)
        _check_elements(dataset)
        _check_object(dataset)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
        _check_syntax(str(dataset.file_meta.TransferSyntaxUID))
        _check_pixel_description(dataset)
    return dataset


def _inflated(data: bytes) -> bytes:
    """The file itself, or its bounded inflation if its transfer syntax is deflated (PS3.5 A.5)."""
    import pydicom
    from pydicom.filebase import DicomBytesIO
    from pydicom.filereader import read_dataset
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    if data[128:132] != b"DICM":
        return data
    source = io.BytesIO(data)
    source.seek(132)
    meta = read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return data
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    body = inflater.decompress(data[source.tell() :], MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise UnreadableFilm(
            FilmFault.DICOM_INFLATES,
            f"The deflated DICOM file inflates beyond {MAX_INFLATED_BYTES} bytes.",
        )
    if not inflater.eof:
        raise EOFError("deflated data set ends early")
    file_meta = pydicom.dataset.FileMetaDataset(meta)
    file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = DicomBytesIO()
    write_file_meta_info(out, file_meta, enforce_standard=False)
    return b"\0" * 128 + b"DICM" + out.getvalue() + body


def _check_elements(dataset: Dataset, depth: int = 0) -> int:
    """Number of elements; refuses too many, too deep, too long, or longer than the file."""
    from pydicom.datadict import dictionary_VR
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    if depth > MAX_SEQUENCE_DEPTH:
        raise RecursionError("sequences")
    total = 0
    for tag in list(dataset.keys()):
        total += 1
        if total > MAX_ELEMENTS:
            break
        raw: Any = dataset.get_item(tag)
        if isinstance(raw, RawDataElement):
            length = len(raw.value) if raw.value is not None else 0
            if raw.length != _UNDEFINED_LENGTH and length < raw.length:
                raise EOFError(str(tag))
            if length > MAX_ELEMENT_BYTES and Tag(tag) != 0x7FE00010:
                raise UnreadableFilm(
                    FilmFault.DICOM_ELEMENT_TOO_LARGE,
                    f"DICOM element {tag} has {length} bytes; export the film without it.",
                )
        vr = raw.VR if raw is not None else None
        if vr is None and not Tag(tag).is_private:
            try:
                vr = dictionary_VR(tag)
            except KeyError:
                continue
        if vr == "SQ":
            for item in dataset[tag].value:
                total += _check_elements(item, depth + 1)
    if total > MAX_ELEMENTS:
        raise UnreadableFilm(
            FilmFault.DICOM_TOO_MANY_ELEMENTS,
            f"The DICOM file has more than {MAX_ELEMENTS} elements; leave private data out.",
        )
    return total


def _text(dataset: Dataset, keyword: str) -> str:
    """A short header value as trimmed upper-case text; "" when absent or unreadable."""
    try:
        value = dataset.get(keyword)
    except Exception:  # pydicom converts late and raises whatever it meets
        return ""
    return str(value).strip().upper() if value is not None else ""


def _check_object(dataset: Dataset) -> None:
    """Refuse everything that is not one still radiograph for presentation."""
    sop_class = _text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID")
    if sop_class == "1.2.840.10008.1.3.10" or "DirectoryRecordSequence" in dataset:
        raise UnreadableFilm(
            FilmFault.DICOM_DIRECTORY, "This is a DICOMDIR; send the film it points to."
        )
    if sop_class.startswith("1.2.840.10008.5.1.4.1.1.104.") or "EncapsulatedDocument" in dataset:
        raise UnreadableFilm(FilmFault.DICOM_DOCUMENT, "This is a document, not a film.")
    if not sop_class and "Modality" not in dataset and "Rows" not in dataset:
        raise UnreadableFilm(FilmFault.DICOM_UNREADABLE, "The file has no DICOM header to go by.")
    modality = _text(dataset, "Modality")
    if modality not in RADIOGRAPH_MODALITIES:
        raise UnreadableFilm(
            FilmFault.DICOM_WRONG_MODALITY,
            f"Modality is {modality[:16] or 'missing'}; a radiograph is CR, DX or RG.",
        )
    if _text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        raise UnreadableFilm(
            FilmFault.DICOM_FOR_PROCESSING,
            "These are raw detector values; send the image FOR PRESENTATION.",
        )


def _check_syntax(uid: str) -> None:
    from pydicom import uid as uids

    if uid in uids.MPEGTransferSyntaxes or uid.startswith("1.2.840.10008.1.2.4.10"):
        raise UnreadableFilm(FilmFault.DICOM_VIDEO, "This is a video, not a film.")
    accepted = {
        uids.ImplicitVRLittleEndian,
        uids.ExplicitVRLittleEndian,
        uids.ExplicitVRBigEndian,
        uids.RLELossless,
        *uids.JPEGTransferSyntaxes,
        *uids.JPEGLSTransferSyntaxes,
        *set(uids.JPEG2000TransferSyntaxes) - {uids.JPEG2000MCLossless, uids.JPEG2000MC},
    }
    if uid not in accepted:
        raise UnreadableFilm(
            FilmFault.DICOM_SYNTAX,
            f"Transfer syntax {uid[:64]} is not accepted; export the film uncompressed.",
        )


def _check_pixel_description(dataset: Dataset) -> None:
    """Refuse pixel modules that a radiograph cannot have (PS3.3 C.7.6.3), and short PixelData."""

    from pydicom.tag import Tag

    def whole(keyword: str, default: int | None = None) -> int:
        element = dataset.get(Tag(keyword))
        if element is None or element.is_empty:
            if default is None:
                raise _wrong(f"{keyword} is missing")
            return default
        # Another VR than the standard's is how size checks are tricked (CVE-2026-5442).
        if element.VR not in ("US", "IS") or not isinstance(element.value, int):
            raise _wrong(f"{keyword} is not one whole number")
        return int(element.value)

    if "PixelData" not in dataset:
        raise UnreadableFilm(FilmFault.DICOM_NO_PIXELS, "The DICOM file holds no pixels.")
    if whole("NumberOfFrames", 1) != 1:
        raise UnreadableFilm(
            FilmFault.DICOM_MULTI_FRAME, "The DICOM file holds several frames; send one film."
        )
    rows, columns = whole("Rows"), whole("Columns")
    samples, allocated = whole("SamplesPerPixel", 1), whole("BitsAllocated")
    stored = whole("BitsStored", allocated)
    photometric = _text(dataset, "PhotometricInterpretation")
    if rows < 1 or columns < 1:
        raise _wrong(f"{rows} rows x {columns} columns")
    if rows * columns > MAX_PIXELS:
        raise _too_many_pixels(columns, rows)
    gray = samples == 1 and photometric in ("MONOCHROME1", "MONOCHROME2")
    colour = samples == 3 and photometric.startswith(("RGB", "YBR_")) and allocated == 8
    if not gray and not colour:
        raise _wrong(f"{samples} samples of {photometric[:16] or 'unknown'} with {allocated} bits")
    if allocated not in (8, 16) or not 1 <= stored <= allocated:
        raise _wrong(f"{stored} of {allocated} bits")
    if whole("PixelRepresentation", 0) not in (0, 1):
        raise _wrong("PixelRepresentation is neither 0 nor 1")
    needed = rows * columns * samples * allocated // 8
    present = len(dataset["PixelData"].value or b"")
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and present < needed:
        raise UnreadableFilm(
            FilmFault.DICOM_PIXELS_SHORT,
            f"PixelData has {present} of the {needed} bytes that {rows} x {columns} need.",
        )


def _wrong(what: str) -> UnreadableFilm:
    return UnreadableFilm(
        FilmFault.DICOM_PIXEL_DESCRIPTION, f"The DICOM header describes no radiograph: {what}."
    )


def film_of(dataset: FileDataset) -> Film:
    """Decode the pixels of an opened radiograph as its header wants them shown.

    Modality LUT, then VOI LUT or window (PS3.3 C.11.1, C.11.2); without a usable window the range
    that holds all but 0.1 % of the pixels at either end. MONOCHROME1 is turned over.
    """
    from pydicom.pixels.utils import pixel_array

    with _parsing(FilmFault.DICOM_PIXELS_CORRUPT, "The pixels of the DICOM file do not decode."):
        _check_codestream(dataset)
        values = pixel_array(dataset, index=0)
        shape = (int(dataset.Rows), int(dataset.Columns))
        if values.shape[:2] != shape:
            raise ValueError(f"decoded to {values.shape}")
        view = _text(dataset, "ViewPosition")[:16]
        if values.ndim == 3:
            rgb = Image.fromarray(values.astype(np.uint8))
            return Film(
                np.array(rgb.convert("L")),
                MediaType.DICOM,
                colour=_colour_thumbnail(rgb),
                view_position=view,
            )
        inverted = _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        return Film(_shown(values, dataset, inverted), MediaType.DICOM, None, inverted, view)


def _check_codestream(dataset: FileDataset) -> None:
    """Refuse a JPEG 2000 stream whose own header asks for more memory than ours promised.

    The SIZ marker segment (ISO/IEC 15444-1 A.5.1) follows the start of the codestream at once.
    """
    from pydicom.encaps import get_frame
    from pydicom.uid import JPEG2000TransferSyntaxes

    if dataset.file_meta.TransferSyntaxUID not in JPEG2000TransferSyntaxes:
        return
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise ValueError("no JPEG 2000 codestream")
    x1, y1, x0, y0 = (
        int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)
    )
    if (y1 - y0, x1 - x0) != (int(dataset.Rows), int(dataset.Columns)):
        raise ValueError("the JPEG 2000 stream has another size than Rows x Columns")


def _shown(values: npt.NDArray[Any], dataset: Dataset, inverted: bool) -> Pixels:
    """8-bit pixels through one table over all stored values: quick and small for large films."""
    low = -(2 ** (values.dtype.itemsize * 8 - 1)) if values.dtype.kind == "i" else 0
    index = values.astype(np.int32) - low if low else values
    counts = np.bincount(index.ravel(), minlength=2 ** (values.dtype.itemsize * 8))
    stored = np.arange(len(counts), dtype=np.int32) + low
    table = _windowed(stored, counts, dataset)
    if inverted:
        table = 1 - table
    return np.asarray((table * 255).round().astype(np.uint8)[index], np.uint8)


def _windowed(
    stored: npt.NDArray[Any], counts: npt.NDArray[np.int64], dataset: Dataset
) -> npt.NDArray[np.float64]:
    """Brightness 0..1 for every stored value, counts being how often each occurs in the film."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    try:
        real = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    except Exception:  # a damaged modality LUT: show the stored values
        real = stored.astype(np.float64)
    try:
        shown = np.asarray(apply_voi_lut(real.round().astype(stored.dtype), dataset), np.float64)
    except Exception:  # a window of width 0, a text, a damaged LUT
        shown = real
    seen = counts > 0
    if not np.isfinite(shown).all() or np.array_equal(shown, real):
        shown = real
        low, high = _percentiles(real[seen], counts[seen])
    else:
        low, high = float(shown.min()), float(shown.max())
    brightness: npt.NDArray[np.float64] = np.clip((shown - low) / max(high - low, 1e-6), 0, 1)
    return brightness


def _percentiles(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = np.searchsorted(share, (0.001, 0.999))
    return float(values[order][low]), float(values[order][min(int(high), len(values) - 1)])


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


def draw_boxes(pixels: Pixels, boxes: Iterable[Box]) -> Pixels:
    """uint8 RGB (H, W, 3): the gray film with each box, its label and score in percent drawn in."""
    image = Image.fromarray(pixels).convert("RGB")
    pen = ImageDraw.Draw(image)
    side = max(image.size)
    width, font = max(2, side // 300), ImageFont.load_default(size=max(12, side // 40))
    for box in boxes:
        pen.rectangle((box.x0, box.y0, box.x1, box.y1), outline="#ffd400", width=width)
        text = f"{box.label.replace('_', ' ')} {box.score:.0%}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        x = min(max(box.x0, 0), max(image.width - (right - left) - 2 * width, 0))
        y = box.y0 - (bottom - top) - 4 * width
        if y < 0:  # no room above: inside the box, under its upper edge
            y = min(box.y0 + width, image.height - (bottom - top) - 4 * width)
        plate = (x, y, x + right - left + 2 * width, y + bottom - top + 3 * width)
        pen.rectangle(plate, fill="#000000")
        pen.text((x + width - left, y + width - top), text, fill="#ffd400", font=font)
    return np.array(image)

"""The DICOM half of the decoder: hostile headers in, one plain radiograph out.

Called through models/xray.py, which imports it late: the inference pools never see a DICOM file and
need not carry pydicom. numpy, Pillow and pydicom only.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom import uid as uids
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import get_frame
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels.processing import apply_modality_lut, apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.tag import Tag

from models.film import (
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

# pydicom's remarks quote header values, which may name a patient.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

MAX_INFLATED_BYTES = 128 * 2**20
"""Largest deflated DICOM data set: twice MAX_PIXELS of 16 bits would not be a radiograph."""
MAX_ELEMENTS = 10_000
MAX_ELEMENT_BYTES = 16 * 2**20
MAX_SEQUENCE_DEPTH = 16
RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG"})
_UNDEFINED_LENGTH = 0xFFFFFFFF


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
    with _parsing(FilmFault.DICOM_UNREADABLE, "The DICOM file cannot be parsed."):
        dataset = pydicom.dcmread(io.BytesIO(_inflated(data)), force=True)
        if not len(dataset):  # what pydicom returns when the end comes before a delimiter
            raise EOFError("no element")
        _check_elements(dataset)
        _check_object(dataset)
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = (
                uids.ImplicitVRLittleEndian if implicit else explicit
            )
        _check_syntax(str(dataset.file_meta.TransferSyntaxUID))
        _check_pixel_description(dataset)
    return dataset


def _inflated(data: bytes) -> bytes:
    """The file itself, or its bounded inflation if its transfer syntax is deflated (PS3.5 A.5)."""
    if data[128:132] != b"DICM":
        return data
    source = io.BytesIO(data)
    source.seek(132)
    meta = read_dataset(source, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != uids.DeflatedExplicitVRLittleEndian:
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
    file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    out = DicomBytesIO()
    write_file_meta_info(out, file_meta, enforce_standard=False)
    return b"\0" * 128 + b"DICM" + out.getvalue() + body


def _check_elements(dataset: Dataset, depth: int = 0) -> int:
    """Number of elements; refuses too many, too deep, too long, or longer than the file."""
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
    stored = whole("BitsStored")
    photometric = _text(dataset, "PhotometricInterpretation")
    if rows < 1 or columns < 1:
        raise _wrong(f"{rows} rows x {columns} columns")
    if rows * columns > MAX_PIXELS:
        raise too_many_pixels(columns, rows)
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
                colour=colour_thumbnail(rgb),
                view_position=view,
            )
        inverted = _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        return Film(_shown(values, dataset, inverted), MediaType.DICOM, None, inverted, view)


def deep_of(dataset: FileDataset) -> DeepFilm:
    """The stored gray levels of an opened radiograph, shifted to begin at 0, and its window.

    The levels are those of the file: no LUT is applied to them. A modality or VOI LUT, or a window,
    only says which levels are shown as black and as white at first.
    """
    with _parsing(FilmFault.DICOM_PIXELS_CORRUPT, "The pixels of the DICOM file do not decode."):
        _check_codestream(dataset)
        values = pixel_array(dataset, index=0)
        if values.shape[:2] != (int(dataset.Rows), int(dataset.Columns)):
            raise ValueError(f"decoded to {values.shape}")
        if values.ndim == 3:
            gray = np.array(Image.fromarray(values.astype(np.uint8)).convert("L"), np.uint16)
            return DeepFilm(gray, 8, 0, 255)
        first = int(values.min())
        levels = (values.astype(np.int32) - first).astype(np.uint16)
        top = int(levels.max())
        counts = np.bincount(levels.ravel(), minlength=top + 1)
        brightness = _windowed(np.arange(len(counts), dtype=np.int32) + first, counts, dataset)
        # A table that falls (a negative slope) shows what MONOCHROME1 shows.
        inverted = _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        if brightness[-1] < brightness[0]:
            brightness, inverted = brightness[::-1], not inverted
        elif inverted:
            brightness = 1 - brightness[::-1]
        if inverted:
            levels = (top - levels).astype(np.uint16)
        low = int(np.searchsorted(brightness, 0.005))
        high = int(np.searchsorted(brightness, 0.995))
        bits = max(8, top.bit_length())
        return DeepFilm(levels, bits, min(low, max(high - 1, 0)), max(high, 1))


def _check_codestream(dataset: FileDataset) -> None:
    """Refuse a JPEG 2000 stream whose own header asks for more memory than ours promised.

    The SIZ marker segment (ISO/IEC 15444-1 A.5.1) follows the start of the codestream at once.
    """
    if dataset.file_meta.TransferSyntaxUID not in uids.JPEG2000TransferSyntaxes:
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
    try:
        real = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    except Exception:  # a damaged modality LUT: show the stored values
        real = stored.astype(np.float64)
    shown = real
    for transform in (_looked_up, apply_windowing):
        try:
            shown = np.asarray(transform(real, dataset), np.float64)
        except Exception:  # noqa: S112 - no or a damaged table; a window of width 0, or a text
            continue
        break
    seen = counts > 0
    if np.isfinite(shown).all() and np.ptp(shown[seen]) > 0 and not np.array_equal(shown, real):
        low, high = float(shown.min()), float(shown.max())
    else:  # no window, or one that shows nothing of this film
        shown = real
        low, high = _percentiles(real[seen], counts[seen])
    brightness: npt.NDArray[np.float64] = np.clip((shown - low) / max(high - low, 1e-6), 0, 1)
    return brightness


def _looked_up(real: npt.NDArray[np.float64], dataset: Dataset) -> npt.NDArray[Any]:
    """The first VOI LUT (PS3.3 C.11.2.1.1); raises if there is none that can be used.

    pydicom's own wraps around at 256 when the entries have 8 bits.
    """
    table = dataset.VOILUTSequence[0]
    entries, first, bits = (int(value) for value in table.LUTDescriptor)
    data = table.LUTData
    words = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data, np.int64)
    if len(words) != (entries or 2**16) or not 8 <= bits <= 16:
        raise ValueError("VOI LUT")
    return np.asarray(words[np.clip(real.round().astype(np.int64) - first, 0, len(words) - 1)])


def _percentiles(
    values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]
) -> tuple[float, float]:
    order = np.argsort(values, kind="stable")
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = np.searchsorted(share, (0.001, 0.999))
    return float(values[order][low]), float(values[order][min(int(high), len(values) - 1)])

"""DICOM through the one decoder: what must work, and a refusal with its own code for the rest."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG4HP41,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from models import dicom_pixels, xray
from models.phantom import as_dicom, phantom
from models.xray import FilmFault, MediaType, UnreadableFilm

PHANTOM = phantom(3, size_px=128)
PLAIN = as_dicom(PHANTOM)


def opened(data: bytes = PLAIN) -> FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


def saved(dataset: Dataset, **options: Any) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out, **options)
    return out.getvalue()


def changed(**values: Any) -> bytes:
    """The plain file with these attributes; None takes one away."""
    dataset = opened()
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return saved(dataset)


def raw_element(group: int, element: int, vr: bytes, body: bytes) -> bytes:
    """One explicit VR little endian element as bytes, whatever pydicom thinks of it."""
    head = struct.pack("<HH", group, element) + vr
    if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
        return head + struct.pack("<HI", 0, len(body)) + body
    return head + struct.pack("<H", len(body)) + body


def with_raw(before: str, raw: bytes, data: bytes = PLAIN) -> bytes:
    """Put raw bytes before an element, or in place of it when the tag is the same."""
    tag = pydicom.tag.Tag(before)
    at = data.index(struct.pack("<HH", tag.group, tag.element))
    same = raw[:4] == data[at : at + 4]
    skip = 8 + struct.unpack("<H", data[at + 6 : at + 8])[0] if same else 0
    return data[:at] + raw + data[at + skip :]


def fault(data: bytes) -> FilmFault:
    with pytest.raises(UnreadableFilm) as refused:
        xray.decode(data)
    return refused.value.code


def test_a_film_is_shown_as_it_was_drawn() -> None:
    film = xray.decode(PLAIN)
    assert film.media_type is MediaType.DICOM
    assert (film.inverted, film.view_position, film.colour) == (False, "PA", None)
    assert np.abs(film.pixels.astype(int) - PHANTOM.pixels).max() <= 1


def test_monochrome1_is_turned_over() -> None:
    film = xray.decode(as_dicom(PHANTOM, photometric="MONOCHROME1"))
    assert film.inverted
    assert np.abs(film.pixels.astype(int) - PHANTOM.pixels).max() <= 1


def test_without_a_window_the_range_of_the_pixels_is_shown() -> None:
    film = xray.decode(changed(WindowCenter=None, WindowWidth=None))
    assert (film.pixels.min(), film.pixels.max()) == (0, 255)
    assert np.corrcoef(film.pixels.ravel(), PHANTOM.pixels.ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    "window",
    [
        {"WindowWidth": "0"},
        {"WindowWidth": "-5"},
        {"WindowCenter": "1E400"},
        {"WindowCenter": None},
        {"WindowWidth": "3061\\12", "WindowCenter": "1930\\20"},  # several windows: the first
    ],
)
def test_a_bad_window_is_no_reason_to_refuse(window: dict[str, Any]) -> None:
    film = xray.decode(changed(**window))
    assert np.corrcoef(film.pixels.ravel(), PHANTOM.pixels.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("text", [b"NaN ", b"wide"])
def test_a_window_that_is_no_number_is_no_reason_to_refuse(text: bytes) -> None:
    film = xray.decode(with_raw("WindowWidth", raw_element(0x28, 0x1051, b"DS", text)))
    assert np.corrcoef(film.pixels.ravel(), PHANTOM.pixels.ravel())[0, 1] > 0.99


def test_a_window_that_hides_everything_is_not_used() -> None:
    film = xray.decode(changed(WindowCenter="-9000", WindowWidth="10"))
    assert np.ptp(film.pixels) == 255


@pytest.mark.parametrize(("bits", "top"), [(16, 65535), (12, 4095), (8, 255)])
def test_a_voi_table_is_applied_before_any_window(bits: int, top: int) -> None:
    dataset = opened()
    table = Dataset()
    table.LUTDescriptor = [4096, 0, bits]
    table.LUTData = [top - value * top // 4095 for value in range(4096)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset.VOILUTSequence = Sequence([table])
    film = xray.decode(saved(dataset))
    assert np.corrcoef(film.pixels.ravel(), PHANTOM.pixels.ravel())[0, 1] < -0.99


def test_a_modality_table_is_applied() -> None:
    dataset = opened()
    del dataset.WindowCenter, dataset.WindowWidth
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.LUTData = [4095 - value for value in range(4096)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    dataset.ModalityLUTSequence = Sequence([table])
    film = xray.decode(saved(dataset))
    assert np.corrcoef(film.pixels.ravel(), PHANTOM.pixels.ravel())[0, 1] < -0.99


def test_signed_pixels_and_rescale_are_applied() -> None:
    dataset = opened()
    dataset.PixelRepresentation = 1
    dataset.RescaleSlope, dataset.RescaleIntercept = "2", "-1000"
    dataset.BitsStored, dataset.HighBit = 16, 15
    dataset.PixelData = (PHANTOM.pixels.astype("<i2") * 100 - 12_000).astype("<i2").tobytes()
    dataset.WindowWidth, dataset.WindowCenter = 255 * 200 + 1, -25_000 + 255 * 100 + 0.5
    film = xray.decode(saved(dataset))
    assert np.abs(film.pixels.astype(int) - PHANTOM.pixels).max() <= 1


def test_8_bit_pixels_are_read() -> None:
    data = changed(
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        WindowCenter="128",
        WindowWidth="256",
        PixelData=PHANTOM.pixels.tobytes(),
    )
    assert np.abs(xray.decode(data).pixels.astype(int) - PHANTOM.pixels).max() <= 1


def test_a_colour_capture_is_turned_gray() -> None:
    rgb = np.dstack([PHANTOM.pixels, PHANTOM.pixels[:, ::-1], PHANTOM.pixels])
    data = changed(
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=rgb.tobytes(),
    )
    film = xray.decode(data)
    assert film.pixels.shape == (128, 128)
    assert film.was_colour


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_uncompressed_syntaxes_are_read(syntax: pydicom.uid.UID) -> None:
    dataset = Dataset(opened())
    for element in dataset:  # read them all, for pydicom converts no raw element
        assert element.VR
    dataset.preamble, dataset.file_meta = bytes(128), opened().file_meta
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    out = io.BytesIO()
    pydicom.dcmwrite(
        out,
        dataset,
        implicit_vr=syntax.is_implicit_VR,
        little_endian=syntax.is_little_endian,
        force_encoding=True,
    )
    data = out.getvalue()
    assert np.abs(xray.decode(data).pixels.astype(int) - PHANTOM.pixels).max() <= 1


def deflated(body: bytes, meta_of: bytes = PLAIN) -> bytes:
    """A deflated file around an explicit VR little endian body."""
    dataset = opened(meta_of)
    meta = dataset.file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    out = pydicom.filebase.DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(out, meta)
    packer = zlib.compressobj(9, wbits=-15)
    return bytes(128) + b"DICM" + out.getvalue() + packer.compress(body) + packer.flush()


def body_of(data: bytes = PLAIN) -> bytes:
    return data[data.index(struct.pack("<HH", 8, 5)) :]


def test_a_deflated_film_is_read() -> None:
    film = xray.decode(deflated(body_of()))
    assert np.abs(film.pixels.astype(int) - PHANTOM.pixels).max() <= 1


def test_a_deflated_bomb_is_refused_before_it_unfolds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dicom_pixels.MAX_INFLATED_BYTES <= 128 * 2**20
    monkeypatch.setattr(dicom_pixels, "MAX_INFLATED_BYTES", 2**20)
    bomb = deflated(body_of() + bytes(8 * 2**20))
    assert len(bomb) < 2**17
    assert fault(bomb) is FilmFault.DICOM_INFLATES


def test_a_deflated_film_that_ends_early_is_refused() -> None:
    assert fault(deflated(body_of())[:-200]) is FilmFault.DICOM_TRUNCATED


def test_a_film_without_preamble_and_header_is_read() -> None:
    assert np.abs(xray.decode(body_of()).pixels.astype(int) - PHANTOM.pixels).max() <= 1
    implicit = saved(Dataset(opened()), implicit_vr=True, little_endian=True)
    assert xray.decode(implicit).pixels.shape == (128, 128)


@pytest.mark.parametrize("preamble", [b"MZ\x90\0", b"\x7fELF", b"<html>", b"PK\x03\x04", b"II*\0"])
def test_a_disguised_preamble_is_left_behind(preamble: bytes) -> None:
    data = preamble.ljust(128, b"!") + PLAIN[128:]
    film = xray.decode(data)
    assert preamble + b"!!" not in xray.encode_png(film.pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_films_are_read(syntax: pydicom.uid.UID) -> None:
    dataset = opened()
    if syntax == RLELossless:
        dataset.compress(syntax)
    else:
        dataset.compress(syntax, encoding_plugin="pylibjpeg")
    assert np.abs(xray.decode(saved(dataset)).pixels.astype(int) - PHANTOM.pixels).max() <= 1


def compressed(frame: bytes, syntax: pydicom.uid.UID, **values: Any) -> bytes:
    dataset = opened()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return saved(dataset)


EIGHT_BITS = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


def test_a_jpeg_film_is_read() -> None:
    frame = xray.encode_jpeg(PHANTOM.pixels, 95)
    data = compressed(frame, JPEGBaseline8Bit, WindowCenter=128, WindowWidth=256, **EIGHT_BITS)
    assert np.abs(xray.decode(data).pixels.astype(int) - PHANTOM.pixels).mean() < 3


def j2k_claiming(side: int) -> bytes:
    """A JPEG 2000 film whose codestream says that it is side x side with one tile as large."""
    dataset = opened()
    dataset.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    data = bytearray(saved(dataset))
    at = data.index(b"\xff\x4f\xff\x51")
    for offset in (8, 12, 24, 28):
        data[at + offset : at + offset + 4] = struct.pack(">I", side)
    return bytes(data)


def nested(depth: int, *, defined: bool) -> bytes:
    """The plain film with sequences within sequences."""
    inner = b""
    for _ in range(depth):
        if defined:
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = raw_element(0x0040, 0x0275, b"SQ", item)
        else:
            inner = (
                struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF)
                + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
                + inner
                + struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
            )
    return with_raw("PixelData", inner)


def private(count: int, size: int) -> bytes:
    elements = [raw_element(0x29, 0x10, b"LO", b"SOMEBODY")]
    body = bytes(size)
    elements += [
        raw_element(0x29 + 2 * (i // 240), 0x1000 + i % 240, b"UN", body) for i in range(count)
    ]
    return with_raw("PixelData", b"".join(elements))


def pixel_length(length: int) -> bytes:
    at = PLAIN.index(struct.pack("<HH", 0x7FE0, 0x10))
    return PLAIN[: at + 8] + struct.pack("<I", length) + PLAIN[at + 12 :]


def document() -> bytes:
    return changed(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1",
        Modality="DOC",
        EncapsulatedDocument=b"%PDF-1.7",
        PixelData=None,
    )


def rle_beyond_end() -> bytes:
    frame = struct.pack("<16I", 2, 64, 60_000, *([0] * 13)) + b"\x05abc"
    return compressed(frame, RLELossless)


BAD: dict[str, tuple[Callable[[], bytes], FilmFault]] = {
    "3 DICM and nothing more": (lambda: PLAIN[:132], FilmFault.DICOM_TRUNCATED),
    "5 cut at half": (lambda: PLAIN[: len(PLAIN) // 2], FilmFault.DICOM_TRUNCATED),
    "5 cut in the header": (lambda: PLAIN[:420], FilmFault.DICOM_TRUNCATED),
    "6 three pixel bytes": (lambda: changed(PixelData=b"abc\0"), FilmFault.DICOM_PIXELS_SHORT),
    "6 no pixel bytes": (lambda: changed(PixelData=b""), FilmFault.DICOM_PIXELS_SHORT),
    "7 claims 4 GB": (lambda: pixel_length(0xF0000000), FilmFault.DICOM_TRUNCATED),
    "8 no end": (lambda: pixel_length(0xFFFFFFFF), FilmFault.DICOM_TRUNCATED),
    "10 nested 40": (lambda: nested(40, defined=True), FilmFault.DICOM_TOO_DEEP),
    "10 nested 200": (lambda: nested(200, defined=False), FilmFault.DICOM_TOO_DEEP),
    "10 nested 900": (lambda: nested(900, defined=False), FilmFault.DICOM_TOO_DEEP),
    "10 nested 5000": (lambda: nested(5000, defined=False), FilmFault.DICOM_TOO_DEEP),
    "no BitsStored": (lambda: changed(BitsStored=None), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "11 many elements": (lambda: private(12_000, 0), FilmFault.DICOM_TOO_MANY_ELEMENTS),
    "12 a huge element": (lambda: private(1, 20 * 2**20), FilmFault.DICOM_ELEMENT_TOO_LARGE),
    "13 65535 squared": (lambda: changed(Rows=65535, Columns=65535), FilmFault.TOO_MANY_PIXELS),
    "13 no rows": (lambda: changed(Rows=0), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "13 Rows missing": (lambda: changed(Rows=None), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "14 Rows as UL": (
        lambda: with_raw("Rows", raw_element(0x28, 0x10, b"UL", struct.pack("<I", 128))),
        FilmFault.DICOM_PIXEL_DESCRIPTION,
    ),
    "15 many frames": (lambda: changed(NumberOfFrames=10_000), FilmFault.DICOM_MULTI_FRAME),
    "16 seven samples": (lambda: changed(SamplesPerPixel=7), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "17 0 bits": (lambda: changed(BitsAllocated=0), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "17 1 bit": (lambda: changed(BitsAllocated=1), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "17 33 bits": (lambda: changed(BitsAllocated=33), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "17 20 of 16 bits": (lambda: changed(BitsStored=20), FilmFault.DICOM_PIXEL_DESCRIPTION),
    "18 palette": (
        lambda: changed(PhotometricInterpretation="PALETTE COLOR"),
        FilmFault.DICOM_PIXEL_DESCRIPTION,
    ),
    "22 CT": (lambda: changed(Modality="CT"), FilmFault.DICOM_WRONG_MODALITY),
    "22 SR": (lambda: changed(Modality="SR", PixelData=None), FilmFault.DICOM_WRONG_MODALITY),
    "22 no modality": (lambda: changed(Modality=None), FilmFault.DICOM_WRONG_MODALITY),
    "no pixels": (lambda: changed(PixelData=None), FilmFault.DICOM_NO_PIXELS),
    "23 DICOMDIR": (
        lambda: changed(SOPClassUID="1.2.840.10008.1.3.10", PixelData=None, Modality=None),
        FilmFault.DICOM_DIRECTORY,
    ),
    "24 a document": (document, FilmFault.DICOM_DOCUMENT),
    "25 a huge JPEG 2000 tile": (lambda: j2k_claiming(2**31 - 1), FilmFault.DICOM_PIXELS_CORRUPT),
    "25 a rubbish JPEG 2000": (
        lambda: compressed(b"rubbish!", JPEG2000Lossless),
        FilmFault.DICOM_PIXELS_CORRUPT,
    ),
    "26 RLE past the end": (rle_beyond_end, FilmFault.DICOM_PIXELS_CORRUPT),
    "rubbish JPEG": (
        lambda: compressed(b"\xff\xd8rubbish!", JPEGBaseline8Bit, **EIGHT_BITS),
        FilmFault.DICOM_PIXELS_CORRUPT,
    ),
    "27 a video": (lambda: compressed(b"video!", MPEG4HP41), FilmFault.DICOM_VIDEO),
    "28 unknown syntax": (
        lambda: compressed(b"secret", pydicom.uid.UID("1.2.3.4.5")),
        FilmFault.DICOM_SYNTAX,
    ),
    "for processing": (
        lambda: changed(Modality="DX", PresentationIntentType="FOR PROCESSING"),
        FilmFault.DICOM_FOR_PROCESSING,
    ),
    "raw rubbish": (lambda: b"\x08\0\x05\0" + b"rubbish " * 50, FilmFault.DICOM_UNREADABLE),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_with_its_code(name: str) -> None:
    make, code = BAD[name]
    assert fault(make()) is code


def test_a_strange_vr_in_the_file_meta_group_is_survived() -> None:
    meta_end = PLAIN.index(struct.pack("<HH", 8, 5))
    strange = PLAIN[:meta_end] + raw_element(2, 0x0102, b"ZZ", b"strange!") + PLAIN[meta_end:]
    assert xray.decode(strange).pixels.shape == (128, 128)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 192", "김^철수"),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Kim^CheolSu=金^哲秀=김^철수"),
        ("ISO_IR 192", "<script>alert(1)</script>"),
        ("ISO_IR 192", "={cmd}\u202e"),
    ],
)
def test_names_of_any_script_are_no_obstacle(charset: Any, name: str) -> None:
    data = changed(SpecificCharacterSet=charset, PatientName=name)
    assert xray.decode(data).pixels.shape == (128, 128)


def test_a_broken_charset_is_no_obstacle() -> None:
    data = with_raw("PatientName", raw_element(0x10, 0x10, b"PN", b"\xff\xfe\xb1\xe8"))
    assert xray.decode(data.replace(b"ISO_IR 192", b"ISO_IR 999")).pixels.shape == (128, 128)


def test_random_damage_never_ends_in_another_exception() -> None:
    """Every mutation is either a film or a refusal; the seed is fixed so that a failure replays."""
    rng = np.random.default_rng(20261122)
    small = as_dicom(phantom(3, size_px=128))[: 132 + 2000]
    tail = as_dicom(phantom(3, size_px=128))[132 + 2000 :]
    outcomes = set()
    for _ in range(60):
        head = np.frombuffer(small, np.uint8).copy()
        head[rng.integers(132, len(head), 6)] = rng.integers(0, 256, 6)
        try:
            xray.decode(head.tobytes() + tail)
            outcomes.add("film")
        except UnreadableFilm as refused:
            outcomes.add(refused.code)
    assert len(outcomes) >= 4


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(UnreadableFilm) as refused:
        xray.decode(j2k_claiming(20_000))
    assert "another size" in str(refused.value.__cause__)


def test_old_overlays_in_the_upper_bits_are_not_shown() -> None:
    marked = np.frombuffer(opened().PixelData, "<u2").copy()
    marked[::7] |= 1 << 13
    film = xray.decode(changed(PixelData=marked.tobytes()))
    assert np.abs(film.pixels.astype(int) - PHANTOM.pixels).max() <= 1

"""Files that are no film, through POST /cases: a 422 that names why, and nothing is stored.

The decoder's own answers are proven in tests/unit; here the whole door: form, child process, image
store, rows. One database is enough, for nothing reaches it.
"""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker import imagestore
from models.film import FilmFault
from models.phantom import as_dicom, phantom
from tests.integration.api.doors import CASE, House, film
from tests.unit.test_xray import NO_FILMS, png_chunk
from tests.unit.test_xray_dicom import BAD, body_of, changed, deflated, raw_element, with_raw

pytestmark = pytest.mark.parametrize(
    "module_database_url", ["sqlite"], indirect=True, scope="module"
)
AT_MOST_S = 5.0
"""Generous: nothing may hang (issue: within a second on a quiet machine)."""
CHEST = phantom(3, size_px=256)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def huge_png() -> bytes:
    """Item 36: 13,000 x 13,000 pixels in a few hundred kB."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0))
    rows = png_chunk(b"IDAT", zlib.compress(bytes(13_000 * 3 + 1) * 200, 9))
    return b"\x89PNG\r\n\x1a\n" + header + rows + png_chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """Item 37: a text chunk of 20 MiB."""
    data = film("normal.png")
    bomb = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20 * 2**20), 9))
    return data[:33] + bomb + data[33:]


FILES: dict[str, tuple[Callable[[], bytes], FilmFault | None]] = {
    **BAD,
    **{name: (lambda d=data: d, code) for name, (data, code) in NO_FILMS.items()},  # type: ignore[misc]
    "9 deflated bomb": (
        lambda: deflated(body_of() + bytes(130 * 2**20)),
        FilmFault.DICOM_INFLATES,
    ),
    "36 PNG of 13000 squared": (huge_png, FilmFault.TOO_MANY_PIXELS),
    "37 zTXt bomb": (text_bomb, FilmFault.CORRUPT),
    "34 a ZIP": (lambda: b"PK\x03\x04" + bytes(500), FilmFault.OTHER_FORMAT),
    "34 a program": (lambda: b"MZ" + bytes(500), FilmFault.NOT_A_FILM),
    "34 an ELF": (lambda: b"\x7fELF" + bytes(500), FilmFault.NOT_A_FILM),
}
del FILES["empty"], FILES["over 32 MiB"]  # their own tests


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_bad_file_is_refused_and_nothing_stays(house: House, name: str) -> None:
    make, code = FILES[name]
    data, rows, files = make(), house.rows(), house.files()
    began = time.monotonic()
    answer = house.crew.submit(image=data)
    assert time.monotonic() - began < AT_MOST_S
    assert (answer.status_code, answer.json["code"]) == (422, "image_unreadable"), answer.text
    assert answer.json["reason"] == code
    assert len(answer.json["detail"]) > 10
    assert "Traceback" not in answer.text
    assert (house.rows(), house.files()) == (rows, files)


def test_an_empty_file_is_refused(house: House) -> None:
    rows, files = house.rows(), house.files()
    answer = house.crew.submit(image=b"")
    assert (answer.status_code, answer.json["code"]) == (422, "image_unreadable")
    assert answer.json["reason"] == "empty"
    assert (house.rows(), house.files()) == (rows, files)


def test_a_form_without_a_chosen_file_is_a_case_without_a_film(house: House) -> None:
    """What a browser sends for an empty file field: no name, no bytes."""
    answer = house.crew.post(
        "/cases",
        data={"case": "{}", "image": (io.BytesIO(b""), "")},
        content_type="multipart/form-data",
        headers={"Idempotency-Key": "no-file-chosen"},
    )
    assert (answer.status_code, answer.json["image_sha256"]) == (201, None), answer.text


def test_a_file_over_32_mib_is_refused(house: House) -> None:
    rows, files = house.rows(), house.files()
    for size in (32 * 2**20 + 1, 33 * 2**20):
        answer = house.crew.submit(image=bytes(size))
        assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert (house.rows(), house.files()) == (rows, files)


def test_a_bad_file_for_an_open_case_changes_nothing(house: House) -> None:
    case_id, _ = house.offered(film())
    before, rows, files = house.case(house.crew, case_id), house.rows(), house.files()
    for data in (b"", b"no film", film()[:1000]):
        answer = house.crew(
            "PUT", f"/cases/{case_id}/image", data={"image": (io.BytesIO(data), "film.png")}
        )
        assert (answer.status_code, answer.json["code"]) == (422, "image_unreadable")
    assert house.case(house.crew, case_id) == before
    assert (house.rows(), house.files()) == (rows, files)


def test_a_film_for_an_ended_case_is_refused_and_not_kept(house: House) -> None:
    case_id = house.submitted()
    assert house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "gone"}).status_code == 200
    files = house.files()
    answer = house.crew(
        "PUT", f"/cases/{case_id}/image", data={"image": (io.BytesIO(film()), "film.png")}
    )
    assert (answer.status_code, answer.json["state"]) == (409, "cancelled")
    assert house.files() == files


def test_a_reader_that_crashes_or_hangs_is_a_refusal(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file does to its reader, the gateway lives and says so."""
    from dispatch import intake
    from tests.integration.api import readers

    rows, files = house.rows(), house.files()
    for reader, reason in ((readers.crash, "crashed"), (readers.swell, "memory")):
        monkeypatch.setattr(intake, "open_film", reader)
        answer = house.crew.submit(image=film())
        assert (answer.status_code, answer.json["code"]) == (422, "image_unreadable")
        assert answer.json["reason"] == reason
    assert (house.rows(), house.files()) == (rows, files)


MUST_WORK: dict[str, Callable[[], bytes]] = {
    "19 MONOCHROME1": lambda: as_dicom(CHEST, photometric="MONOCHROME1"),
    "4 no preamble": body_of,
    "20 window of width 0": lambda: changed(WindowWidth="0"),
    "21 negative spacing": lambda: changed(PixelSpacing=["-1", "-1"]),
    "30 strange VR": lambda: with_raw("Rows", raw_element(0x27, 0x10, b"ZZ", b"odd!")),
    "31 Korean charset": lambda: changed(
        SpecificCharacterSet=["ISO 2022 IR 6", "ISO 2022 IR 149"], PatientName="Kim^CheolSu=金=김"
    ),
    "32 broken charset": lambda: with_raw(
        "PatientName", raw_element(0x10, 0x10, b"PN", b"\xff\xfe\xb1\xe8")
    ),
    "33 name with a script": lambda: changed(PatientName="<script>alert(1)</script>"),
    "33 name with a formula": lambda: changed(PatientName="={cmd}\u202e"),
    "35 burned in": lambda: changed(BurnedInAnnotation="YES"),
    "38 APNG": lambda: saved(
        Image.fromarray(CHEST.pixels),
        "PNG",
        save_all=True,
        append_images=[Image.fromarray(np.roll(CHEST.pixels, i, 0)) for i in range(1, 30)],
    ),
    "40 16-bit PNG": lambda: saved(Image.fromarray(CHEST.pixels.astype(np.uint16) * 257), "PNG"),
    "41 CMYK JPEG": lambda: saved(Image.fromarray(CHEST.pixels).convert("CMYK"), "JPEG"),
    "41 progressive JPEG": lambda: saved(Image.fromarray(CHEST.pixels), "JPEG", progressive=True),
    "42 JPEG with a ZIP tail": lambda: film("pneumonia.jpg") + b"PK\x03\x04" + b"payload" * 99,
    "34 MZ preamble": lambda: b"MZ\x90\0".ljust(128, b"!") + as_dicom(CHEST)[128:],
    "34 ELF preamble": lambda: b"\x7fELF".ljust(128, b"!") + as_dicom(CHEST)[128:],
    "34 HTML preamble": lambda: b"<html>".ljust(128, b"!") + as_dicom(CHEST)[128:],
}


@pytest.mark.parametrize("name", sorted(MUST_WORK))
def test_an_odd_film_is_taken_and_served_clean(house: House, name: str) -> None:
    data = MUST_WORK[name]()
    answer = house.crew.submit(image=data)
    assert answer.status_code == 201, answer.text
    shown = house.crew.get(f"/cases/{answer.json['case_id']}/image")
    assert shown.status_code == 200
    assert shown.data.startswith(b"\x89PNG")
    for word in (b"!!!!", b"MZ", b"ELF", b"<html>", b"PK\x03\x04", b"payload", b"script", b"DICM"):
        if len(word) > 2:
            assert word not in shown.data
    assert "<script>" not in house.crew.get(f"/cases/{answer.json['case_id']}").text


@pytest.mark.parametrize(
    "name",
    ["../../etc/x", "..\\..\\x", "a\0b.png", "x" * 5000 + ".png", "🩻.png", "\u202egnp.exe", "CON"],
    ids=ascii,
)
def test_a_file_name_names_nothing(house: House, name: str) -> None:
    files = house.files()
    answer = house.crew.submit(image=film(), name=name)
    assert answer.status_code == 201, answer.text
    case_id = answer.json["case_id"].replace("-", "")
    new = house.files() - files
    assert new == {f"{case_id[:2]}/{case_id}/{answer.json['image_sha256']}"}
    picture = house.crew.get(f"/cases/{answer.json['case_id']}/image")
    assert picture.headers["Content-Disposition"] == (
        f'inline; filename="{answer.json["case_id"]}.png"'
    )


def test_two_patients_may_share_a_film(house: House) -> None:
    first, second = house.submitted(film()), house.submitted(film())
    assert first != second
    for case_id in (first, second):
        assert house.crew.get(f"/cases/{case_id}/image").status_code == 200


@pytest.mark.parametrize(
    ("shade", "reason"), [(0, "too_dark"), (255, "too_bright"), (128, "no_contrast")]
)
def test_a_film_that_shows_nothing_goes_on_with_its_reason(
    house: House, shade: int, reason: str
) -> None:
    data = saved(Image.new("L", (400, 400), shade), "PNG")
    answer = house.crew.submit(image=data)
    assert (answer.status_code, answer.json["image_unusable"]) == (201, reason)
    assert house.readings(answer.json["case_id"]) == {}


def test_no_room_is_told_before_the_upload_is_read(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(total=100 * 2**30, free=2**20)
    monkeypatch.setattr(imagestore.shutil, "disk_usage", lambda _: full)
    rows, files = house.rows(), house.files()
    answer = house.crew.submit(image=film())
    assert (answer.status_code, answer.json["code"]) == (503, "storage_full")
    assert answer.headers["Retry-After"]
    assert (house.rows(), house.files()) == (rows, files)
    assert house.nobody.get("/readyz").status_code == 503
    assert house.crew.submit(CASE).status_code == 201  # without a film it goes on

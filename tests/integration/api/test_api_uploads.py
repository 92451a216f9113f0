"""Films in pieces: tus 1.0.0 at the gateway, and what a case makes of a finished upload."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from uuid import UUID, uuid4

import pytest
from PIL import Image
from werkzeug.test import TestResponse

from broker import database
from broker.settings import Settings
from broker.tables import Case, Upload
from dispatch import uploads
from tests.integration.api.doors import CASE, Caller, House, film
from workers.upkeep import Upkeep

TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture(autouse=True)
def nothing_left(house: House) -> Iterator[None]:
    """Every test ends its uploads, so that no bytes stay."""
    yield
    with house.record.write() as db:
        for upload in db.query(Upload):
            house.state.partials.delete(upload.id)
            db.delete(upload)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def announce(who: Caller, data: bytes, **headers: str) -> TestResponse:
    name = base64.b64encode(sha256(data).encode()).decode()
    wanted = {"Upload-Length": str(len(data)), "Upload-Metadata": f"sha256 {name}"}
    return who.post("/uploads", headers={**TUS, **wanted, **headers})


def send(who: Caller, place: str, offset: int, piece: bytes, **headers: str) -> TestResponse:
    return who(
        "PATCH",
        place,
        data=piece,
        content_type="application/offset+octet-stream",
        headers={**TUS, "Upload-Offset": str(offset), **headers},
    )


def upload(who: Caller, data: bytes) -> str:
    """A finished upload; its address."""
    place = announce(who, data).headers["Location"]
    answer = send(who, place, 0, data)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(len(data)))
    return str(place)


def test_a_film_arrives_in_pieces_and_a_case_names_it(house: House) -> None:
    data, files = film(), house.files()
    answer = announce(house.crew, data)
    assert answer.status_code == 201
    assert answer.headers["Upload-Offset"] == "0"
    place = answer.headers["Location"]
    assert send(house.crew, place, 0, data[:1000]).headers["Upload-Offset"] == "1000"
    stands = house.crew("HEAD", place, headers=TUS)
    assert stands.headers["Upload-Offset"] == "1000"
    assert stands.headers["Upload-Length"] == str(len(data))
    assert "Upload-Expires" in stands.headers
    # Whoever lost the address announces the same film again and finds what is here.
    again = announce(house.crew, data)
    assert (again.headers["Location"], again.headers["Upload-Offset"]) == (place, "1000")
    assert send(house.crew, place, 1000, data[1000:]).status_code == 204
    verdict = house.crew.post(f"/films/{sha256(data)}/check")
    assert verdict.status_code == 200, verdict.text
    assert verdict.json["unusable_reason"] is None
    assert verdict.json["width_px"] > 0

    key = f"upload-{uuid4()}"
    body = {**CASE, "image_sha256": sha256(data)}
    first, second = (
        house.crew.post("/cases", json=body, headers={"Idempotency-Key": key}) for _ in range(2)
    )
    assert first.status_code == second.status_code == 201, first.text
    assert first.json == second.json
    assert first.json["image_sha256"] == sha256(data)
    kept = house.files() - files
    assert kept
    assert not [path for path in kept if path.startswith(("partial", "incoming"))]
    assert house.crew("HEAD", place, headers=TUS).status_code == 404
    house.crew.post(f"/cases/{first.json['case_id']}/cancel", json={"reason": "the test ends"})


def test_the_case_goes_first_and_the_film_follows(house: House) -> None:
    case_id = house.submitted(film_follows=True, crew_pre_ktas=3)
    house.advance(case_id)
    assert house.case(house.crew, case_id)["status"] == "received"  # waits, but not for ever
    data = film()
    upload(house.crew, data)
    put = {"json": {"image_sha256": sha256(data)}}
    first = house.crew("PUT", f"/cases/{case_id}/image", **put)
    again = house.crew("PUT", f"/cases/{case_id}/image", **put)  # its answer was lost
    assert first.status_code == again.status_code == 200, first.text
    assert first.json == again.json
    house.read_films()
    house.advance(case_id)
    case = house.case(house.crew, case_id)
    assert case["status"] == "offering"
    assert case["image"]["findings"]
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_a_film_that_never_comes_holds_nothing_up(house: House) -> None:
    urgent = house.submitted(film_follows=True, crew_pre_ktas=2)
    house.advance(urgent)
    assert house.case(house.crew, urgent)["status"] == "offering"  # at once
    prompt = house.submitted(film_follows=True, crew_pre_ktas=3)
    with house.record.write() as db:
        case = db.get(Case, UUID(prompt))
        assert case is not None
        assert case.deadline_at is not None
        waits_s = (case.deadline_at - case.received_at).total_seconds()
        assert waits_s == house.settings.reading_deadline_s
        case.deadline_at = database.now(db)
    house.advance(prompt)
    assert house.case(house.crew, prompt)["status"] == "offering"
    for case_id in (urgent, prompt):
        house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_an_unusable_film_ends_the_wait(house: House) -> None:
    case_id = house.submitted(film_follows=True, crew_pre_ktas=3)
    black = _black()
    upload(house.crew, black)
    answer = house.crew("PUT", f"/cases/{case_id}/image", json={"image_sha256": sha256(black)})
    assert answer.json["image_unusable"], answer.text
    house.advance(case_id)
    assert house.case(house.crew, case_id)["status"] == "offering"
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def _black() -> bytes:
    target = BytesIO()
    Image.new("L", (600, 600), 0).save(target, "PNG")
    return target.getvalue()


def test_an_unfinished_upload_is_no_film(house: House) -> None:
    data, before = film(), house.rows()["cases"]
    place = announce(house.crew, data).headers["Location"]
    send(house.crew, place, 0, data[:500])
    body = {**CASE, "image_sha256": sha256(data)}
    answer = house.crew.post("/cases", json=body, headers={"Idempotency-Key": f"u-{uuid4()}"})
    assert (answer.status_code, answer.json["code"]) == (409, "upload_incomplete")
    assert answer.json["offset"] == 500
    assert house.rows()["cases"] == before
    # The key is free: the same case without the film is welcome.
    assert house.crew("DELETE", place, headers=TUS).status_code == 204
    assert not house.state.partials.path(UUID(place.rsplit("/", 1)[1])).exists()


def test_other_bytes_than_announced_are_refused_and_forgotten(house: House) -> None:
    data = film()
    place = announce(house.crew, data).headers["Location"]
    send(house.crew, place, 0, data[:-1] + bytes([data[-1] ^ 1]))
    answer = house.crew.post(f"/films/{sha256(data)}/check")
    assert (answer.status_code, answer.json["code"]) == (409, "upload_corrupt")
    assert announce(house.crew, data).headers["Upload-Offset"] == "0"


def test_what_is_no_film_is_refused_and_forgotten(house: House) -> None:
    upload(house.crew, b"no film at all")
    answer = house.crew.post(f"/films/{sha256(b'no film at all')}/check")
    assert (answer.status_code, answer.json["code"]) == (422, "image_unreadable")
    answer = house.crew.post(f"/films/{sha256(b'no film at all')}/check")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_nobody_elses_upload_is_there(house: House) -> None:
    data = film()
    place = upload(house.crew, data)
    assert house.other_crew("HEAD", place, headers=TUS).status_code == 404
    assert send(house.other_crew, place, 0, b"x").status_code == 404
    assert house.other_crew("DELETE", place, headers=TUS).status_code == 404
    assert house.other_crew.post(f"/films/{sha256(data)}/check").status_code == 404
    # The same film of another unit is another upload: its bytes must come from that unit.
    assert announce(house.other_crew, data).headers["Upload-Offset"] == "0"
    assert announce(house.control, data).status_code == 403


def test_a_piece_must_begin_where_the_upload_stands_and_never_goes_past_its_end(
    house: House,
) -> None:
    place = announce(house.crew, film()).headers["Location"]
    answer = send(house.crew, place, 7, b"abc")
    assert (answer.status_code, answer.json["code"], answer.json["offset"]) == (
        409,
        "wrong_offset",
        0,
    )
    small = announce(house.crew, b"twelve bytes").headers["Location"]
    assert send(house.crew, small, 0, b"twelve bytes and more").headers["Upload-Offset"] == "12"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Tus-Resumable": "0.2.2"}, 412, "wrong_tus_version"),
        ({"Upload-Length": "-1"}, 400, "bad_request"),
        ({"Upload-Length": "٣"}, 400, "bad_request"),
        ({"Upload-Length": "9" * 30}, 400, "bad_request"),
        ({"Upload-Length": str(33 * 1024**2)}, 413, "too_large"),
        ({"Upload-Length": "0"}, 422, "image_unreadable"),
        ({"Upload-Metadata": ""}, 422, "invalid"),
        ({"Upload-Metadata": "sha256 !!"}, 422, "invalid"),
        ({"Upload-Metadata": "sha256 Li4vLi4vZXRjL3Bhc3N3ZA=="}, 422, "invalid"),
    ],
)
def test_bad_announcements(house: House, headers: dict[str, str], status: int, code: str) -> None:
    if not headers.get("Upload-Length", "1").isascii():
        headers = {"Upload-Length": headers["Upload-Length"].encode().decode("latin-1")}
    before = house.rows()
    answer = announce(house.crew, film(), **headers)
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.text
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert house.rows() == before


def test_a_piece_is_no_json_and_json_is_no_piece(house: House) -> None:
    place = announce(house.crew, film()).headers["Location"]
    answer = house.crew("PATCH", place, json={"x": 1}, headers={**TUS, "Upload-Offset": "0"})
    assert answer.status_code == 415
    big = b"x" * 200_000
    for path in ("/cases", f"/cases/{uuid4()}/cancel"):
        answer = house.crew.post(
            path,
            data=big,
            content_type="application/offset+octet-stream",
            headers={"Idempotency-Key": f"u-{uuid4()}"},
        )
        assert answer.status_code in {413, 415}, answer.text


def test_one_unit_cannot_fill_the_disk(house: House) -> None:
    """The oldest unfinished film makes room; a crew is never refused."""
    places = []
    for number in range(uploads.MOST_PER_AMBULANCE + 2):
        data = film() + bytes([number])
        places.append(announce(house.crew, data).headers["Location"])
        send(house.crew, places[-1], 0, data[:100])
    found = [house.crew("HEAD", place, headers=TUS).status_code for place in places]
    assert found == [404, 404] + [200] * uploads.MOST_PER_AMBULANCE
    folder = house.settings.images / "partial"
    assert len(list(folder.iterdir())) == uploads.MOST_PER_AMBULANCE


def test_upkeep_ends_what_nobody_goes_on_with(house: House, gateway_settings: Settings) -> None:
    place = announce(house.crew, film()).headers["Location"]
    send(house.crew, place, 0, b"abc")
    upkeep = Upkeep(replace(gateway_settings, node="sweeper"))
    try:
        assert upkeep.sweep_uploads() == 0
        with house.record.write() as db:
            for row in db.query(Upload):
                row.expires_at = database.now(db)
        assert upkeep.sweep_uploads() == 1
        orphan = house.state.partials.path(uuid4())
        orphan.write_bytes(b"left by a killed process")
        assert upkeep.sweep_uploads() == 0  # somebody may be writing it just now
        os.utime(orphan, (time.time() - 3600, time.time() - 3600))
        assert upkeep.sweep_uploads() == 1
        assert not orphan.exists()
    finally:
        upkeep.record.close()


def test_a_film_and_a_name_at_once_are_a_mistake(house: House) -> None:
    answer = house.crew.submit({**CASE, "image_sha256": "0" * 64}, film())
    assert (answer.status_code, answer.json["field"]) == (422, "image_sha256")

"""Requests that are wrong, contradictory or hostile: a clear 4xx with its code; nothing changes."""

from __future__ import annotations

import gzip
import io
import json
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update
from werkzeug.test import TestResponse

from broker.lifecycle import OfferStatus, ReadingKind
from broker.tables import EmergencyRoom, Offer
from dispatch import reading
from tests.integration.api.doors import CASE, HERE, MODEL, VITALS, House, film

VITALS_OK = {"systolic_bp_mmhg": 120, "diastolic_bp_mmhg": 80}
DEEP = '{"p":' * 10_000 + "1" + "}" * 10_000


def sent(house: House, text: str, method: str = "POST", path: str = "/cases") -> TestResponse:
    """Raw JSON text as a device sends it."""
    headers = {"Idempotency-Key": f"bad-{uuid4()}"}
    return house.crew(method, path, data=text, headers=headers, content_type="application/json")


def case_with(**changes: Any) -> dict[str, Any]:
    return {**CASE, **changes}


NOT_JSON = {
    "nothing": "",
    "text": "hello",
    "half": '{"age_years": 4',
    "NaN": '{"age_years": NaN}',
    "infinity": '{"age_years": -Infinity}',
    "twice": '{"age_years": 1, "age_years": 2}',
    "twice inside": '{"vitals": {"pulse_per_min": 1, "pulse_per_min": 2}}',
    "10,000 deep": DEEP,
    "10,000 lists": "[" * 10_000 + "]" * 10_000,
    "bad UTF-8": b'{"complaint": "\xff\xfe"}'.decode("latin-1"),
}


@pytest.mark.parametrize("name", NOT_JSON)
def test_what_is_no_json_is_refused(house: House, name: str) -> None:
    text = NOT_JSON[name]
    case_id = house.submitted()
    rows = house.rows()
    data: Any = text.encode("latin-1") if name == "bad UTF-8" else text
    for method, path in (
        ("POST", "/cases"),
        ("PATCH", f"/cases/{case_id}"),
        ("POST", f"/cases/{case_id}/cancel"),
        ("POST", f"/cases/{case_id}/messages"),
    ):
        answer = sent(house, data, method, path)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request"), (
            path,
            answer.text,
        )
        assert house.rows() == rows
    if name != "nothing" and name != "bad UTF-8":
        answer = house.crew.submit(text)
        assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert house.rows() == rows


OUT_OF_RANGE: dict[str, tuple[Any, str]] = {
    "a list": ([], "Invalid input type"),
    "null": (None, "Invalid input type"),
    "61 age -1": (case_with(age_years=-1), "age_years"),
    "61 age 999": (case_with(age_years=999), "age_years"),
    "61 age in words": (case_with(age_years="정보없음"), "age_years"),
    "61 age as text": (case_with(age_years="67"), "age_years"),
    "age true": (case_with(age_years=True), "age_years"),
    "59 1e400": ('{"age_years": 1e400}', "age_years"),
    "sex": (case_with(sex="x"), "sex"),
    "level 0": (case_with(crew_pre_ktas=0), "crew_pre_ktas"),
    "level 6": (case_with(crew_pre_ktas=6), "crew_pre_ktas"),
    "level 2.5": (case_with(crew_pre_ktas=2.5), "crew_pre_ktas"),
    "level as text": (case_with(crew_pre_ktas="2"), "crew_pre_ktas"),
    "60 lat 91": (case_with(position={"latitude": 91, "longitude": 0}), "position.latitude"),
    "60 lon 181": (case_with(position={"latitude": 1, "longitude": 181}), "position.longitude"),
    "60 null island": (case_with(position={"latitude": 0, "longitude": 0}), "position.latitude"),
    "60 -0": (case_with(position={"latitude": -0.0, "longitude": 0}), "position.latitude"),
    "60 half a position": (case_with(position={"latitude": 1}), "position.longitude"),
    "60 as text": (
        case_with(position={"latitude": "37.5", "longitude": "127"}),
        "position.latitude",
    ),
    "62 swapped": (
        case_with(vitals={"systolic_bp_mmhg": 80, "diastolic_bp_mmhg": 120}),
        "vitals.diastolic_bp_mmhg",
    ),
    "62 pulse as text": (case_with(vitals={"pulse_per_min": "80"}), "vitals.pulse_per_min"),
    "62 SpO2 101": (case_with(vitals={"spo2_percent": 101}), "vitals.spo2_percent"),
    "62 temperature in F": (case_with(vitals={"temperature_c": 98.6}), "vitals.temperature_c"),
    "62 consciousness": (case_with(vitals={"consciousness": "X"}), "vitals.consciousness"),
    "62 oxygen as text": (case_with(vitals={"on_oxygen": "yes"}), "vitals.on_oxygen"),
    "62 oxygen as number": (case_with(vitals={"on_oxygen": 1}), "vitals.on_oxygen"),
    "62 scale 3": (case_with(vitals={"spo2_scale": 3}), "vitals.spo2_scale"),
    "62 scale 2 unconfirmed": (case_with(vitals={"spo2_scale": 2}), "vitals.spo2_scale"),
    "62 scale 2 denied": (
        case_with(vitals={"spo2_scale": 2, "spo2_scale_confirmed": False}),
        "vitals.spo2_scale",
    ),
    "62 confirmed without scale 2": (
        case_with(vitals={"spo2_scale_confirmed": True}),
        "vitals.spo2_scale_confirmed",
    ),
    "62 pregnant as text": (case_with(pregnant="yes"), "pregnant"),
    "62 huge": (case_with(vitals={"pulse_per_min": 10**30}), "vitals.pulse_per_min"),
    "63 unknown field": (case_with(acuity=1), "acuity"),
    "63 unknown inside": (case_with(vitals={"gcs": 15}), "vitals.gcs"),
    "64 a time of their own": (case_with(received_at="1970-01-01T00:00:00Z"), "received_at"),
    "63 somebody else's id": (case_with(ambulance_id=str(uuid4())), "ambulance_id"),
    "65 1,001 letters": (case_with(complaint="가" * 1001), "complaint"),
    "65 NUL": (case_with(complaint="a\0b"), "complaint"),
    "65 escape": (case_with(complaint="\x1b[31mred"), "complaint"),
    "65 reading direction": (case_with(complaint="\u202etxt.exe"), "complaint"),
    "59 lone surrogate": (case_with(complaint="\ud800"), "complaint"),
    "name NUL": (case_with(patient={"name": "a\0b"}), "patient.name"),
    "name too long": (case_with(patient={"name": "x" * 121}), "patient.name"),
    "name a list": (case_with(patient={"name": ["x"]}), "patient.name"),
    "patient a text": (case_with(patient="Kim"), "patient"),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_a_field_that_is_wrong_is_named(house: House, name: str) -> None:
    body, field = OUT_OF_RANGE[name]
    rows, files = house.rows(), house.files()
    text = body if isinstance(body, str) else json.dumps(body)
    for answer in (
        sent(house, text),
        house.crew.submit(text, film()) if name in {"62 swapped", "65 NUL"} else None,
    ):
        if answer is not None:
            assert (answer.status_code, answer.json["code"]) == (422, "invalid"), answer.text
            assert answer.json["detail"].startswith(field), answer.json["detail"]
    assert (house.rows(), house.files()) == (rows, files)


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 --",
        "Robert'); DROP TABLE cases;--",
        "*)(uid=*))(|(uid=*",
        "{{7*7}} ${7*7} <%= 7*7 %>",
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A0",
        "Z̸̢͎a̷l̵g̶o̸ 👩‍⚕️ 호흡곤란 ﷽",
        "line one\nline two\r\n\ttab",
        "%00%0a%s%n",
    ],
)
def test_odd_words_are_words(house: House, text: str) -> None:
    case_id = house.submitted(complaint=text, patient={"name": text, "identifier": text})
    case = house.case(house.crew, case_id)
    assert case["complaint"] == text
    assert case["patient"]["name"] == text
    answer = house.crew.post(
        f"/cases/{case_id}/messages", json={"to": "control_room", "body": text}
    )
    assert (answer.status_code, answer.json["body"]) == (201, text)
    assert answer.mimetype == "application/json"


def form(house: House, parts: Any, **headers: str) -> TestResponse:
    return house.crew.post(
        "/cases",
        data=parts,
        content_type="multipart/form-data",
        headers={"Idempotency-Key": f"bad-{uuid4()}", **headers},
    )


def raw_form(house: House, body: bytes, content_type: str) -> TestResponse:
    return house.crew.post(
        "/cases",
        data=body,
        content_type=content_type,
        headers={"Idempotency-Key": f"bad-{uuid4()}"},
    )


def test_forms_that_are_too_much(house: House) -> None:
    rows, files = house.rows(), house.files()
    many = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="case"\r\n\r\n{}\r\n' for _ in range(10_000)
    )
    answer = raw_form(house, many + b"--b--\r\n", "multipart/form-data; boundary=b")
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert "at most 32 MiB" in answer.json["detail"]
    long = {"case": json.dumps(case_with(complaint="x" * 5_000_000))}
    answer = form(house, long)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    answer = form(house, {"case": "{}", "image": (io.BytesIO(bytes(33 * 2**20)), "x.png")})
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    answer = sent(house, json.dumps(case_with(complaint="x" * 200_000)))
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    case_id = house.submitted()
    rows = house.rows()
    answer = sent(house, json.dumps({"complaint": "x" * 200_000}), "PATCH", f"/cases/{case_id}")
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")
    assert (house.rows(), house.files()) == (rows, files)


def test_forms_that_contradict_themselves(house: House) -> None:
    rows, files = house.rows(), house.files()
    two = [(io.BytesIO(film()), "a.png"), (io.BytesIO(film("pneumonia.jpg")), "b.jpg")]
    for parts, status, code in (
        ({"case": "{}", "image": two}, 422, "invalid"),
        ({"case": ["{}", "{}"]}, 422, "invalid"),
        ({"case": "{}", "photo": (io.BytesIO(film()), "a.png")}, 422, "invalid"),
        ({"case": "{}", "note": "hello"}, 422, "invalid"),
        ({"case": "{}", "image": "not a file"}, 422, "invalid"),
        ({"case": (io.BytesIO(b"{}"), "case.json")}, 422, "invalid"),
        ({}, 400, "bad_request"),
    ):
        answer = form(house, parts)
        assert (answer.status_code, answer.json["code"]) == (status, code), (parts, answer.text)
    assert (house.rows(), house.files()) == (rows, files)


GOOD_PART = b'--good\r\nContent-Disposition: form-data; name="case"\r\n\r\n{}\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (GOOD_PART + b"--good--\r\n", "multipart/form-data; boundary=other"),
        (GOOD_PART + b"--good--\r\n", "multipart/form-data"),
        (GOOD_PART, "multipart/form-data; boundary=good"),  # cut off
        (GOOD_PART[:30], "multipart/form-data; boundary=good"),
        (b"", "multipart/form-data; boundary=good"),
        (gzip.compress(GOOD_PART + b"--good--\r\n"), "multipart/form-data; boundary=good"),
    ],
    ids=["other boundary", "no boundary", "no end", "cut in a header", "empty", "gzip"],
)
def test_a_form_that_breaks_off_makes_no_empty_case(
    house: House, body: bytes, content_type: str
) -> None:
    """A case of nothing in place of a film that was sent would be worse than an error."""
    rows = house.rows()
    answer = raw_form(house, body, content_type)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request"), answer.text
    assert house.rows() == rows


@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile:ResourceWarning")  # werkzeug's own
def test_a_film_that_breaks_off_makes_no_case(house: House) -> None:
    whole = (
        GOOD_PART
        + b'--good\r\nContent-Disposition: form-data; name="image"; filename="x.png"\r\n'
        + b"Content-Type: image/png\r\n\r\n"
        + film()
        + b"\r\n--good--\r\n"
    )
    rows, files = house.rows(), house.files()
    assert raw_form(house, whole, "multipart/form-data; boundary=good").status_code == 201
    rows, files = house.rows(), house.files()
    for cut in (200, 5_000, len(whole) - 12):
        answer = raw_form(house, whole[:cut], "multipart/form-data; boundary=good")
        assert answer.status_code in {400, 422}, answer.text
        assert (house.rows(), house.files()) == (rows, files)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/xml", "image/png", ""],
)
def test_another_kind_of_body(house: House, content_type: str) -> None:
    case_id = house.submitted()
    rows = house.rows()
    for method, path in (
        ("POST", "/cases"),
        ("PATCH", f"/cases/{case_id}"),
        ("POST", f"/cases/{case_id}/cancel"),
    ):
        answer = house.crew(
            method,
            path,
            data=b'{"reason": "a test", "complaint": "x"}',
            content_type=content_type,
            headers={"Idempotency-Key": f"kind-{uuid4()}"},
        )
        assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")
    answer = house.crew("PUT", f"/cases/{case_id}/image", data=film(), content_type=content_type)
    assert answer.status_code == 415
    assert house.rows() == rows


def test_a_change_that_says_nothing(house: House) -> None:
    case_id = house.submitted()
    rows, version = house.rows(), house.case(house.crew, case_id)["version"]
    for body in ({}, {"status": "closed"}, {"acuity": 1}, {"patient": {"name": "Kim"}}):
        answer = house.crew("PATCH", f"/cases/{case_id}", json=body)
        assert (answer.status_code, answer.json["code"]) == (422, "invalid"), body
    assert house.rows() == rows
    assert house.case(house.crew, case_id)["version"] == version


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"decision": "perhaps"},
        {"decision": "reject"},
        {"decision": "reject", "reason_code": "tired"},
        {"decision": "accept", "reason_code": "no_er_bed"},
        {"decision": "accept", "delay_min": 5},
        {"decision": "accept_with_delay"},
        {"decision": "accept_with_delay", "delay_min": 0},
        {"decision": "accept_with_delay", "delay_min": 241},
        {"decision": "accept_with_delay", "delay_min": 5, "reason_code": "other"},
        {"decision": "accept", "note": "x" * 501},
        {"decision": "accept", "case_id": "x"},
        {"decision": ["accept"]},
    ],
    ids=repr,
)
def test_a_decision_that_is_none(house: House, body: dict[str, Any]) -> None:
    _, offers = house.offered()
    rows = house.rows()
    answer = house.er_of(offers[0]).post(f"/offers/{offers[0]['id']}/decision", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid"), answer.text
    assert house.rows() == rows
    shown = house.er_of(offers[0]).get(f"/offers/{offers[0]['id']}").json
    assert shown["status"] == "requested"


def test_answers_that_come_too_late(house: House) -> None:
    """Item 68: each pair of what was said and what is said now has its own answer."""
    _, offers = house.offered()
    first, second, third = offers
    assert house.decide(first, "reject", reason_code="other").status_code == 200
    assert house.decide(first, "reject", reason_code="other").status_code == 200
    again = house.decide(first, "accept")  # item 69
    assert (again.status_code, again.json["code"]) == (409, "already_decided")
    assert house.decide(second, "accept").status_code == 200
    assert house.decide(second, "accept").status_code == 200
    turned = house.decide(second, "reject", reason_code="other")
    assert (turned.status_code, turned.json["code"]) == (409, "already_decided")
    lost = house.decide(third, "accept")
    assert (lost.status_code, lost.json["code"]) == (409, "already_taken")
    assert "case" not in lost.json
    loser = house.er_of(third).post(
        f"/offers/{third['id']}/withdraw", json={"reason_code": "other"}
    )
    assert loser.status_code in {409, 410}
    assert house.er_of(third).post(f"/offers/{third['id']}/received").json["status"] == "withdrawn"

    case_id, offers = house.offered()
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "gone"})
    late = house.decide(offers[0], "accept")
    assert (late.status_code, late.json["code"]) == (410, "offer_gone")
    assert late.json["reason"] == "case_cancelled"
    for path, body in (("acknowledge", None), ("arrive", None), ("depart", None), ("close", None)):
        answer = house.crew.post(f"/cases/{case_id}/{path}", json=body)
        assert (answer.status_code, answer.json["code"]) == (409, "illegal_transition"), path
        assert answer.json["state"] == "cancelled"
    answer = house.crew("PATCH", f"/cases/{case_id}", json={"vitals": VITALS})
    assert (answer.status_code, answer.json["state"]) == (409, "cancelled")

    case_id, offers = house.offered()
    with house.record.write() as db:
        db.execute(
            update(Offer)
            .where(Offer.case_id == db.get_one(Offer, _uuid(offers[0]["id"])).case_id)
            .values(status=OfferStatus.EXPIRED, ended_reason="no_answer")
        )
    late = house.decide(offers[0], "accept")
    assert (late.status_code, late.json["code"]) == (410, "offer_gone")
    assert house.crew.post(f"/offers/{offers[0]['id']}/take").status_code == 410
    early = house.crew.post(f"/cases/{case_id}/acknowledge")
    assert (early.status_code, early.json["state"]) == (409, "offering")


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def test_cancelled_while_it_is_read(house: House) -> None:
    """Item 72: the reading ends later and wakes nobody."""
    case_id = house.submitted(film())
    claims = [
        house.record.again(lambda s, k=kind: reading.claim(s, house.settings, k, "a test"))
        for kind in ReadingKind
    ]
    assert house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "gone"}).status_code == 200
    for claim in claims:
        assert claim is not None
        house.record.again(
            lambda s, c=claim: reading.done(s, house.settings, c, [], MODEL, {"run": 0.1})
        )
    case = house.case(house.crew, case_id)
    assert (case["status"], case["offers"]) == ("cancelled", [])


def test_nobody_can_be_asked(house: House) -> None:
    """Item 79: zero ERs; the case is unplaced at once and the crew gets numbers to ring."""
    case_id = house.submitted()
    with house.record.write() as db:
        db.execute(update(EmergencyRoom).values(active=False))
    try:
        house.advance(case_id)
        case = house.case(house.crew, case_id)
        assert (case["status"], case["offers"]) == ("unplaced", [])
    finally:
        with house.record.write() as db:
            db.execute(update(EmergencyRoom).values(active=True))
    house.advance(case_id)
    assert len(house.case(house.crew, case_id)["offers"]) in {0, 3}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"to": "nobody", "body": "x"},
        {"to": "ambulance", "body": ""},
        {"to": "ambulance", "body": "x" * 2001},
        {"to": "ambulance", "body": "\0"},
        {"to": "ambulance", "body": None},
        {"to": "ambulance", "body": "x", "sender": "control_room"},
    ],
    ids=repr,
)
def test_a_message_that_is_none(house: House, body: dict[str, Any]) -> None:
    case_id = house.submitted()
    rows = house.rows()
    answer = house.control.post(f"/cases/{case_id}/messages", json=body)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert house.rows() == rows


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "live=perhaps", "limit=" + "9" * 400]
)
def test_a_list_that_is_none(house: House, query: str) -> None:
    answer = house.crew.get(f"/cases?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    assert answer.json["detail"].startswith(query.partition("=")[0])


def test_the_position_alone_may_be_unknown(house: House) -> None:
    """Item 80's clean end: without a position ERs are ranked by the rest, and never by NaN."""
    _, offers = house.offered(position=None)
    assert [offer["eta_min"] for offer in offers] == [None] * 3
    _, offers = house.offered(position={**HERE, "latitude": 89.9})
    assert all(offer["eta_min"] > 0 for offer in offers)

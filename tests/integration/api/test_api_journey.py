"""One case over HTTP, hop by hop, on both databases; the test plays the relay and the workers."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from broker.lifecycle import ReadingStatus, Role
from tests.integration.api.doors import CASE, HERE, MODEL, PASSWORD, VITALS, Caller, House, film


def heard(who: Caller, case_id: str) -> list[str]:
    """Event types about a case in somebody's own log."""
    return [event["type"] for event in log(who) if event["case_id"] == case_id]


def log(who: Caller) -> list[dict[str, Any]]:
    """Somebody's whole log, polled page by page; it must have no gap."""
    events: list[dict[str, Any]] = []
    while page := who.get(f"/inbox?after={len(events)}").json["events"]:
        events += page
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return events


def pixels(png: bytes) -> np.ndarray[Any, Any]:
    with Picture.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.array(picture)


def test_a_film_travels_the_whole_way(house: House) -> None:
    image = film("normal.png")
    answer = house.crew.submit(image=image)
    assert answer.status_code == 201, answer.text
    receipt = answer.json
    case_id = receipt["case_id"]
    assert receipt["image_sha256"] == hashlib.sha256(image).hexdigest()
    assert receipt["image_unusable"] is None
    assert receipt["received_at"].endswith("+00:00")
    assert house.crew.get(f"/cases/{case_id}/receipt").json == receipt

    case = house.case(house.crew, case_id)
    assert (case["status"], case["offers"], case["call_sign"]) == ("received", [], "Test 1")
    assert case["patient"] == CASE["patient"]
    assert {name: case["vitals"][name] for name in VITALS} == VITALS
    assert {r["kind"]: r["status"] for r in case["image"]["readings"]} == {
        "classify": "pending",
        "detect": "pending",
    }
    house.read_films()
    case = house.case(house.crew, case_id)
    assert case["status"] == "offering"
    assert [f["label"] for f in case["image"]["top3"]] == ["Effusion", "Cardiomegaly", "Nodule"]
    assert [b["label"] for b in case["image"]["boxes"]] == ["lung_opacity"]
    assert case["image"]["nothing_above_threshold"] is False
    assert "not for diagnosis" in case["image"]["notice"]
    assert case["triage"]["reasons"]
    assert all(reason["text"]["ko"] for reason in case["triage"]["reasons"])
    first, second, third = case["offers"]
    assert [o["status"] for o in case["offers"]] == ["requested"] * 3
    assert [o["rank"] for o in case["offers"]] == [1, 2, 3]

    # The first ER looks and declines with a reason.
    room = house.er_of(first)
    (listed,) = [o for o in room.get("/offers").json if o["case_id"] == case_id]
    assert "case" not in listed
    shown = room.get(f"/offers/{first['id']}").json
    assert shown["case"]["id"] == case_id
    assert shown["case"]["patient"] is None
    assert (shown["case"]["age_band"], shown["case"]["age_years"]) == ("60-69", None)
    assert shown["case"]["vitals"]["spo2_percent"] == 93
    assert room.post(f"/offers/{first['id']}/received").json["status"] == "received"
    assert room.post(f"/offers/{first['id']}/received").json["status"] == "received"
    answer = house.decide(first, "reject", reason_code="no_specialist", note="in theatre")
    assert answer.status_code == 200, answer.text
    assert (answer.json["status"], answer.json["case"]) == ("rejected", None)

    # The second accepts; the third is withdrawn.
    answer = house.decide(second, "accept")
    assert answer.status_code == 200, answer.text
    assert answer.json["case"]["patient"] == CASE["patient"]
    case = house.case(house.crew, case_id)
    assert case["status"] == "assigned"
    assert [o["status"] for o in case["offers"]][:3] == ["rejected", "accepted", "withdrawn"]
    assert case["offers"][0]["reason_code"] == "no_specialist"
    assert house.decide(third, "accept").json["code"] == "already_taken"
    assert house.er_of(third).get(f"/cases/{case_id}").status_code == 404

    for step, status in (
        ("acknowledge", "acknowledged"),
        ("depart", "en_route"),
        ("arrive", "arrived"),
    ):
        for _ in range(2):  # the same step twice is one step
            answer = house.crew.post(f"/cases/{case_id}/{step}")
            assert (answer.status_code, answer.json["status"]) == (200, status), answer.text
    answer = house.er_of(second).post(f"/cases/{case_id}/close")
    assert (answer.status_code, answer.json["status"]) == (200, "closed"), answer.text
    assert answer.json["ended_at"]
    late = house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "too late"})
    assert (late.status_code, late.json["code"]) == (409, "illegal_transition")

    assert heard(house.crew, case_id) == [
        "case.received",
        "case.offering",
        "offer.received",
        "offer.rejected",
        "case.offering",
        "case.assigned",
        "case.acknowledged",
        "case.en_route",
        "case.arrived",
        "case.closed",
    ]
    assert heard(house.er_of(third), case_id) == ["offer.requested", "offer.withdrawn"]
    assert heard(house.er_of(second), case_id)[:3] == [
        "offer.requested",
        "offer.accepted",
        "case.acknowledged",
    ]


def test_the_crew_closes_and_nobody_closes_early(house: House) -> None:
    case_id, offers = house.assigned()
    early = house.crew.post(f"/cases/{case_id}/close")
    assert (early.status_code, early.json["code"]) == (409, "illegal_transition")
    assert (early.json["status"], early.json["state"]) == (409, "assigned")
    assert house.er_of(offers[1]).post(f"/cases/{case_id}/close").status_code == 404
    assert house.control.post(f"/cases/{case_id}/close").status_code == 403
    house.crew.post(f"/cases/{case_id}/arrive")
    for _ in range(2):
        assert house.crew.post(f"/cases/{case_id}/close").json["status"] == "closed"


def test_what_an_er_sees_of_a_film_is_re_encoded(house: House) -> None:
    upload = film("pneumothorax.dcm")
    case_id, offers = house.offered(upload)
    room = house.er_of(offers[0])
    plain = room.get(f"/cases/{case_id}/image")
    assert plain.status_code == 200, plain.text
    assert plain.headers["Content-Type"] == "image/png"
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    assert plain.headers["Content-Disposition"] == f'inline; filename="{case_id}.png"'
    assert b"DICM" not in plain.data
    gray = pixels(plain.data)
    drawn = pixels(room.get(f"/cases/{case_id}/image?boxes=1").data)
    height, width = gray.shape
    assert drawn.shape == (height + width // 10, width, 3)  # a foot that says "not for diagnosis"
    assert drawn[height:].max() > 200
    drawn = drawn[:height]
    changed = (drawn != gray[..., None]).any(axis=2)
    image = house.case(house.crew, case_id)["image"]
    scale = gray.shape[1] / image["width_px"]
    assert changed[round(60 * scale) : round(220 * scale), round(40 * scale)].all()  # left edge
    assert not changed[:, round(230 * scale) :].any()
    small = pixels(room.get(f"/cases/{case_id}/image?width_px=100&boxes=1").data)
    assert max(small.shape) == 100
    assert room.get(f"/cases/{case_id}/image?width_px=10").status_code == 422
    assert room.get(f"/cases/{case_id}/image?boxes=perhaps").status_code == 422


def test_a_header_tells_the_holder_more_than_the_asked(house: House) -> None:
    case_id, offers = house.offered(film("pneumothorax.dcm"))
    whole = house.case(house.crew, case_id)["image"]["facts"]
    shown = house.er_of(offers[0]).get(f"/offers/{offers[0]['id']}").json["case"]["image"]["facts"]
    assert whole["modality"] == shown["modality"]
    assert "patient_age_years" in whole
    assert "patient_age_years" not in shown
    assert "study_time" not in shown


def test_scores_come_with_their_credit_rules_and_refusal(house: House) -> None:
    case_id, offers = house.offered(age_years=30, vitals={**VITALS, "spo2_percent": 91})
    shown = house.case(house.er_of(offers[0]), case_id)
    assert shown["pregnant"] is None
    judged = shown["triage"]
    assert "Royal College of Physicians" in judged["credit"]
    assert judged["rules"]["reviewed_by"] == ""
    assert judged["news2"]["total"] == 7
    assert judged["qsofa"] == {
        "total": 1, "known_total": 1, "upper_total": 1, "missing": [], "high": False
    }  # fmt: skip
    assert judged["crb65"]["total"] == 0
    assert judged["needs"] == ["general_icu"]
    assert judged["need_reasons"][0]["source"].startswith("RCP 2017")
    patched = house.crew("PATCH", f"/cases/{case_id}", json={"pregnant": True})
    assert patched.status_code == 200
    shown = house.case(house.er_of(offers[0]), case_id)
    assert shown["pregnant"] is True
    assert shown["triage"]["scores_refused"] == "news2_not_in_pregnancy"
    assert shown["triage"]["news2"] is None


def test_new_vitals_are_triaged_again(house: House) -> None:
    case_id, offers = house.offered(crew_pre_ktas=4)
    before = house.case(house.crew, case_id)
    worse = {**VITALS, "systolic_bp_mmhg": 70, "diastolic_bp_mmhg": 40, "consciousness": "U"}
    answer = house.crew(
        "PATCH", f"/cases/{case_id}", json={"vitals": worse, "complaint": "now unresponsive"}
    )
    assert answer.status_code == 200, answer.text
    after = answer.json
    assert after["acuity"] < before["acuity"]
    assert after["version"] > before["version"]
    assert after["vitals"]["consciousness"] == "U"
    assert after["complaint"] == "now unresponsive"
    assert [o["id"] for o in after["offers"]] == [o["id"] for o in offers]
    assert heard(house.er_of(offers[0]), case_id) == ["offer.requested", "offer.amended"]
    moved = house.crew(
        "PATCH", f"/cases/{case_id}", json={"position": {"latitude": 37.6, "longitude": 127.1}}
    )
    assert (moved.json["latitude"], moved.json["longitude"]) == (37.6, 127.1)
    assert moved.json["vitals"]["consciousness"] == "U"


def test_a_film_comes_later_and_is_replaced(house: House) -> None:
    case_id, _ = house.offered()
    assert house.crew.get(f"/cases/{case_id}/image").status_code == 404
    image = film("pneumonia.jpg")
    form = {"image": (io.BytesIO(image), "film.jpg")}
    answer = house.crew("PUT", f"/cases/{case_id}/image", data=form)
    assert answer.status_code == 200, answer.text
    assert answer.json["image_sha256"] == hashlib.sha256(image).hexdigest()
    form = {"image": (io.BytesIO(image), "again.jpg")}
    assert house.crew("PUT", f"/cases/{case_id}/image", data=form).json == answer.json
    house.read_films()
    case = house.case(house.crew, case_id)
    assert case["image"]["top3"][0]["label"] == "Effusion"
    assert case["partial"] is False
    form = {"image": (io.BytesIO(film("normal.png")), "new.png")}
    answer = house.crew("PUT", f"/cases/{case_id}/image", data=form)
    case = house.case(house.crew, case_id)
    assert case["image"]["sha256"] == answer.json["image_sha256"]
    assert [r["status"] for r in case["image"]["readings"]] == ["pending", "pending"]
    house.read_films()


def test_a_film_that_opens_but_is_no_chest_goes_on_unread(house: House) -> None:
    black = io.BytesIO()
    Picture.new("L", (512, 512), 3).save(black, "PNG")
    answer = house.crew.submit(image=black.getvalue())
    assert (answer.status_code, answer.json["image_unusable"]) == (201, "too_dark")
    case_id = answer.json["case_id"]
    house.advance(case_id)
    case = house.case(house.crew, case_id)
    assert (case["status"], case["image_unusable"]) == ("offering", "too_dark")
    assert case["image"]["readings"] == []


def test_a_later_yes_is_taken_or_passed(house: House) -> None:
    case_id, offers = house.offered()
    answer = house.decide(offers[0], "accept_with_delay", delay_min=15)
    assert (answer.status_code, answer.json["delay_min"]) == (200, 15)
    answer = house.decide(offers[1], "accept_with_delay", delay_min=5)
    passed = house.crew.post(f"/offers/{offers[0]['id']}/pass", json={"note": "too long"})
    assert (passed.status_code, passed.json["status"]) == (200, "withdrawn")
    taken = house.crew.post(f"/offers/{offers[1]['id']}/take")
    assert (taken.status_code, taken.json["status"]) == (200, "accepted")
    assert house.case(house.crew, case_id)["status"] == "acknowledged"
    # … and an ER that holds it may give it back with a reason: others are asked at once.
    answer = house.er_of(offers[1]).post(
        f"/offers/{offers[1]['id']}/withdraw", json={"reason_code": "staff_occupied"}
    )
    assert (answer.status_code, answer.json["status"]) == (200, "withdrawn"), answer.text
    case = house.case(house.crew, case_id)
    assert case["status"] == "offering"
    assert {o["round"] for o in case["offers"]} == {1, 2}


def test_messages_go_from_sent_to_seen(house: House) -> None:
    case_id, offers = house.offered()
    to_er = {"to": "emergency_room", "body": "on our way, 리어 게이트 please"}
    nobody_yet = house.crew.post(f"/cases/{case_id}/messages", json=to_er)
    assert (nobody_yet.status_code, nobody_yet.json["code"]) == (409, "conflict")
    assert house.decide(offers[0], "accept").status_code == 200
    sent = house.crew.post(f"/cases/{case_id}/messages", json=to_er)
    assert (sent.status_code, sent.json["status"]) == (201, "sent"), sent.text
    message = sent.json
    holder = house.er_of(offers[0])
    assert house.crew.post(f"/messages/{message['id']}/seen").status_code == 404  # not to us
    (got,) = holder.get(f"/cases/{case_id}/messages").json
    assert (got["status"], got["body"]) == ("delivered", to_er["body"])
    (mine,) = house.crew.get(f"/cases/{case_id}/messages").json
    assert mine["status"] == "delivered"
    for _ in range(2):
        seen = holder.post(f"/messages/{message['id']}/seen")
        assert (seen.status_code, seen.json["status"]) == (200, "seen")
    assert heard(house.crew, case_id)[-2:] == ["message.delivered", "message.seen"]
    assert "message.sent" in heard(holder, case_id)
    back = holder.post(f"/cases/{case_id}/messages", json={"to": "ambulance", "body": "ready"})
    assert back.status_code == 201
    assert [m["body"] for m in house.crew.get(f"/cases/{case_id}/messages").json] == [
        to_er["body"],
        "ready",
    ]
    assert house.control.get(f"/cases/{case_id}/messages").json == []


def test_the_inbox_is_gapless_and_a_foreign_number_does_not_wait_for_ever(house: House) -> None:
    case_id, _ = house.assigned()
    everything = log(house.crew)
    assert case_id in {event["case_id"] for event in everything}
    last = everything[-1]["seq"]
    assert house.crew.get(f"/inbox?after={last}").json == {"events": [], "last_seq": last}
    assert house.crew.get(f"/inbox?after={last + 10**6}").json["last_seq"] == last
    for bad in ("-1", "x", "1.5", str(2**70)):
        assert house.crew.get(f"/inbox?after={bad}").status_code == 422
    redirect = house.crew.get("/events?after=7&x=%ff")
    assert redirect.status_code == 307
    assert redirect.headers["Location"] == (f"{house.settings.stream_url}/api/v1/events?after=7")


def test_diversion_stops_new_offers(house: House) -> None:
    room = house.rooms[0]
    answer = house.er(room).post(
        f"/emergency-rooms/{room}/diversion", json={"on": True, "minutes": 30, "reason": "full"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json["diversion_reason"] == "full"
    try:
        _, offers = house.offered()
        assert str(room) not in {o["emergency_room"]["id"] for o in offers}
        listed = {r["id"]: r for r in house.crew.get("/emergency-rooms").json}
        assert listed[str(room)]["diversion_until_at"]
    finally:
        answer = house.control.post(f"/emergency-rooms/{room}/diversion", json={"on": False})
    assert answer.json["diversion_until_at"] is None
    _, offers = house.offered()
    assert str(room) in {o["emergency_room"]["id"] for o in offers}
    for body in ({"on": False, "minutes": 5}, {"on": "true"}, {}, {"on": True, "minutes": 0}):
        refused = house.er(room).post(f"/emergency-rooms/{room}/diversion", json=body)
        assert refused.status_code == 422, body


def test_operations_see_who_waits_and_nothing_clinical(house: House) -> None:
    case_id = house.submitted(film())
    queues = {q["kind"]: q for q in house.operations.get("/operations/queues").json["queues"]}
    assert queues["classify"]["pending"] >= 1
    assert queues["classify"]["oldest_pending_s"] >= 0
    (mine,) = [c for c in house.operations.get("/operations/cases").json if c["id"] == case_id]
    assert (mine["status"], mine["call_sign"]) == ("received", "Test 1")
    assert not set(mine) & {"complaint", "patient", "vitals", "image", "triage", "age_years"}
    house.read_films()
    answer = house.operations.get("/operations/queues").json
    assert answer["redis_answers"] is False  # there is none in this test, and nobody minds
    assert {q["kind"]: q["pending"] for q in answer["queues"]} == {"classify": 0, "detect": 0}
    assert all(q["wait_p95_s"] >= 0 for q in answer["queues"])
    metrics = house.operations.get("/metrics")
    assert metrics.headers["Content-Type"].startswith("text/plain")
    assert 'goldentime_queue_depth{queue="classify"} 0.0' in metrics.text
    assert 'goldentime_cases{status="offering"}' in metrics.text
    assert "goldentime_redis_up 0.0" in metrics.text
    assert "Canary" not in metrics.text + house.operations.get("/operations/cases").text


def test_a_dead_letter_is_put_back(house: House) -> None:
    from dispatch import reading

    case_id = house.submitted(film())
    for kind in house.readings(case_id):
        for _ in range(house.settings.reading_attempts):
            claim = house.record.again(
                lambda s, kind=kind: reading.claim(s, house.settings, kind, "a test")
            )
            assert claim is not None
            house.record.again(
                lambda s, claim=claim: reading.failed(
                    s, house.settings, claim, "broken", "it broke"
                )
            )
    case = house.case(house.crew, case_id)
    assert (case["status"], case["partial"], case["needs_review"]) == ("offering", True, True)
    (mine,) = [c for c in house.operations.get("/operations/cases").json if c["id"] == case_id]
    assert mine["dead_readings"] == 2
    answer = house.operations.post(f"/operations/cases/{case_id}/requeue")
    assert answer.status_code == 200
    assert len(answer.json["readings"]) == 2
    assert {r.status for r in house.readings(case_id).values()} == {ReadingStatus.PENDING}
    assert house.operations.post(f"/operations/cases/{case_id}/requeue").json["readings"] == []
    house.read_films()
    assert house.case(house.crew, case_id)["partial"] is False


def test_lists_are_short_and_live(house: House) -> None:
    case_id, offers = house.offered()
    cancelled = house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "walked away"})
    assert cancelled.json["status"] == "cancelled"
    assert case_id not in {c["id"] for c in house.crew.get("/cases?limit=200").json}
    assert case_id in {c["id"] for c in house.crew.get("/cases?live=false&limit=200").json}
    assert len(house.crew.get("/cases?live=0&limit=1").json) == 1
    room = house.er_of(offers[0])
    assert offers[0]["id"] not in {o["id"] for o in room.get("/offers?limit=200").json}
    assert offers[0]["id"] in {o["id"] for o in room.get("/offers?open=0&limit=200").json}
    assert heard(room, case_id)[-1] == "offer.withdrawn"


def test_a_person_signs_in_and_does_the_same(house: House) -> None:
    browser = house.browser()
    name = house.person(Role.CREW, "Test 1")
    signed_in = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    assert (signed_in.status_code, signed_in.json["role"]) == (201, "crew"), signed_in.text
    csrf = {"X-CSRFToken": signed_in.json["csrf_token"]}
    receipt = browser.post(
        "/api/v1/cases", json={"position": HERE}, headers={"Idempotency-Key": name * 2, **csrf}
    )
    assert receipt.status_code == 201, receipt.text
    who = browser.get("/api/v1/session")
    assert who.json["display_name"] == f"Person {name}"
    assert house.crew.get("/session").json["csrf_token"] == ""  # a device needs none
    assert browser.delete("/api/v1/session", headers=csrf).status_code == 204
    assert browser.get("/api/v1/session").status_code == 401


@pytest.mark.parametrize("path", ["/cases", "/offers", "/inbox", "/session"])
def test_answers_are_not_kept(house: House, path: str) -> None:
    answer = house.crew.get(path)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_scores_come_with_what_they_mean(house: House) -> None:
    """What the model said of its scores when it read the film stands beside each of them."""
    points = {"Effusion": {"threshold": 0.5, "sensitivity": 0.45, "specificity": 0.9}}
    meaning = {
        **MODEL,
        "score_kind": "probability",
        "operating_points": points,
        "prediction_set": {"coverage": 0.9, "labels": ["Effusion", "Cardiomegaly"]},
    }
    case_id = house.crew.submit(image=film()).json["case_id"]
    house.read_films(classifier=meaning)
    case = house.case(house.crew, case_id)
    image = case["image"]
    assert image["score_kind"] == "probability"
    assert image["prediction_set"] == meaning["prediction_set"]
    effusion, cardiomegaly, _ = image["top3"]
    assert {name: effusion[name] for name in points["Effusion"]} == points["Effusion"]
    assert (cardiomegaly["threshold"], cardiomegaly["sensitivity"]) == (None, None)
    assert [r["model"] for r in image["readings"]] == [MODEL, MODEL]
    room = house.er_of(case["offers"][0])
    shown = room.get(f"/offers/{case['offers'][0]['id']}").json["case"]["image"]
    assert {name: shown[name] for name in ("score_kind", "prediction_set", "top3")} == {
        name: image[name] for name in ("score_kind", "prediction_set", "top3")
    }


def test_nothing_above_its_threshold_is_a_result_and_not_known_is_none(house: House) -> None:
    case_id = house.crew.submit(image=film()).json["case_id"]
    image = house.case(house.crew, case_id)["image"]
    assert image["nothing_above_threshold"] is None
    house.read_films({"Effusion": 0.31, "Mass": 0.2, "Nodule": 0.1, "Hernia": 0.01})
    image = house.case(house.crew, case_id)["image"]
    assert image["nothing_above_threshold"] is True
    assert len(image["top3"]) == 3
    # a reading of a version that kept no meaning shows scores, and no set
    assert (image["score_kind"], image["prediction_set"]) == (None, None)

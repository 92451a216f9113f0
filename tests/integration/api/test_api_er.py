"""What an ER says of itself and of a case: what a decision rests on, beds, outcome."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.doors import VITALS, House


def test_a_stale_page_cannot_decide(house: House) -> None:
    case_id, offers = house.offered()
    er, path = house.er_of(offers[0]), f"/offers/{offers[0]['id']}"
    shown = er.get(path).json["basis"]
    # Another ER's look is no news to a decision.
    house.er_of(offers[1]).post(f"/offers/{offers[1]['id']}/received")
    assert er.get(path).json["basis"] == shown
    worse = {**VITALS, "spo2_percent": 81}
    assert house.crew("PATCH", f"/cases/{case_id}", json={"vitals": worse}).status_code == 200
    answer = house.decide(offers[0], "accept", basis=shown)
    assert (answer.status_code, answer.json["code"]) == (409, "stale_page")
    assert house.case(house.crew, case_id)["status"] == "offering"
    now = er.get(path).json["basis"]
    assert now != shown
    for _ in range(2):  # and its repetition after a lost reply
        assert house.decide(offers[0], "accept", basis=now).status_code == 200
    # A loser hears that it lost, not that its page was old.
    late = house.decide(offers[1], "accept", basis=shown)
    assert late.json["code"] == "already_taken"
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_an_er_says_how_many_beds_it_has(house: House) -> None:
    room = house.rooms[0]
    er, other = house.er(room), house.er(house.rooms[1])
    path = f"/emergency-rooms/{room}/beds"
    assert er.post(path, json={"available": 3}).json["beds_available"] == 3
    listed = {r["id"]: r for r in er.get("/emergency-rooms").json}
    assert listed[str(room)]["beds_available"] == 3
    assert listed[str(room)]["beds_at"]
    for who in (er, house.control):
        assert who.get("/inbox").json["events"][-1]["type"] == "beds"
    assert other.post(path, json={"available": 9}).status_code == 404
    assert house.control.post(path, json={"available": -2}).json["beds_available"] == -2
    for bad in ({}, {"available": "3"}, {"available": 501}, {"available": 3.5}, {"x": 1}):
        assert er.post(path, json=bad).status_code == 422, bad


def test_the_crew_learns_what_became_of_the_patient(house: House) -> None:
    case_id, offers = house.assigned()
    er, path = house.er_of(offers[0]), f"/cases/{case_id}/outcome"
    told: dict[str, Any] = {"diagnosis": "Pneumonia, left lower lobe", "disposition": "ward"}
    assert er("PUT", path, json=told).status_code == 409  # still on the way
    for step in ("acknowledge", "depart", "arrive", "close"):
        assert house.crew.post(f"/cases/{case_id}/{step}").status_code == 200
    before = house.crew.get("/inbox").json["last_seq"]
    answer = er("PUT", path, json=told)
    assert answer.status_code == 200, answer.text
    assert er("PUT", path, json=told).json["version"] == answer.json["version"]  # no news
    shown = house.case(house.crew, case_id)["outcome"]
    assert {key: shown[key] for key in told} == told
    events = house.crew.get(f"/inbox?after={before}").json["events"]
    assert [e["type"] for e in events] == ["case.outcome"]
    assert house.er_of(offers[1])("PUT", path, json=told).status_code == 404
    assert house.crew("PUT", path, json=told).status_code == 403
    for bad in ({"disposition": "ward"}, {**told, "disposition": "x"}, {**told, "diagnosis": ""}):
        assert er("PUT", path, json=bad).status_code == 422


@pytest.mark.parametrize("more", [{}, {"spo2_percent": 88}])
def test_vital_signs_have_a_trend(house: House, more: dict[str, Any]) -> None:
    case_id, offers = house.offered()
    if more:
        assert house.crew("PATCH", f"/cases/{case_id}", json={"vitals": more}).status_code == 200
    trend = house.case(house.er_of(offers[0]), case_id)["vitals_trend"]
    assert [entry["spo2_percent"] for entry in trend] == [93, *more.values()]
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})

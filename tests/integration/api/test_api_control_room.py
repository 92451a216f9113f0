"""The control room's door: who may, what is refused, and that it is said to ER and crew."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.integration.api.doors import House

WHY = "agreed by telephone"


def other_room(house: House, offers: list[dict[str, Any]]) -> str:
    asked = {offer["emergency_room"]["id"] for offer in offers}
    return next(str(room) for room in house.rooms if str(room) not in asked)


def test_only_the_control_room_chooses(house: House) -> None:
    case_id, offers = house.offered()
    room = other_room(house, offers)
    path = f"/control-room/cases/{case_id}"
    said = {"kind": "veto", "reason": WHY}
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "/control-room/cases", {}),
        ("GET", f"{path}/ranking", {}),
        ("PUT", f"{path}/directives/{room}", {"json": said}),
        ("DELETE", f"{path}/directives/{room}", {}),
        ("POST", f"{path}/proceed", {}),
        ("GET", "/control-room/log", {}),
        ("POST", f"{path}/alarms/unplaced/take", {}),
        ("POST", f"{path}/calls", {"json": {"to": "ER", "said": WHY}}),
        ("POST", f"{path}/assign", {"json": {"emergency_room_id": room, "reason": WHY}}),
    ]
    others = (house.crew, house.er(house.rooms[0]), house.operations, house.admin)
    for method, address, more in calls:
        for who in others:
            assert who(method, address, **more).status_code == 403, address
        assert house.nobody(method, address, **more).status_code == 401, address
    statuses = [house.control(*call[:2], **call[2]).status_code for call in calls]
    assert statuses == [200, 200, 200, 204, 409, 200, 200, 201, 200]
    for who in (house.control, house.operations, house.admin):
        assert who.get("/control-room/shortages").status_code == 200
    for who in (house.crew, house.er(house.rooms[0])):
        assert who.get("/control-room/shortages").status_code == 403


def test_an_assignment_is_shown_to_er_and_crew(house: House) -> None:
    case_id, offers = house.offered()
    room = other_room(house, offers)
    path = f"/control-room/cases/{case_id}"
    answer = house.control.post(f"{path}/assign", json={"emergency_room_id": room, "reason": WHY})
    assert answer.status_code == 200, answer.text
    assert (answer.json["status"], answer.json["assigned_reason"]) == ("accepted", WHY)
    (held,) = [o for o in house.er(room).get("/offers").json if o["case_id"] == case_id]
    assert held["assigned_reason"] == WHY
    assert house.case(house.er(room), case_id)["patient"] is not None, "it holds the patient"
    assert house.case(house.crew, case_id)["status"] == "assigned"
    again = house.control.post(
        f"{path}/assign",
        json={"emergency_room_id": offers[0]["emergency_room"]["id"], "reason": WHY},
    )
    assert (again.status_code, again.json["code"]) == (409, "already_taken")
    late = house.decide(offers[0], "accept")
    assert (late.status_code, late.json["code"]) == (409, "already_taken")
    assert house.control.post(f"{path}/proceed").status_code == 409


def test_directives_are_on_the_case_for_the_control_room_only(house: House) -> None:
    case_id, offers = house.offered()
    room = other_room(house, offers)
    path = f"/control-room/cases/{case_id}/directives/{room}"
    assert house.control("PUT", path, json={"kind": "pin", "reason": WHY}).status_code == 200
    clash = house.control("PUT", path, json={"kind": "veto", "reason": WHY})
    assert (clash.status_code, clash.json["code"]) == (409, "directive_stands")
    assert WHY in clash.json["detail"]
    (shown,) = house.case(house.control, case_id)["directives"]
    assert (shown["kind"], shown["reason"], shown["emergency_room_id"]) == ("pin", WHY, room)
    for who in (house.crew, house.er_of(offers[0])):
        assert WHY not in who.get(f"/cases/{case_id}").text
    (row,) = [
        row
        for row in house.control.get(f"/control-room/cases/{case_id}/ranking").json
        if row["emergency_room"]["id"] == room
    ]
    assert row["directive"]["kind"] == "pin"
    assert row["reasons"][0]["ko"]
    assert house.control("DELETE", path).status_code == 204
    assert house.case(house.control, case_id)["directives"] == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        ({"kind": "pin"}, "reason"),
        ({"kind": "maybe", "reason": WHY}, "kind"),
        ({"kind": "pin", "reason": "x"}, "reason"),
        ({"kind": "pin", "reason": "a\u0000b"}, "reason"),
        ({"kind": "pin", "reason": "x" * 501}, "reason"),
        ({"kind": "pin", "reason": WHY, "more": 1}, "more"),
    ],
)
def test_bad_directives(house: House, body: dict[str, Any], field: str) -> None:
    case_id = house.submitted()
    path = f"/control-room/cases/{case_id}/directives/{house.rooms[0]}"
    before = house.rows()
    answer = house.control("PUT", path, json=body)
    assert answer.status_code == 422
    assert field in answer.json["errors"]
    assert house.rows() == before


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"emergency_room_id": "x", "reason": WHY},
        {"emergency_room_id": None, "reason": WHY},
        {"emergency_room_id": str(uuid4())},
        {"emergency_room_id": str(uuid4()), "reason": None},
    ],
)
def test_bad_assignments(house: House, body: dict[str, Any]) -> None:
    case_id = house.submitted()
    before = house.rows()
    path = f"/control-room/cases/{case_id}/assign"
    assert house.control.post(path, json=body).status_code == 422
    unknown = {"emergency_room_id": str(uuid4()), "reason": WHY}
    assert house.control.post(path, json=unknown).status_code == 404
    assert house.rows() == before


def test_the_board_shows_first_who_needs_somebody(house: House) -> None:
    mild = house.submitted(crew_pre_ktas=5, vitals=None)
    house.advance(mild)
    urgent, _ = house.offered(crew_pre_ktas=1)
    board = house.control.get("/control-room/cases").json
    order = [case["id"] for case in board]
    assert order.index(urgent) < order.index(mild)
    assert house.control.get("/control-room/cases?limit=1").json[0]["id"] == order[0]
    assert house.control.get("/control-room/cases?limit=0").status_code == 422


def test_shortages_name_no_er(house: House) -> None:
    _, offers = house.offered()
    house.decide(offers[0], "reject", reason_code="mass_casualty")
    answer = house.control.get("/control-room/shortages?hours=2")
    assert answer.json["by_reason"]["mass_casualty"] >= 1
    assert len(answer.json["hours"]) == 2
    for room in house.rooms:
        assert str(room) not in answer.text
    assert "Test Hospital" not in answer.text
    for wrong in ("0", "745", "x", "NaN"):
        answer = house.control.get(f"/control-room/shortages?hours={wrong}")
        assert answer.status_code == 422


def logged(house: House, case_id: Any) -> list[dict[str, Any]]:
    """What the control room did by hand for a case."""
    found = house.control.get("/control-room/log").json
    return [entry for entry in found if entry["case_id"] == str(case_id)]


def test_an_alarm_is_taken_once_and_calls_anew_when_the_case_lost_its_place(house: House) -> None:
    case_id, offers = house.offered()
    path = f"/control-room/cases/{case_id}"
    first = house.control.post(f"{path}/alarms/unplaced/take")
    assert first.status_code == 200, first.text
    assert (first.json["alarm"], first.json["counts"]) == ("unplaced", True)
    assert first.json["by_name"]
    assert house.control.post(f"{path}/alarms/unplaced/take").json["at"] == first.json["at"]
    assert house.control.post(f"{path}/alarms/nonsense/take").status_code == 404
    assert (
        house.control.post(f"/control-room/cases/{uuid4()}/alarms/unplaced/take").status_code == 404
    )
    told = house.control.get("/inbox").json["events"][-1]
    assert (told["type"], told["case_id"]) == ("case.alarm_taken", str(case_id))

    room = offers[0]["emergency_room"]["id"]
    said = {"emergency_room_id": room, "reason": WHY}
    assert house.control.post(f"{path}/assign", json=said).status_code == 200
    passed = house.crew.post(f"/offers/{offers[0]['id']}/pass", json={})
    assert passed.status_code == 200, passed.text
    (entry,) = logged(house, case_id)
    assert entry["counts"] is False, "a new search: the alarm rings again"


def test_a_call_is_written_down_with_who_and_when(house: House) -> None:
    case_id, _ = house.offered()
    path = f"/control-room/cases/{case_id}/calls"
    for wrong in ({}, {"to": "ER"}, {"to": "ER", "said": ""}, {"to": "ER\u0007", "said": "yes"}):
        assert house.control.post(path, json=wrong).status_code == 422, wrong
    assert logged(house, case_id) == []
    answer = house.control.post(path, json={"to": "Larch Ferry", "said": "no bed before 14:00"})
    assert answer.status_code == 201, answer.text
    (entry,) = logged(house, case_id)
    assert (entry["did"], entry["to"], entry["said"]) == (
        "case.telephoned",
        "Larch Ferry",
        "no bed before 14:00",
    )
    found = house.operations.get(f"/operations/cases/{case_id}/timeline")
    assert "case.telephoned" in [e["what"] for e in found.json["entries"]]
    assert "no bed" not in found.text, "operations see that there was a call, not its words"

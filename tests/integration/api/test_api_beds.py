"""The board of free beds, and what an administrator sets by hand."""

from __future__ import annotations

from datetime import timedelta

from broker import database
from broker.tables import EmergencyRoom
from tests.integration.api.doors import House


def test_the_board_shows_each_figure_with_its_age(house: House) -> None:
    own = house.rooms[0]
    house.er(own).post(f"/emergency-rooms/{own}/beds", json={"available": -12})
    with house.record.write() as session:
        late = session.get_one(EmergencyRoom, house.rooms[1])
        late.beds_available = 5
        late.beds_at = database.now(session) - timedelta(minutes=16)
        ahead = session.get_one(EmergencyRoom, house.rooms[2])
        ahead.beds_available = 5
        ahead.beds_at = database.now(session) + timedelta(hours=1)
    board = house.control.get("/beds").json
    assert board["feed"] == {
        "on": False, "age_s": None, "silent": False, "error": None, "report": None
    }  # fmt: skip
    shown = {room["id"]: room for room in board["rooms"]}
    first = shown[str(own)]
    assert (first["beds_available"], first["beds_source"]) == (-12, "emergency_room")
    assert not first["late"]
    assert shown[str(house.rooms[1])]["late"]
    assert not shown[str(house.rooms[1])]["future"]
    assert shown[str(house.rooms[2])]["future"]
    assert shown[str(house.rooms[3])]["late"], "never given"


def test_an_administrator_sets_beds_and_capabilities(house: House) -> None:
    room = house.rooms[0]
    path = f"/emergency-rooms/{room}/capabilities"
    answer = house.admin("PUT", path, json={"capabilities": ["ventilator", "ct", "ct"]})
    assert answer.status_code == 200, answer.text
    assert answer.json["capabilities"] == ["ct", "ventilator"]
    assert answer.json["offered_now"] == ["ct", "ventilator"]
    assert house.control.get("/inbox").json["events"][-1]["type"] == "beds.changed"
    for bad in ({}, {"capabilities": ["mri"]}, {"capabilities": "ct"}, {"capabilities": None}):
        assert house.admin("PUT", path, json=bad).status_code == 422, bad
    beds = house.admin.post(f"/emergency-rooms/{room}/beds", json={"available": 2})
    assert beds.json["beds_available"] == 2
    house.admin("PUT", path, json={"capabilities": []})

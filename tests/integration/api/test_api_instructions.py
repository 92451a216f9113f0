"""What the ER that holds a case asks of its crew before arrival."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.doors import House

ASKED: dict[str, Any] = {"items": ["resuscitation_bay", "iv_access"], "note": "bay 2, ask for Kim"}


def test_the_holder_instructs_the_crew_reads_and_the_holder_is_told(house: House) -> None:
    case_id, offers = house.assigned()
    holder = house.er_of(offers[0])
    before = house.crew.get("/inbox").json["last_seq"]
    path = f"/cases/{case_id}/instructions"
    answer = holder("PUT", path, json=ASKED)
    assert answer.status_code == 200, answer.text
    assert answer.json["instructions"]["items"] == ASKED["items"]
    assert holder("PUT", path, json=ASKED).json["version"] == answer.json["version"]  # no news
    events = house.crew.get(f"/inbox?after={before}").json["events"]
    assert [e["type"] for e in events].count("case.instructions") == 1
    shown = house.case(house.crew, case_id)["instructions"]
    assert (shown["items"], shown["note"], shown["seen_at"]) == (*ASKED.values(), None)

    for _ in range(2):
        assert house.crew.post(f"{path}/seen").status_code == 200
    assert house.case(holder, case_id)["instructions"]["seen_at"]
    told = [e["type"] for e in holder.get("/inbox").json["events"]]
    assert told.count("case.instructions_seen") == 1

    changed = holder("PUT", path, json={"items": ["lie_flat"]}).json["instructions"]
    assert (changed["items"], changed["seen_at"]) == (["lie_flat"], None)

    # Given back: what the old ER asked for counts no more, also after another one accepts.
    answer = holder.post(f"/offers/{offers[0]['id']}/withdraw", json={"reason_code": "other"})
    assert answer.status_code == 200, answer.text
    assert house.case(house.crew, case_id)["instructions"] is None
    assert house.crew.post(f"{path}/seen").status_code == 409
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_only_the_holder_may_instruct(house: House) -> None:
    case_id, offers = house.offered()
    path = f"/cases/{case_id}/instructions"
    assert house.er_of(offers[1])("PUT", path, json=ASKED).status_code == 409  # asked, not holding
    assert house.decide(offers[0], "accept").status_code == 200
    assert house.er_of(offers[1])("PUT", path, json=ASKED).status_code == 404  # withdrawn
    assert house.crew("PUT", path, json=ASKED).status_code == 403
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})
    assert house.er_of(offers[0])("PUT", path, json=ASKED).status_code in {404, 409}


@pytest.mark.parametrize(
    "bad",
    [{"items": ["sing_a_song"]}, {"note": "x" * 1001}, {"items": ["lie_flat"] * 13}, {"x": 1}],
)
def test_bad_instructions(house: House, bad: dict[str, Any]) -> None:
    case_id, offers = house.assigned()
    answer = house.er_of(offers[0])("PUT", f"/cases/{case_id}/instructions", json=bad)
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")
    house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})


def test_past_cases_come_page_by_page(house: House) -> None:
    mine = []
    for _ in range(3):
        case_id = house.submitted()
        house.crew.post(f"/cases/{case_id}/cancel", json={"reason": "the test ends"})
        mine.append(case_id)
    found: list[str] = []
    query: dict[str, Any] = {"live": "false", "limit": 2}
    while page := house.crew.get("/cases", query_string=query).json:
        found += [case["id"] for case in page]
        query["before"] = page[-1]["received_at"]
    assert len(found) == len(set(found))
    assert set(mine) <= set(found)
    assert found.index(mine[2]) < found.index(mine[1]) < found.index(mine[0])

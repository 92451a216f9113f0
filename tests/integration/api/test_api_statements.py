"""A list asks the database as often for many rows as for one.

A page of twenty-five cases that asks thirty times for each of them is slow on the first day, and
slower where the database is a network away. Counted at the doors, so that nothing of a request is
left out: the same look at a house with one case of each kind, and with three.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from broker.tables import RuntimeSetting
from dispatch.access import SYSTEM
from tests.integration.api.doors import Caller, House
from tests.integration.city import City
from tests.integration.statements import sent

LISTS: list[tuple[str, str, dict[str, Any]]] = [
    ("control", "/control-room/cases", {}),
    ("control", "/control-room/log", {}),
    ("control", "/cases", {}),
    ("control", "/offers", {}),
    ("control", "/patients", {}),
    ("control", "/patients", {"live": True}),
    ("control", "/beds", {}),
    ("crew", "/cases", {"live": False}),
    ("crew", "/offers", {}),
    ("crew", "/patients", {}),
    ("er", "/cases", {}),
    ("er", "/offers", {"cases": True}),
    ("er", "/offers", {"open": False, "cases": True}),
    ("er", "/patients", {}),
    ("operations", "/operations/cases", {}),
    ("operations", "/operations/board", {}),
    ("operations", "/operations/behind", {"stage": "assigned"}),
    ("operations", "/operations/alarms", {}),
    ("operations", "/operations/dead-letters", {}),
    ("admin", "/admin/audit", {}),
    ("admin", "/admin/accounts", {}),
    ("admin", "/admin/devices", {}),
]
GROW = {"/control-room/cases", "/control-room/log", "/cases", "/offers", "/patients"}
ONE_CASE_MOST = 22
"""With everything that can be said of a case; it was 40 and more."""


def test_a_longer_list_takes_no_more_statements(house: House):
    first = one_of_each(house)
    er = house.er_of(first["held_by"])
    rows_before, before = look(house, er)
    for _ in range(2):
        one_of_each(house)
    rows_after, after = look(house, er)
    short = {name for name in rows_before if name[1] in GROW} - {
        name for name, rows in rows_after.items() if rows > rows_before[name]
    }
    assert not short, "these lists did not grow: their counts say nothing"
    counts = {name: (len(before[name]), len(after[name])) for name in after}
    assert {name: pair for name, pair in counts.items() if pair[0] != pair[1]} == {}


def test_a_longer_story_takes_no_more_statements(house: House):
    """A patient alone, and after two others with their cases were merged into it."""
    patient, *parts = (
        house.case(house.control, offered(house, identifier="MERGED")[0])["patient_id"]
        for _ in range(4)
    )
    pages = [f"/patients/{patient}", f"/patients/{patient}/timeline"]
    before = [counted(house, house.control, page)[1] for page in pages]
    for part in parts[:2]:
        versions = [
            house.control.get(f"/patients/{id_}").json["version"] for id_ in (patient, part)
        ]
        words = {"absorb": part, "version": versions[0], "absorb_version": versions[1]}
        good(house.control.post(f"/patients/{patient}/merge", json={**words, "reason": "the same"}))
    detail, story = (good(house.control.get(page)).json for page in pages)
    assert (len(detail["merges"]), len(story["cases"])) == (2, 3)
    assert detail["maybe_same"]  # it was not alone before, either
    after = [counted(house, house.control, page)[1] for page in pages]
    assert [*map(len, after)] == [*map(len, before)]


def test_one_case_asks_for_nothing_twice(house: House):
    case = one_of_each(house)
    for who in (house.control, house.crew):
        for case_id in (case["waiting"], case["held"]):
            statements = counted(house, who, f"/cases/{case_id}")[1]
            assert len(statements) <= ONE_CASE_MOST, "\n".join(statements)
            twice = {s for s in statements if statements.count(s) > 1 and "FROM" in s}
            assert not twice


def one_of_each(house: House) -> dict[str, Any]:
    """A case that waits and another one of its patient, one that is held, and one that is over:
    with films that were read, and all that people say of a case."""
    waiting, _ = offered(house, identifier="TWICE")
    offered(house, identifier="TWICE")  # the guard flags the pair
    held, asked = offered(house, name="Kim Mari", birth_date="1950-01-01")
    over, asked_of_over = offered(house)
    for offer in (asked[0], asked_of_over[0]):
        good(house.decide(offer, "accept"))
    for step in ("acknowledge", "depart", "arrive"):
        good(house.crew.post(f"/cases/{over}/{step}"))
    holder, taker = house.er_of(asked[0]), house.er_of(asked_of_over[0])
    good(holder("PUT", f"/cases/{held}/instructions", json={"items": ["give_oxygen"]}))
    told = {"diagnosis": "pneumonia", "disposition": "ward"}
    good(taker("PUT", f"/cases/{over}/outcome", json=told))
    veto = {"kind": "veto", "reason": "a crane has fallen"}
    good(
        house.control(
            "PUT", f"/control-room/cases/{waiting}/directives/{house.rooms[-1]}", json=veto
        )
    )
    call = {"to": "the ward", "said": "a bed is free"}
    good(house.control.post(f"/control-room/cases/{waiting}/calls", json=call))
    good(house.control.post(f"/cases/{held}/messages", json={"to": "ambulance", "body": "words"}))
    return {"waiting": waiting, "held": held, "held_by": asked[0]}


def offered(house: House, **patient: str) -> tuple[str, list[dict[str, Any]]]:
    """A case before its first ERs, with a film in rows only; its offers."""
    case_id = house.submitted(patient=patient)
    City(house.record, SYSTEM, SYSTEM, ()).submit_second_film(UUID(case_id))
    house.read_films()
    house.advance(case_id)
    return case_id, house.case(house.crew, case_id)["offers"]


def look(
    house: House, er: Caller
) -> tuple[dict[tuple[str, str, str], int], dict[tuple[str, str, str], list[str]]]:
    """Rows and statements of every list."""
    rows, statements = {}, {}
    for who, path, query in LISTS:
        caller = er if who == "er" else getattr(house, who)
        name = (who, path, str(query))
        answer, statements[name] = counted(house, caller, path, **query)
        found = answer.json.get("patients", []) if isinstance(answer.json, dict) else answer.json
        rows[name] = len(found)
    return rows, statements


def counted(house: House, who: Caller, path: str, **query: Any) -> tuple[Any, list[str]]:
    """The answer to one request, and its statements."""
    with sent(house.record) as statements:
        answer = good(who.get(path, query_string=query))
    # Settings that changed at run time are asked for every few seconds, whoever comes then.
    once = RuntimeSetting.__tablename__
    return answer, [statement for statement, _ in statements if once not in statement]


def good(answer: Any) -> Any:
    assert answer.status_code < 300, answer.text
    return answer

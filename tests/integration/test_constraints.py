"""The database itself refuses rows that cannot be, whoever writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import Session

from broker.lifecycle import ReadingKind
from broker.record import Record
from broker.tables import Account, Case, Finding, Offer
from dispatch import offers
from dispatch.offers import Decision
from tests.integration.city import City

IMPOSSIBLE: dict[str, list[str]] = {
    "cases": [
        "status = 'approved'",
        "status = NULL",
        "deadline_at = NULL",
        "status = 'closed'",  # a closed case has no deadline
        "crew_pre_ktas = 0",
        "crew_pre_ktas = 6",
        "acuity = 9",
        "age_years = -1",
        "age_years = 999",
        "sex = 'x'",
        "latitude = 91",
        "longitude = -181",
        "latitude = NULL",
        "version = 0",
        "round = -1",
        "ambulance_id = '00000000000000000000000000000000'",
    ],
    "readings": [
        "status = 'broken'",
        "status = 'running'",
        "status = 'done'",
        "lease_until_at = created_at",
        "attempt = -1",
        "kind = 'segment'",
    ],
    "offers": [
        "status = 'approved'",
        "status = 'rejected'",
        "status = 'accepted_with_delay'",
        "status = 'accepted_with_delay', delay_min = 0",
        "status = 'accepted_with_delay', delay_min = 241",
        "reason_code = 'no_wish'",
    ],
    "emergency_rooms": ["latitude = 91", "longitude = 181", "name = NULL"],
    "vital_signs": ["spo2_percent = 101", "consciousness = 'Z'"],
}


@pytest.fixture
def full(city: City) -> City:
    """A row in each of the tables above."""
    city.submit_film()
    city.offered(vitals={"spo2_percent": 97, "consciousness": "A"})
    return city


@pytest.mark.parametrize("table", IMPOSSIBLE)
def test_an_impossible_row_is_refused(full: City, table: str):
    for change in IMPOSSIBLE[table]:
        with full.record.engine.connect() as connection:
            try:
                connection.execute(text(f"UPDATE {table} SET {change}"))
            except DBAPIError:
                continue
        pytest.fail(f"{table} let through: {change}")


def test_the_rows_themselves_can_be_changed(full: City):
    """So that the refusals above come from the check and not from a broken statement."""
    with full.record.engine.begin() as connection:
        for table, change in (
            ("cases", "crew_pre_ktas = 1, age_years = 130, latitude = -90"),
            ("readings", "attempt = 3"),
            ("offers", "status = 'accepted_with_delay', delay_min = 240"),
            ("emergency_rooms", "latitude = 90"),
            ("vital_signs", "spo2_percent = 0, consciousness = 'U'"),
        ):
            assert connection.execute(text(f"UPDATE {table} SET {change}")).rowcount


def test_two_ers_can_never_hold_one_case(full: City):
    with pytest.raises(IntegrityError), full.record.engine.begin() as connection:
        connection.execute(text("UPDATE offers SET status = 'accepted'"))


def test_one_offer_per_er_and_round(full: City):
    to_one_room = "UPDATE offers SET emergency_room_id = (SELECT MIN(id) FROM emergency_rooms)"
    if full.record.engine.dialect.name == "postgresql":  # which knows no MIN of a uuid
        to_one_room = to_one_room.replace("MIN(id)", "id").replace("rooms)", "rooms LIMIT 1)")
    with pytest.raises(IntegrityError), full.record.engine.begin() as connection:
        connection.execute(text(to_one_room))


def refused(record: Record, row: Any) -> Exception:
    with pytest.raises((IntegrityError, StatementError)) as caught, record.write() as session:
        session.add(row)
    return caught.value


def test_people_without_their_unit(record: Record):
    for role in ("crew", "emergency_room", "emperor"):
        refused(
            record,
            Account(
                sign_in_name=uuid4().hex, display_name="x", password_hash="x", role=role,
            ),
        )  # fmt: skip


@pytest.mark.parametrize(
    "box",
    [
        {"x0": 1.0},
        {"x0": 1.0, "y0": 1.0, "x1": 2.0},
        {"score": 1.2},
        {"score": -0.1},
        {"x0": 9.0, "x1": 3.0, "y0": 0.0, "y1": 1.0},
    ],
)
def test_impossible_findings(city: City, box: dict[str, float]):
    city.submit_film()
    claim = city.claim(ReadingKind.DETECT)
    row = {"score": 0.5, "rank": 1, "label": "Mass", "above_threshold": True} | box
    refused(city.record, Finding(reading_id=claim.reading_id, **row))


def test_a_time_without_a_zone_is_refused(city: City):
    with city.record.read() as session:
        case = session.get_one(Case, city.submit())
    case.arrived_at = datetime(2026, 1, 1)
    refused(city.record, case)


def test_a_refused_row_tells_no_name(city: City):
    """What a traceback would log carries no values of ours."""
    offer = Offer(case_id=uuid4(), note="홍길동", explanation={}, round=1, rank=1)
    assert "홍길동" not in str(refused(city.record, offer)).partition("DETAIL")[0]


class Stopped(Exception):
    """The door broke off."""


def test_a_unit_that_fails_leaves_nothing(city: City):
    case_id, (offer, *_) = city.offered()
    before = city.case(case_id).version

    def half(session: Session) -> None:
        actor = city.er(offer.emergency_room_id)
        offers.decide(session, city.settings, actor, offer.id, Decision.ACCEPT)
        raise Stopped

    with pytest.raises(Stopped):
        city.record.again(half)
    assert city.case(case_id).version == before
    assert city.er_heard(offer.emergency_room_id) == ["offer.requested"]
    city.check()

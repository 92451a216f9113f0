"""After a year of cases every look is as quick as on the first day: no query reads a whole table.

The statements are those that the loops and doors really send, caught on their way; SQLite says how
it would find the rows. A table that stays small may be read whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from broker import board, events, exposition, heartbeat, history, seals, timeline, trail
from broker.lifecycle import LIVE_CASES, ReadingKind
from broker.lookout import Lookout
from broker.queues import Queue
from broker.record import Record
from broker.relay import Relay
from broker.stages import Stage
from broker.tables import Case, Offer, Patient
from broker.trail import Wanted
from dispatch import (
    access,
    chronicle,
    control_log,
    dead_letters,
    duplicates,
    notify,
    offers,
    patient_search,
    reading,
    transport,
)
from dispatch.offers import Decision
from tests.integration.city import City
from tests.integration.statements import sent
from web.presenting import case_pictures, offer_pictures
from workers.upkeep import Upkeep

GROWS = {
    *("cases", "images", "readings", "findings", "offers", "events", "audit_entries", "messages"),
    *("vital_signs", "notifications", "patients", "patient_identities", "audit_seals"),
}


SHARED = (
    r"ix_offers_room|ix_cases_ambulance_received \(ambulance_id=\?\)|ix_readings_kind"
    r"|birth_date_index|\(audience=\?\)"
)
"""Ways to all that a unit ever did, to a whole log, to everybody born on a day."""


def plan_of(record: Record, statement: str, parameters: Any) -> list[str]:
    """How SQLite would find the rows."""
    with record.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [row[3] for row in plan]


def whole_tables(record: Record, statements: list[tuple[str, Any]]) -> dict[str, str]:
    """Growing tables that SQLite would read from end to end, with the statement."""
    found: dict[str, str] = {}
    for statement, parameters in statements:
        for line in plan_of(record, statement, parameters):
            table = re.match(r"SCAN (?:TABLE )?(\w+)", line)
            if table and table[1] in GROWS:
                found[table[1]] = f"{line}: {statement}"
    return found


def live(city: City) -> None:
    """One case through most of what can happen to it."""
    case_id, (offer, *_) = city.offered()
    city.do(offers.mark_received, city.er(offer.emergency_room_id), offer.id)
    city.decide(offer, Decision.ACCEPT)
    city.do(transport.acknowledge, city.settings, city.crew, case_id)


def loops(city: City, redis_url: str) -> None:
    relay, upkeep = Relay(city.settings), Upkeep(city.settings)
    try:
        for loop in (relay, upkeep):
            loop.record.close()
            loop.record = city.record
        relay.ring()
        upkeep.look()
        upkeep.seal()
        upkeep._beat()
    finally:
        relay.hints.close()
        relay.redis.close()
        relay.celery.close()


def workers(city: City, _: str) -> None:
    city.submit_film()
    claim = city.do(reading.claim, city.settings, ReadingKind.CLASSIFY, "me")
    assert claim
    city.do(reading.renew, city.settings, claim)
    city.do(reading.done, city.settings, claim, [], {}, {})


def readers(city: City, _: str) -> None:
    case_id, (offer, *_) = city.offered()
    with city.record.read() as session:
        events.after(session, events.CONTROL_ROOM, 3)
        events.last_seq(session, events.CONTROL_ROOM)
        dead_letters.still_open(session)
        reading.silent(session)
        notify.due(session)
        heartbeat.alive(session, "relay")
        for actor in (city.crew, city.er(offer.emergency_room_id), city.control):
            access.case(session, actor, case_id)
            access.offer(session, actor, offer.id)


def desks(city: City, _: str) -> None:
    """Patients found and opened by crew, ER and control room; the control room's log."""
    case_id, (offer, *_) = city.offered(patient={"name": "Kim Mari", "identifier": "7"})
    city.decide(offer, Decision.ACCEPT)
    wanted: list[dict[str, Any]] = [
        {"name": "Kim Mari"},
        {"identifier": "7"},
        {"temporary_name": "Pine 1"},
        {"live": True},
    ]
    actors = [city.crew, city.er(offer.emergency_room_id), city.control]
    with city.record.write() as session:
        case = session.get_one(Case, case_id)
        patient = session.get_one(Patient, case.patient_id)
        for actor in actors:
            for words in wanted:
                patient_search.find(session, city.settings, actor, {**words, "limit": 25})
            patient_search.same_identity(session, city.settings, actor, patient)
            chronicle.of_patient(session, actor, patient)
        for actor in actors[:2]:  # theirs only; the control room's list follows the numbers' index
            patient_search.find(session, city.settings, actor, {"limit": 25})
        control_log.of_live_cases(session, city.control)
        for actor in actors:
            case_pictures(session, city.settings, actor, [case])
        offer_pictures(session, city.settings, actors[1], [session.get_one(Offer, offer.id)])


def operations(city: City, _: str) -> None:
    """The board, its samples and alarms, Prometheus, a figure's cases, a timeline, the audit."""
    live(city)
    case_id, _offers = city.offered()
    lookout = Lookout(city.record)
    lookout.look()
    lookout.look()
    with city.record.write() as session:
        exposition.text(session, city.settings)
        board.slowest(session, Stage.ASSIGNED, 1.0)
        board.in_queue(session, Queue.CLASSIFY)
        board.in_queue(session, Queue.DISPATCH)
        board.unanswered_in(session, "")
        board.find(session, "0000")
        board.stage_times(session, 24.0)
        history.charts(session, "7d")
        timeline.of_case(session, case_id)
        for wanted in (  # without any filter it follows an index and stops after a page
            Wanted(actor="system"),
            Wanted(action="case."),
            Wanted(case_id=case_id),
        ):
            trail.search(session, "a test", wanted)


@pytest.mark.parametrize(
    "use", [lambda city, _: live(city), loops, workers, readers, desks, operations]
)
def test_no_look_reads_a_whole_table(city: City, redis_url: str, use: Callable[[City, str], None]):
    if city.record.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's plans depend on how full its tables are: tests/bench/year.py")
    object.__setattr__(city.settings, "redis_url", redis_url)
    city.submit_film()
    seals.seal(city.record)  # the first time it follows an index from its end: nothing is sealed
    with sent(city.record) as statements:
        use(city, redis_url)
    assert len(statements) > 3
    assert whole_tables(city.record, statements) == {}


def test_a_crews_newest_cases_are_not_sorted_out_of_its_past(city: City):
    if city.record.engine.dialect.name != "sqlite":
        pytest.skip("as above")
    newest = (
        select(Case).where(access.cases_visible_to(city.crew)).order_by(Case.received_at.desc())
    )
    with sent(city.record) as statements, city.record.read() as session:
        session.scalars(newest.limit(25)).all()
    plan = "".join(plan_of(city.record, *statements[-1]))
    assert "ix_cases_ambulance_received" in plan
    assert "TEMP B-TREE" not in plan


def test_what_most_rows_share_leads_to_no_row(city: City):
    """Who is asked about one case, one patient or one film goes through nobody's whole past."""
    if city.record.engine.dialect.name != "sqlite":
        pytest.skip("as above")
    who = {"name": "Kim Mari", "birth_date": "1950-01-01"}
    case_id, (offer, *_) = city.offered(patient=who)
    city.decide(offer, Decision.ACCEPT)
    city.submit_film()
    actors = [city.crew, city.er(offer.emergency_room_id), city.control]
    with sent(city.record) as statements, city.record.write() as session:
        case = session.get_one(Case, case_id)
        patient = session.get_one(Patient, case.patient_id)
        for actor in actors:
            session.scalars(
                select(Case).where(Case.status.in_(LIVE_CASES), access.each_case_visible_to(actor))
            ).all()
            access.case(session, actor, case_id)
            access.patient(session, actor, patient.id)
            case_pictures(session, city.settings, actor, [case])
            chronicle.of_patient(session, actor, patient)
            patient_search.lines(session, actor, [patient])
            patient_search.same_identity(session, city.settings, actor, patient)
        duplicates.look(session, city.settings, case)
        reading.claim(session, city.settings, ReadingKind.CLASSIFY, "me")
    entered = {
        line: statement
        for statement, parameters in statements
        for line in plan_of(city.record, statement, parameters)
        if re.search(SHARED, line)
    }
    assert not entered, "\n".join(f"{line}: {entered[line]}" for line in entered)


def test_an_ers_newest_offers_are_not_sorted_out_of_its_past(city: City):
    """Its page asks for them, open or over, whenever it asks for its worklist."""
    if city.record.engine.dialect.name != "sqlite":
        pytest.skip("as above")
    _, (offer, *_) = city.offered()
    er = city.er(offer.emergency_room_id)
    newest = select(Offer).where(access.offers_visible_to(er)).order_by(Offer.offered_at.desc())
    with sent(city.record) as statements, city.record.read() as session:
        session.scalars(newest.limit(40)).all()
    plan = "".join(plan_of(city.record, *statements[-1]))
    assert "ix_offers_room_offered" in plan
    assert "TEMP B-TREE" not in plan


def test_a_whole_table_would_be_seen(record: Record):
    if record.engine.dialect.name != "sqlite":
        pytest.skip("as above")
    with sent(record) as statements, record.read() as session:
        session.execute(text("SELECT id FROM cases WHERE ended_reason = 'x'"))
    assert whole_tables(record, statements).keys() == {"cases"}

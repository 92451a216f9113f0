"""A case nobody answers gets louder by itself: remind, ask the next three, alarm, go on asking.

Time passes by setting the rows back; the clock that judges is the database's.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import update

from broker import database, events
from broker.lifecycle import LIVE_CASES, CaseStatus, DeclineReason, OfferStatus
from broker.record import Record
from broker.tables import Case, EmergencyRoom
from dispatch import transport
from dispatch.offers import Decision
from tests.integration.city import City
from workers.upkeep import Upkeep

FULL = DeclineReason.NO_ER_BED


def pass_and_look(city: City, case_id: UUID, seconds: float) -> None:
    """Let time pass and ring; the deadline must lie ahead after every step."""
    city.let_pass(case_id, seconds)
    for _ in range(3):  # steps that are due within the same moment may need a bell each
        city.advance(case_id)
        case = city.case(case_id)
        with city.record.read() as session:
            ahead = case.status not in LIVE_CASES or case.deadline_at > database.now(session)
        if ahead:
            break
    assert ahead, case.status
    city.let_pass(case_id, -30)  # no deadline is due
    version = case.version
    city.advance(case_id)
    city.advance(case_id)
    assert city.case(case_id).version == version, "bells without a deadline must do nothing"
    city.let_pass(case_id, 30)
    city.check()


def test_silence_from_reminder_to_alarm_and_on(city: City):
    """Acuity 3: reminder at 60 s, next three at 120 s, unplaced at 180 s, and on."""
    case_id, first = city.offered(crew_pre_ktas=3)
    rooms = [o.emergency_room_id for o in first]

    pass_and_look(city, case_id, 60)
    assert city.case(case_id).status is CaseStatus.OFFERING
    assert len(city.offers(case_id)) == 3
    for room in rooms:
        assert city.er_heard(room) == ["offer.requested", "offer.reminded"]
    assert city.crew_heard()[-1] == "offer.reminded"

    pass_and_look(city, case_id, 60)
    second = city.offers(case_id)[3:]
    assert [o.emergency_room_id for o in second] == list(city.rooms[3:6])
    assert {o.status for o in city.offers(case_id)} == {OfferStatus.REQUESTED}  # both rounds open

    pass_and_look(city, case_id, 60)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    alarm = city.last_event(events.CONTROL_ROOM)
    assert alarm.type == "case.unplaced"
    card = alarm.body["phone_numbers"]
    assert len(card) == 6
    assert card[0]["phone"] == "02-000-0000"
    assert city.crew_heard()[-1] == "case.unplaced"

    pass_and_look(city, case_id, 120)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    asked = {o.emergency_room_id for o in city.offers(case_id)}
    assert asked >= set(city.rooms[:9])
    late = city.offers(case_id, OfferStatus.REQUESTED)[-1]
    city.decide(late, Decision.ACCEPT)  # an unplaced case is still placed by a yes
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    city.check()


@pytest.mark.parametrize(("level", "unplaced_s"), [(1, 90), (2, 90), (3, 180), (4, 360), (5, 360)])
def test_the_alarm_comes_sooner_for_the_sicker(city: City, level: int, unplaced_s: int):
    case_id, _ = city.offered(crew_pre_ktas=level)
    due_s = 0.0
    for _ in range(12):
        case = city.case(case_id)
        if case.status is not CaseStatus.OFFERING:
            break
        due_s = (case.deadline_at - case.search_opened_at).total_seconds()
        with city.record.read() as session:
            wait_s = (case.deadline_at - database.now(session)).total_seconds()
        pass_and_look(city, case_id, max(wait_s, 0) + 0.1)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    # By the times in the record: how long the looks themselves took does not count.
    assert due_s == pytest.approx(unplaced_s, abs=0.01)


def test_an_hour_of_silence_keeps_asking_and_never_stands_still(record: Record):
    city = City.found(record, rooms=4)
    case_id, _ = city.offered(crew_pre_ktas=2)
    for _ in range(40):
        with record.read() as session:
            wait_s = (city.case(case_id).deadline_at - database.now(session)).total_seconds()
        assert -15 < wait_s <= 90  # a look a moment away may be due by now, on a busy machine
        pass_and_look(city, case_id, max(wait_s, 0) + 0.1)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    times = [len([o for o in city.offers(case_id) if o.emergency_room_id == r]) for r in city.rooms]
    assert min(times) >= 3, "every ER is asked again and again"
    still_open = city.offers(case_id, OfferStatus.REQUESTED)
    assert still_open
    assert len({o.emergency_room_id for o in still_open}) == len(still_open)


def test_when_everybody_declines_the_alarm_is_at_once(record: Record):
    city = City.found(record, rooms=5)
    case_id, opened = city.offered()
    for offer in opened:
        city.decide(offer, Decision.REJECT, reason_code=FULL)
    pass_and_look(city, case_id, 0)
    for offer in city.offers(case_id, OfferStatus.REQUESTED):
        city.decide(offer, Decision.REJECT, reason_code=FULL)
    pass_and_look(city, case_id, 0)
    case = city.case(case_id)
    assert case.status is CaseStatus.UNPLACED
    assert len(city.offers(case_id)) == 5

    pass_and_look(city, case_id, 120)  # nobody's no is old enough
    assert len(city.offers(case_id)) == 5
    pass_and_look(city, case_id, 300)
    again = city.offers(case_id, OfferStatus.REQUESTED)
    assert len(again) == 3
    assert city.case(case_id).status is CaseStatus.UNPLACED


def test_a_no_is_replaced_at_once_until_nobody_is_left(record: Record):
    city = City.found(record, rooms=5)
    case_id, opened = city.offered()
    due_at = city.case(case_id).deadline_at
    city.decide(opened[0], Decision.REJECT, reason_code=FULL)
    fourth = city.offers(case_id)[3]
    assert (fourth.emergency_room_id, fourth.round, fourth.rank) == (city.rooms[3], 1, 4)
    assert city.er_heard(city.rooms[3]) == ["offer.requested"]
    assert city.case(case_id).deadline_at == due_at  # the round's clock goes on
    city.decide(opened[0], Decision.REJECT, reason_code=FULL)  # the same answer twice is one
    assert len(city.offers(case_id)) == 4
    for offer in (opened[1], fourth):
        city.decide(offer, Decision.REJECT, reason_code=FULL)
    assert len(city.offers(case_id)) == 5  # nobody is left: the round goes on with whom it has
    pass_and_look(city, case_id, 0)
    assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 2
    city.decide(opened[2], Decision.ACCEPT)
    assert city.offers(case_id, OfferStatus.REQUESTED) == []
    city.check()


def test_one_that_was_asked_a_moment_ago_is_not_reminded(city: City):
    """Asked in the place of a no just before the reminder: it is reminded with the next round."""
    case_id, opened = city.offered(crew_pre_ktas=3)
    city.let_pass(case_id, 50)
    city.decide(opened[0], Decision.REJECT, reason_code=FULL)
    fourth = city.rooms[3]
    city.let_pass(case_id, 10)
    city.advance(case_id)
    assert "offer.reminded" in city.er_heard(city.rooms[1])
    assert city.er_heard(fourth) == ["offer.requested"]
    pass_and_look(city, case_id, 60)  # the next three
    pass_and_look(city, case_id, 60)
    assert city.er_heard(fourth) == ["offer.requested", "offer.reminded"]


def test_a_city_without_ers(record: Record):
    city = City.found(record, rooms=0)
    case_id = city.submit()
    pass_and_look(city, case_id, 0)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    assert city.last_event(events.CONTROL_ROOM).body["phone_numbers"] == []
    pass_and_look(city, case_id, 1000)
    pass_and_look(city, case_id, 1000)
    new = City.found(record, rooms=1)  # one opens after all
    pass_and_look(city, case_id, 1000)
    assert [o.emergency_room_id for o in city.offers(case_id)] == list(new.rooms)


def test_a_city_on_diversion_is_asked_all_the_same(city: City):
    with city.record.read() as session:
        until = database.now(session) + timedelta(hours=2)
    city.change_rooms(diversion_until_at=until)
    _, opened = city.offered()
    assert len(opened) == 3
    assert opened[0].explanation["excluded_reason"]["code"] == "on_diversion"


def test_diverted_ers_are_asked_last(record: Record):
    city = City.found(record, rooms=5)
    with record.write() as session:
        until = database.now(session) + timedelta(hours=2)
        session.execute(
            update(EmergencyRoom)
            .where(EmergencyRoom.id.in_(city.rooms[:2]))
            .values(diversion_until_at=until)
        )
    case_id, opened = city.offered()
    assert {o.emergency_room_id for o in opened} == set(city.rooms[2:])
    for offer in opened:
        city.decide(offer, Decision.REJECT, reason_code=FULL)
    pass_and_look(city, case_id, 0)
    new = city.offers(case_id, OfferStatus.REQUESTED)
    assert {o.emergency_room_id for o in new} == set(city.rooms[:2])


def test_an_er_that_was_shut_is_not_asked(record: Record):
    city = City.found(record, rooms=4)
    with record.write() as session:
        session.get_one(EmergencyRoom, city.rooms[0]).active = False
    _, opened = city.offered()
    assert {o.emergency_room_id for o in opened} == set(city.rooms[1:])


def test_a_promise_with_delay_does_not_stop_the_search(city: City):
    case_id, (first, *_) = city.offered(crew_pre_ktas=2)
    city.decide(first, Decision.ACCEPT_WITH_DELAY, delay_min=30)
    pass_and_look(city, case_id, 20)
    assert "offer.reminded" not in city.er_heard(first.emergency_room_id)  # it has answered
    pass_and_look(city, case_id, 25)
    assert len(city.offers(case_id)) == 6


def test_an_unacknowledged_decision_gets_louder(city: City):
    case_id, (first, *_) = city.offered()
    city.decide(first, Decision.ACCEPT)
    waits = []
    for _ in range(6):
        with city.record.read() as session:
            wait_s = (city.case(case_id).deadline_at - database.now(session)).total_seconds()
        waits.append(round(wait_s))
        pass_and_look(city, case_id, wait_s + 0.05)
    assert waits == pytest.approx([10, 10, 20, 40, 60, 60], abs=4)  # the looks take time, too
    assert max(waits) <= 60
    assert city.crew_heard().count("alarm.unacknowledged") == 6
    assert city.case(case_id).status is CaseStatus.ASSIGNED


def test_a_silent_transport_alarms_and_an_arrived_case_closes(city: City):
    case_id, (first, *_) = city.offered()
    city.decide(first, Decision.ACCEPT)
    city.do(transport.depart, city.settings, city.crew, case_id)
    pass_and_look(city, case_id, city.settings.transport_deadline_s)
    assert city.heard(events.CONTROL_ROOM)[-1] == "alarm.no_news"
    city.do(transport.arrive, city.settings, city.crew, case_id)
    pass_and_look(city, case_id, city.settings.arrived_close_s)
    case = city.case(case_id)
    assert case.status is CaseStatus.CLOSED
    assert case.ended_reason == "closed by deadline"


def test_upkeep_alone_moves_cases(city: City):
    """Every Celery worker is dead, no relay runs: the plain loop does the work."""
    upkeep = Upkeep(city.settings)
    urgent, waiting = city.submit_film(crew_pre_ktas=1), city.submit_film(crew_pre_ktas=4)
    city.let_pass(urgent, 1)
    upkeep.look()
    assert city.case(urgent).status is CaseStatus.OFFERING
    assert city.case(waiting).status is CaseStatus.RECEIVED
    city.let_pass(waiting, 6)
    upkeep.look()
    assert city.case(waiting).status is CaseStatus.OFFERING
    for _ in range(6):
        city.let_pass(urgent, 100)
        upkeep.look()
    assert city.case(urgent).status is CaseStatus.UNPLACED
    upkeep.record.close()
    city.check()


def test_one_broken_case_does_not_stop_the_others(city: City):
    broken, good = city.submit(), city.submit()
    with city.record.write() as session:
        session.get_one(Case, broken).triage = {}
        session.add(session.get_one(Case, broken))
    city.advance(broken)
    with city.record.write() as session:
        session.get_one(Case, broken).triage = {"needs": ["no such capability"]}
    city.let_pass(broken, 1000)
    city.let_pass(good, 1)
    upkeep = Upkeep(city.settings)
    upkeep.look()
    upkeep.record.close()
    assert city.case(good).status is CaseStatus.OFFERING
    assert city.case(broken).round == 1

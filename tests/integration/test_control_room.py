"""The control room: pins, vetoes, assignments, its time to choose; two operators at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from broker import database, events
from broker.errors import AlreadyTaken, Conflict, DirectiveStands, NotFound
from broker.lifecycle import (
    CaseStatus,
    DeclineReason,
    DirectiveKind,
    NotificationStatus,
    OfferStatus,
    ReadingKind,
)
from broker.record import Record
from broker.tables import AuditEntry, Directive, EmergencyRoom, Notification, Offer
from dispatch import assigning, control_log, notify, offers, shortages, transport
from dispatch.control_log import CaseAlarm
from dispatch.offers import Decision
from dispatch.transition import Ended
from tests.integration.city import City

PIN, VETO = DirectiveKind.PIN, DirectiveKind.VETO
WHY = "agreed by telephone"


def direct(city: City, case_id: UUID, room: UUID, kind: DirectiveKind, why: str = WHY) -> Directive:
    return city.do(assigning.direct, city.settings, city.control, case_id, room, kind, why)


def assign(city: City, case_id: UUID, room: UUID, why: str = WHY) -> Offer:
    return city.do(assigning.assign, city.settings, city.control, case_id, room, why)


def asked(city: City, case_id: UUID) -> list[UUID]:
    return [offer.emergency_room_id for offer in city.offers(case_id)]


# --- pin and veto ---------------------------------------------------------------------------------


def test_before_the_search_a_pin_is_asked_first_and_a_veto_never(city: City) -> None:
    case_id = city.submit()
    direct(city, case_id, city.rooms[9], PIN)
    direct(city, case_id, city.rooms[0], VETO)
    city.advance(case_id)
    assert asked(city, case_id) == [city.rooms[9], city.rooms[1], city.rooms[2]]
    for _ in range(4):  # whoever is left: never the vetoed one
        for offer in city.offers(case_id, OfferStatus.REQUESTED):
            city.decide(offer, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
        city.advance(case_id)
    assert set(asked(city, case_id)) == set(city.rooms) - {city.rooms[0]}
    city.check()


def test_a_pin_while_ers_are_asked_is_asked_at_once(city: City) -> None:
    case_id, before = city.offered()
    direct(city, case_id, city.rooms[7], PIN)
    offer = city.offers(case_id)[3]
    assert (offer.emergency_room_id, offer.round, offer.rank) == (city.rooms[7], 1, 4)
    assert city.er_heard(city.rooms[7]) == ["offer.requested"]
    direct(city, case_id, city.rooms[7], PIN)  # twice is once
    direct(city, case_id, before[0].emergency_room_id, PIN)  # is asked already
    assert len(city.offers(case_id)) == 4
    # It says no: the pin is spent, and a new one asks it again in the next round.
    city.decide(offer, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    city.do(assigning.lift, city.control, case_id, city.rooms[7])
    direct(city, case_id, city.rooms[7], PIN)
    city.let_pass(case_id, 120)
    for _ in range(2):  # the reminder, the next round
        city.advance(case_id)
    second = [o.emergency_room_id for o in city.offers(case_id) if o.round == 2]
    assert second[0] == city.rooms[7]
    assert len(second) == 3


def test_a_veto_takes_an_open_offer_back_and_tells_that_er(city: City) -> None:
    case_id, before = city.offered()
    direct(city, case_id, before[0].emergency_room_id, VETO, "fire alarm there")
    direct(city, case_id, before[0].emergency_room_id, VETO, "fire alarm there")  # twice is once
    first, *_, instead = city.offers(case_id)
    assert (instead.emergency_room_id, instead.status) == (city.rooms[3], OfferStatus.REQUESTED)
    assert len(city.offers(case_id)) == 4
    assert (first.status, first.ended_reason) == (OfferStatus.WITHDRAWN, Ended.CONTROL_ROOM)
    assert city.er_heard(first.emergency_room_id)[-1] == "offer.withdrawn"
    for room in city.rooms[1:9]:
        direct(city, case_id, room, VETO)
    assert asked(city, case_id)[-1] == city.rooms[9]
    assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 1
    direct(city, case_id, city.rooms[9], VETO)
    city.advance(case_id)  # nobody is left: the control room is alarmed at once
    assert city.case(case_id).status is CaseStatus.UNPLACED
    city.check()


def test_pin_and_veto_of_one_er_contradict_until_one_is_taken_back(city: City) -> None:
    case_id = city.submit()
    direct(city, case_id, city.rooms[0], PIN, "promised a bed")
    with pytest.raises(DirectiveStands, match=r"a pin for this ER already \(promised a bed\)"):
        direct(city, case_id, city.rooms[0], VETO)
    city.do(assigning.lift, city.control, case_id, city.rooms[0])
    city.do(assigning.lift, city.control, case_id, city.rooms[0])  # twice is once
    assert direct(city, case_id, city.rooms[0], VETO).kind is VETO
    with city.record.read() as session:
        trail = [
            entry.action
            for entry in session.query(AuditEntry)
            .where(AuditEntry.case_id == case_id)
            .order_by(AuditEntry.at)
            if entry.action.startswith("directive")
        ]
    assert trail == ["directive.pin", "directive.lifted", "directive.veto"]


def test_everybody_vetoed_alarms_and_goes_on_when_one_is_lifted(record: Record) -> None:
    city = City.found(record, rooms=2)
    case_id = city.submit()
    for room in city.rooms:
        direct(city, case_id, room, VETO)
    city.advance(case_id)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    assert city.offers(case_id) == []
    city.do(assigning.lift, city.control, case_id, city.rooms[1])
    city.let_pass(case_id, 400)
    city.advance(case_id)
    assert asked(city, case_id) == [city.rooms[1]]
    city.check()


def test_a_held_or_ended_case_takes_no_directive(city: City) -> None:
    case_id, before = city.offered()
    city.decide(before[0], Decision.ACCEPT)
    for kind in DirectiveKind:
        with pytest.raises(AlreadyTaken):
            direct(city, case_id, city.rooms[5], kind)
    city.do(transport.cancel, city.crew, case_id, "walked away")
    with pytest.raises(Conflict, match="the case is cancelled"):
        direct(city, case_id, city.rooms[5], PIN)
    with pytest.raises(NotFound):
        direct(city, city.submit(), uuid4(), PIN)
    with pytest.raises(NotFound):
        direct(city, uuid4(), city.rooms[0], PIN)


# --- assign ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 7])
def test_an_assignment_places_the_case_and_everybody_is_told(city: City, number: int) -> None:
    """Also at an ER that is being asked (0), and at one that nobody asked (7)."""
    case_id, before = city.offered()
    held = assign(city, case_id, city.rooms[number])
    assert (held.status, held.assigned_reason) == (OfferStatus.ACCEPTED, WHY)
    assert (held.decided_by, held.assigned_by) == (city.control.name, city.control.name)
    assert held.eta_min is not None
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    assert "case.assigned" in city.crew_heard()
    told = city.last_event(events.emergency_room(city.rooms[number]))
    assert (told.type, told.body["reason"]) == ("offer.assigned", WHY)
    for offer in before:
        if offer.emergency_room_id != city.rooms[number]:
            assert city.er_heard(offer.emergency_room_id)[-1] == "offer.withdrawn"
    assert assign(city, case_id, city.rooms[number]).id == held.id  # twice is once
    with pytest.raises(AlreadyTaken):
        assign(city, case_id, city.rooms[3])
    city.check()
    # The ER may give it back with a reason, like one that it accepted itself.
    er = city.er(city.rooms[number])
    city.do(
        offers.withdraw, city.settings, er, held.id, DeclineReason.NO_INTENSIVE_CARE_BED, "full"
    )
    assert city.case(case_id).status is CaseStatus.OFFERING
    assert city.rooms[number] not in {
        o.emergency_room_id for o in city.offers(case_id, OfferStatus.REQUESTED)
    }
    city.check()


def test_a_received_case_is_assigned_without_asking_anybody(city: City) -> None:
    case_id = city.submit()
    assign(city, case_id, city.rooms[2])
    case = city.case(case_id)
    assert (case.status, case.acuity) == (CaseStatus.ASSIGNED, 3)
    assert len(city.offers(case_id)) == 1
    city.check()


def test_an_er_that_said_no_in_this_round_can_be_assigned(city: City) -> None:
    case_id, before = city.offered()
    city.decide(before[0], Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    held = assign(city, case_id, before[0].emergency_room_id, "found a bed after a call")
    assert held.round == 2
    city.check()


def test_an_er_on_diversion_may_be_assigned_and_it_is_said(city: City) -> None:
    with city.record.write() as session:
        room = session.get_one(EmergencyRoom, city.rooms[4])
        room.diversion_until_at = database.now(session) + timedelta(hours=1)
    case_id, _ = city.offered()
    assign(city, case_id, city.rooms[4], "the only cath lab tonight")
    assert city.last_event(events.emergency_room(city.rooms[4])).body["on_diversion"] is True
    with city.record.read() as session:
        (entry,) = session.query(AuditEntry).where(
            AuditEntry.action == "case.assigned_by_control_room"
        )
    assert entry.actor == city.control.name
    assert entry.details["reason"] == "the only cath lab tonight"


def test_what_cannot_be_assigned(city: City) -> None:
    case_id, before = city.offered()
    direct(city, case_id, city.rooms[5], VETO, "no power")
    with pytest.raises(DirectiveStands, match=r"vetoed for this case \(no power\)"):
        assign(city, case_id, city.rooms[5])
    with pytest.raises(NotFound):
        assign(city, case_id, uuid4())
    with city.record.write() as session:
        session.get_one(EmergencyRoom, city.rooms[6]).active = False
    with pytest.raises(NotFound):
        assign(city, case_id, city.rooms[6])
    city.decide(before[1], Decision.ACCEPT)
    with pytest.raises(AlreadyTaken):
        assign(city, case_id, city.rooms[0])
    city.do(transport.cancel, city.crew, case_id, "walked away")
    with pytest.raises(Conflict, match="the case is cancelled"):
        assign(city, case_id, city.rooms[0])


def test_an_assigned_er_is_told_by_the_second_channel_although_it_never_answers(
    city: City,
) -> None:
    settings = replace(
        city.settings,
        webhook_secret="s" * 32,
        webhook_hosts=("127.0.0.1",),
    )
    with city.record.write() as session:
        session.get_one(EmergencyRoom, city.rooms[7]).notify_webhook = "http://127.0.0.1:9/nobody"
    case_id, _ = city.offered()
    city.do(assigning.assign, settings, city.control, case_id, city.rooms[7], WHY)
    with city.record.write() as session:
        (row,) = session.query(Notification)
        delivery = notify.claim(session, settings, row.id)
    assert delivery is not None
    assert delivery.assigned
    with city.record.read() as session:
        assert session.query(Notification).one().status is NotificationStatus.PENDING


# --- two at once ----------------------------------------------------------------------------------


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Run these at the same moment; their results, or what they raised, in order."""
    ready = threading.Barrier(len(acts))
    results: list[Any] = [None] * len(acts)

    def run(number: int, act: Callable[[], Any]) -> None:
        ready.wait()
        try:
            results[number] = act()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number, act)) for number, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("_round", range(2))
def test_two_operators_and_an_er_at_once_leave_one_holder(city: City, _round: int) -> None:
    case_id, before = city.offered()
    results = at_once(
        lambda: assign(city, case_id, city.rooms[5]),
        lambda: assign(city, case_id, city.rooms[6]),
        lambda: city.decide(before[0], Decision.ACCEPT),
    )
    won = [r for r in results if isinstance(r, Offer)]
    assert len(won) == 1, results
    assert all(isinstance(r, AlreadyTaken) for r in results if r is not won[0]), results
    assert [o.id for o in city.offers(case_id, OfferStatus.ACCEPTED)] == [won[0].id]
    city.check()


@pytest.mark.parametrize("_round", range(2))
def test_a_pin_and_a_veto_at_once_leave_one_of_them(city: City, _round: int) -> None:
    case_id, _ = city.offered()
    results = at_once(
        lambda: direct(city, case_id, city.rooms[5], PIN),
        lambda: direct(city, case_id, city.rooms[5], VETO),
        lambda: direct(city, case_id, city.rooms[6], PIN),
    )
    kinds = [type(r) for r in results[:2]]
    assert sorted(kinds, key=lambda k: k.__name__) == [Directive, DirectiveStands], results
    assert isinstance(results[2], Directive)
    with city.record.read() as session:
        assert session.query(Directive).where(Directive.case_id == case_id).count() == 2
    city.check()


# --- the control room chooses first ---------------------------------------------------------------


@pytest.fixture
def choosing(record: Record) -> City:
    """A city whose control room chooses for acuity 1 and 2 first."""
    record.settings = replace(record.settings, control_room_first_acuity=2)
    return City.found(record)


def test_a_severe_case_waits_for_the_control_room_and_no_longer_than_said(choosing: City) -> None:
    city = choosing
    case_id = city.submit(crew_pre_ktas=2)
    city.advance(case_id)
    case = city.case(case_id)
    assert case.status is CaseStatus.RECEIVED
    assert case.acuity == 2, "the control room sees how urgent it is"
    assert case.deadline_at == case.control_room_until_at
    assert case.deadline_at is not None
    wait_s = (case.deadline_at - case.received_at).total_seconds()
    assert wait_s == pytest.approx(60, abs=5)
    for audience in (events.CONTROL_ROOM, city.crew.audience or ""):
        assert city.last_event(audience).type == "alarm.control_room_chooses"
    city.advance(case_id)  # woken early: nothing happens, and nothing is said twice
    assert city.heard(events.CONTROL_ROOM).count("alarm.control_room_chooses") == 1
    assert city.offers(case_id) == []
    with city.record.write() as session:  # its time is over
        row = session.merge(city.case(case_id))
        row.deadline_at = row.control_room_until_at = database.now(session)
    city.advance(case_id)
    assert city.case(case_id).status is CaseStatus.OFFERING
    assert len(city.offers(case_id)) == 3
    city.check()


def test_a_milder_case_waits_for_nobody(choosing: City) -> None:
    case_id, _ = choosing.offered(crew_pre_ktas=3)
    assert choosing.case(case_id).control_room_until_at is None


def test_new_facts_neither_lengthen_nor_end_the_wait(choosing: City) -> None:
    city = choosing
    case_id = city.submit_film(crew_pre_ktas=2)
    city.advance(case_id)
    until = city.case(case_id).control_room_until_at
    assert until is not None
    for kind in ReadingKind:
        city.read(city.claim(kind), *(["Pneumothorax"] if kind is ReadingKind.CLASSIFY else []))
    city.do(
        transport.update,
        city.settings,
        city.crew,
        case_id,
        changes={"crew_pre_ktas": 1, "latitude": 37.51, "longitude": 127.0},
        vitals={"spo2_percent": 88},
    )
    case = city.case(case_id)
    assert (case.status, case.acuity) == (CaseStatus.RECEIVED, 1)
    assert case.triage is not None
    assert "thoracic_surgery" in case.triage["needs"]
    assert (case.deadline_at, case.control_room_until_at) == (until, until)
    city.check()


def test_the_control_room_assigns_pins_or_lets_it_go_on(choosing: City) -> None:
    city = choosing
    first = city.submit(crew_pre_ktas=1)
    city.advance(first)
    assign(city, first, city.rooms[3])
    assert city.case(first).status is CaseStatus.ASSIGNED
    second = city.submit(crew_pre_ktas=1)
    city.advance(second)
    direct(city, second, city.rooms[8], PIN)
    city.do(assigning.proceed, city.settings, city.control, second)
    assert city.case(second).status is CaseStatus.OFFERING
    assert asked(city, second)[0] == city.rooms[8]
    with pytest.raises(Conflict, match="does not wait"):
        city.do(assigning.proceed, city.settings, city.control, second)
    city.check()


# --- what is short --------------------------------------------------------------------------------


def test_shortages_by_reason_and_hour_name_no_er(city: City) -> None:
    case_id, before = city.offered()
    city.decide(before[0], Decision.REJECT, reason_code=DeclineReason.MASS_CASUALTY)
    city.decide(before[1], Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    with city.record.write() as session:
        session.get_one(Offer, before[1].id).offered_at -= timedelta(hours=2)
        for silent in city.offers(case_id)[2:]:
            session.get_one(Offer, silent.id).offered_at -= timedelta(days=40)
    with city.record.read() as session:
        found = shortages.of_last(session, 24)
    assert (found.asked, found.answered_no) == (2, 2)
    assert set(found.by_reason) == {reason.value for reason in DeclineReason}
    assert found.by_reason["mass_casualty"] == found.by_reason["no_er_bed"] == 1
    assert len(found.hours) == 24
    assert found.hours[-1].by_reason == {"mass_casualty": 1}
    assert found.hours[-3].by_reason == {"no_er_bed": 1}
    assert str(before[0].emergency_room_id) not in repr(found)
    assert case_id
    with city.record.read() as session:
        assert shortages.of_last(session, 1).asked == 1


def test_two_who_take_an_alarm_at_once_learn_who_was_first(city: City) -> None:
    case_id = city.submit()
    taking = (control_log.take, city.control, case_id, CaseAlarm.UNPLACED)
    with ThreadPoolExecutor(1) as other:
        with city.record.write() as session:
            first = control_log.take(session, *taking[1:])
            second = other.submit(city.do, *taking)
            time.sleep(0.5)  # it stands at the same case
        assert second.result() == first
    with city.record.read() as session:
        assert [entry.at for entry in control_log.of_live_cases(session, city.control)] == [
            first.at
        ]

"""New vital signs while ERs are asked, or after one has accepted: what is amended, who is told."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from broker import database, events
from broker.lifecycle import CaseStatus, OfferStatus
from broker.tables import EmergencyRoom
from dispatch import transport
from dispatch.offers import Decision
from tests.integration.city import City

WELL: dict[str, Any] = {
    "respiratory_rate_per_min": 16,
    "spo2_percent": 98,
    "on_oxygen": False,
    "systolic_bp_mmhg": 120,
    "pulse_per_min": 70,
    "consciousness": "A",
    "temperature_c": 36.8,
}
FAILING = {**WELL, "respiratory_rate_per_min": 30, "spo2_percent": 85, "on_oxygen": True}
ICU = ["general_icu", "ventilator"]


def vitals(city: City, case_id: UUID, said: dict[str, Any]) -> None:
    city.do(transport.update, city.settings, city.crew, case_id, changes={}, vitals=said)


def equip(city: City, *numbers: int) -> None:
    """Give some ERs what the failing patient needs."""
    with city.record.write() as session:
        for number in numbers:
            session.get_one(EmergencyRoom, city.rooms[number]).capabilities = ICU


def test_open_offers_are_ranked_anew_and_every_screen_is_told(city: City) -> None:
    equip(city, 2)
    case_id, before = city.offered(crew_pre_ktas=4, vitals=WELL)
    assert [o.emergency_room_id for o in before] == list(city.rooms[:3])
    vitals(city, case_id, FAILING)
    after = city.offers(case_id)
    assert [o.emergency_room_id for o in after] == [city.rooms[n] for n in (2, 0, 1)]
    assert [o.rank for o in after] == [1, 2, 3]
    assert {o.status for o in after} == {OfferStatus.REQUESTED}, "no open offer is taken back"
    assert after[0].explanation["parts"]["capabilities"] == 0
    assert after[1].explanation["parts"]["capabilities"] > 0
    for room in city.rooms[:3]:
        assert city.er_heard(room) == ["offer.requested", "offer.amended"]
    assert "case.amended" in city.crew_heard()
    city.check()


def test_one_more_er_is_asked_when_it_is_clearly_better_and_no_second_one(city: City) -> None:
    equip(city, 3, 4)
    case_id, before = city.offered(crew_pre_ktas=4, vitals=WELL)
    vitals(city, case_id, FAILING)
    offers = city.offers(case_id)
    assert [o.emergency_room_id for o in offers[3:]] == [city.rooms[3]]
    assert {o.round for o in offers} == {1}
    assert {o.status for o in offers} == {OfferStatus.REQUESTED}
    assert city.er_heard(city.rooms[3]) == ["offer.requested"]
    assert city.last_event(events.CONTROL_ROOM).type == "case.offering"
    vitals(city, case_id, WELL)
    vitals(city, case_id, FAILING)  # back and forth asks nobody again
    assert len(city.offers(case_id)) == len(before) + 1
    city.decide(city.offers(case_id)[3], Decision.ACCEPT)
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    city.check()


def test_nobody_is_asked_when_the_new_need_makes_no_difference(city: City) -> None:
    equip(city, 0, 1, 2, 3)
    case_id, before = city.offered(crew_pre_ktas=4, vitals=WELL)
    vitals(city, case_id, FAILING)
    assert len(city.offers(case_id)) == len(before)
    assert city.case(case_id).acuity == 2


def test_better_vitals_ask_nobody_and_take_nobody_back(city: City) -> None:
    equip(city, 0, 1, 2)
    case_id, before = city.offered(crew_pre_ktas=4, vitals=FAILING)
    vitals(city, case_id, WELL)
    assert city.case(case_id).acuity == 4
    assert {o.id for o in city.offers(case_id, OfferStatus.REQUESTED)} == {o.id for o in before}


def test_a_more_urgent_case_is_not_left_to_the_deadline_of_a_milder_one(city: City) -> None:
    case_id, _ = city.offered(crew_pre_ktas=4, vitals=WELL)

    def wait_s() -> float:
        with city.record.read() as session:
            deadline = city.case(case_id).deadline_at
            assert deadline is not None
            return (deadline - database.now(session)).total_seconds()

    assert wait_s() > 100
    vitals(city, case_id, FAILING)
    assert wait_s() <= 20
    city.let_pass(case_id, 21)
    city.advance(case_id)
    assert city.case(case_id).reminded_round == 1


def test_a_promise_of_a_bed_stands(city: City) -> None:
    equip(city, 3)
    case_id, offers = city.offered(crew_pre_ktas=4, vitals=WELL)
    city.decide(offers[0], Decision.ACCEPT_WITH_DELAY, delay_min=20)
    vitals(city, case_id, FAILING)
    assert city.offers(case_id, OfferStatus.ACCEPTED_WITH_DELAY)[0].id == offers[0].id
    assert len(city.offers(case_id)) == 4


def test_the_er_that_accepted_is_told_and_what_it_lacks(city: City) -> None:
    with city.record.write() as session:
        session.get_one(EmergencyRoom, city.rooms[0]).capabilities = ["ventilator"]
    case_id, offers = city.offered(crew_pre_ktas=4, vitals=WELL)
    city.decide(offers[0], Decision.ACCEPT)
    vitals(city, case_id, FAILING)
    told = city.last_event(events.emergency_room(city.rooms[0]))
    assert told.type == "offer.amended"
    assert told.body["acuity"] == 2
    assert told.body["acuity_before"] == 4
    assert told.body["missing"] == ["general_icu"]
    for audience in (events.CONTROL_ROOM, city.crew.audience or ""):
        heard = city.last_event(audience)
        assert (heard.type, heard.body["missing"]) == ("case.amended", ["general_icu"])
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    assert len(city.offers(case_id)) == 3, "a held case asks nobody by itself"
    city.check()

"""An ambulance that seems to have arrived: asked by one tap, told to the ER, decided by nobody."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timedelta
from uuid import UUID

from broker import database, events
from broker.lifecycle import CaseStatus, DeclineReason, OfferStatus
from broker.tables import Case, EmergencyRoom
from dispatch import offers, transport
from dispatch.arrival import Approach
from dispatch.offers import Decision
from tests.integration.city import City
from web.presenting import case_picture


def at(city: City, case_id: UUID, north: float, room: UUID) -> None:
    """The ambulance tells that it is so many degrees north of an ER."""
    with city.record.read() as session:
        er = session.get_one(EmergencyRoom, room)
        place = {"latitude": er.latitude + north, "longitude": er.longitude}
    city.do(transport.update, city.settings, city.crew, case_id, changes=place, vitals=None)


def minutes_pass(city: City, case_id: UUID, seconds: int) -> None:
    """Set back what was seen, as if so much time had gone by."""
    past = timedelta(seconds=seconds)
    with city.record.write() as session:
        case = session.get_one(Case, case_id)
        assert case.approach is not None
        kept = Approach.of_json(case.approach)
        earlier = {
            field.name: value - past
            for field in fields(kept)
            if isinstance(value := getattr(kept, field.name), datetime)
        }
        case.approach = replace(kept, **earlier).as_json()  # type: ignore[arg-type]  # times only
        case.position_at = database.now(session) - past


def seen(city: City, case_id: UUID) -> object:
    with city.record.write() as session:
        case = session.get_one(Case, case_id)
        return case_picture(session, city.settings, city.crew, case)["seems_arrived_at"]


def test_the_crew_is_asked_and_the_er_told_but_nothing_ends(city: City):
    case_id, opened = city.offered()
    room = opened[0].emergency_room_id
    city.decide(opened[0], Decision.ACCEPT)
    city.do(transport.depart, city.settings, city.crew, case_id)
    at(city, case_id, 0.02, room)
    minutes_pass(city, case_id, 30)
    at(city, case_id, 0.01, room)
    minutes_pass(city, case_id, 30)
    at(city, case_id, 0.001, room)
    assert seen(city, case_id) is None
    minutes_pass(city, case_id, 70)
    at(city, case_id, 0.0005, room)
    assert seen(city, case_id) is not None
    assert city.case(case_id).status is CaseStatus.EN_ROUTE  # a question, no step
    for heard in (city.crew_heard(), city.er_heard(room), city.heard(events.CONTROL_ROOM)):
        assert heard.count("case.seems_arrived") == 1
    at(city, case_id, 0.0004, room)
    assert city.er_heard(room).count("case.seems_arrived") == 1
    city.do(transport.arrive, city.settings, city.crew, case_id)
    assert seen(city, case_id) is None
    city.check()


def test_another_er_counts_from_its_own_beginning(city: City):
    case_id, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    at(city, case_id, 0.001, opened[0].emergency_room_id)
    kept = city.case(case_id).approach
    assert kept is not None
    assert kept["emergency_room_id"] == str(opened[0].emergency_room_id)
    er = city.er(opened[0].emergency_room_id)
    city.do(
        offers.withdraw,
        city.settings,
        er,
        opened[0].id,
        DeclineReason.NO_ER_BED,
        None,
    )
    second = city.offers(case_id, OfferStatus.REQUESTED)[0]  # of the next round
    city.decide(second, Decision.ACCEPT)
    at(city, case_id, 0.001, second.emergency_room_id)
    kept = city.case(case_id).approach
    assert kept is not None
    assert kept["emergency_room_id"] == str(second.emergency_room_id)
    assert seen(city, case_id) is None


def test_who_has_no_er_yet_has_nowhere_to_arrive(city: City):
    case_id, opened = city.offered()
    at(city, case_id, 0.0, opened[0].emergency_room_id)
    assert city.case(case_id).approach is None

"""A hospital outside takes a patient by telephone: ends the search, is nobody's acceptance."""

from __future__ import annotations

import pytest

from broker import invariants
from broker.errors import AlreadyTaken, Conflict, IllegalTransition, NotFound
from broker.lifecycle import CaseStatus, OfferStatus, Role
from broker.tables import AuditEntry, Case
from dispatch import access, assigning, elsewhere, shortages, transport
from dispatch.access import Actor
from dispatch.offers import Decision
from tests.integration.city import City
from web.presenting import case_picture

NAME, PHONE, WHY = "제3병원", "041-000-0000", "bed confirmed by the head nurse"


def place(city: City, case_id: object, who: Actor | None = None, name: str = NAME) -> Case:
    return city.do(
        elsewhere.place, city.settings, who or city.control, case_id, name, PHONE, WHY
    )  # fmt: skip


def shown(city: City, case_id: object, who: Actor) -> dict[str, object]:
    with city.record.write() as session:
        case = access.case(session, who, case_id)  # type: ignore[arg-type]
        return case_picture(session, city.settings, who, case)


def sound(city: City) -> None:
    city.check()
    with city.record.read() as session:
        assert invariants.rows(session, city.settings, stopped=True) == []


def test_the_control_room_ends_the_search_and_the_crew_confirms(city: City):
    case_id, opened = city.offered()
    place(city, case_id)
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    assert {o.status for o in city.offers(case_id)} == {OfferStatus.WITHDRAWN}
    assert {o.ended_reason for o in city.offers(case_id)} == {"placed_elsewhere"}
    for offer in opened:
        assert city.er_heard(offer.emergency_room_id)[-1] == "offer.withdrawn"
        er = city.er(offer.emergency_room_id)
        with pytest.raises(NotFound):
            shown(city, case_id, er)  # no ER sees the case any more
        with pytest.raises(AlreadyTaken):
            city.decide(offer, Decision.ACCEPT)  # who comes late is told that it has a place
    there = shown(city, case_id, city.crew)["elsewhere"]
    assert isinstance(there, dict)
    assert there["emergency_room"]["name"] == f"{NAME} (by telephone)"
    assert there["emergency_room"]["phone"] == PHONE
    sound(city)
    city.let_pass(case_id, 20)
    city.advance(case_id)
    assert city.crew_heard()[-1] == "alarm.unacknowledged"  # as with any decision
    city.do(transport.acknowledge, city.settings, city.crew, case_id)
    city.do(transport.arrive, city.settings, city.crew, case_id)
    city.do(transport.close, city.crew, case_id)
    assert shown(city, case_id, city.control)["elsewhere"]  # history keeps it
    with city.record.read() as session:
        assert shortages.of_last(session, 24).elsewhere == 1
    sound(city)


def test_the_crew_that_rang_itself_has_confirmed_with_it(city: City):
    case_id = city.submit()  # nobody is asked yet
    place(city, case_id, city.crew)
    case = city.case(case_id)
    assert (case.status, case.acuity) == (CaseStatus.ACKNOWLEDGED, 3)
    assert city.offers(case_id) == []
    with city.record.read() as session:
        entry = session.query(AuditEntry).where(AuditEntry.action == "case.taken_elsewhere").one()
    assert entry.actor == city.crew.name
    assert entry.details == {"hospital": NAME, "phone": PHONE, "reason": WHY}
    sound(city)


def test_taken_back_the_search_goes_on_in_a_new_round(city: City):
    case_id, opened = city.offered()
    place(city, case_id)
    city.do(elsewhere.take_back, city.settings, city.crew, case_id)
    assert city.case(case_id).status is CaseStatus.OFFERING
    new = city.offers(case_id, OfferStatus.REQUESTED)
    assert len(new) == 3
    assert {o.round for o in new} == {2}
    assert shown(city, case_id, city.crew)["elsewhere"] is None
    city.do(elsewhere.take_back, city.settings, city.crew, case_id)  # twice is once
    assert city.case(case_id).round == 2
    sound(city)
    place(city, case_id, city.crew, "another one")
    with city.record.read() as session:
        assert shortages.of_last(session, 24).elsewhere == 1  # what stood in the end
    sound(city)
    assert opened


def test_the_same_words_are_one_and_other_words_correct_them(city: City):
    case_id, _ = city.offered()
    place(city, case_id)
    version = city.case(case_id).version
    place(city, case_id)
    assert city.case(case_id).version == version
    place(city, case_id, city.crew, "제3병원 본원")
    there = shown(city, case_id, city.control)["elsewhere"]
    assert isinstance(there, dict)
    assert there["hospital"] == "제3병원 본원"
    with city.record.read() as session:
        entry = (
            session.query(AuditEntry).where(AuditEntry.action == "case.elsewhere_corrected").one()
        )
    assert entry.details["before"] == [NAME, PHONE, WHY]
    sound(city)


def test_who_is_first_holds_the_case(city: City):
    case_id, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    with pytest.raises(AlreadyTaken):
        place(city, case_id)
    other, _ = city.offered()
    place(city, other)
    for room in city.rooms[:2]:
        with pytest.raises(AlreadyTaken):
            city.do(assigning.assign, city.settings, city.control, other, room, "because")
    sound(city)


def test_a_case_that_is_over_goes_nowhere(city: City):
    case_id, _ = city.offered()
    city.do(transport.cancel, city.crew, case_id, "called off")
    with pytest.raises((Conflict, IllegalTransition)):
        place(city, case_id)
    stranger = Actor(Role.CREW, "device:other", ambulance_id=city.rooms[0])
    with pytest.raises(NotFound):
        place(city, case_id, stranger)

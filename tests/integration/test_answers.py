"""Every pair of answers that can meet at one offer, and the one code that each pair has."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from broker import database
from broker.errors import (
    AlreadyDecided,
    AlreadyTaken,
    Conflict,
    GoldentimeError,
    IllegalTransition,
    Invalid,
    NotFound,
    OfferGone,
)
from broker.lifecycle import CaseStatus, DeclineReason, OfferStatus
from broker.record import Record
from broker.tables import Offer
from dispatch import access, offers, transport
from dispatch.offers import Decision
from tests.integration.city import City

ACCEPT, DELAY, REJECT = Decision.ACCEPT, Decision.ACCEPT_WITH_DELAY, Decision.REJECT
FULL = DeclineReason.NO_ER_BED


def answer(city: City, offer: Offer, decision: Decision) -> Offer:
    more = {
        ACCEPT: {},
        DELAY: {"delay_min": 20},
        REJECT: {"reason_code": FULL},
    }[decision]
    return city.decide(offer, decision, **more)


def refused(error: type[GoldentimeError], function, *args, **named) -> GoldentimeError:
    """The refusal, which must be exactly this class and carry no clinical data."""
    with pytest.raises(GoldentimeError) as caught:
        function(*args, **named)
    assert type(caught.value) is error, caught.value
    assert set(caught.value.extra) <= {"status", "offer_status", "reason", "offer_id", "case_id"}
    return caught.value


def withdraw(city: City, offer: Offer) -> Offer:
    return city.do(
        offers.withdraw, city.settings, city.er(offer.emergency_room_id), offer.id, FULL, None
    )


def take(city: City, offer: Offer) -> Offer:
    return city.do(offers.take, city.settings, city.crew, offer.id)


def pass_over(city: City, offer: Offer) -> Offer:
    return city.do(offers.pass_over, city.settings, city.crew, offer.id, None)


def cancel(city: City, case_id: UUID) -> None:
    city.do(transport.cancel, city.crew, case_id, "called off")


@pytest.mark.parametrize("decision", list(Decision))
def test_the_same_answer_twice_is_one(city: City, decision: Decision):
    case_id, (offer, *_) = city.offered()
    answer(city, offer, decision)
    heard = city.crew_heard()
    version = city.case(case_id).version
    assert answer(city, offer, decision).status.value == f"{decision}ed".replace(
        "acceptedwith", ""
    ).replace("accept_with_delayed", "accepted_with_delay")
    assert city.crew_heard() == heard
    assert city.case(case_id).version == version
    city.check()


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        (ACCEPT, REJECT, AlreadyDecided),
        (ACCEPT, DELAY, AlreadyDecided),
        (REJECT, ACCEPT, AlreadyDecided),
        (REJECT, DELAY, AlreadyDecided),
        (DELAY, ACCEPT, OfferStatus.ACCEPTED),
        (DELAY, REJECT, OfferStatus.REJECTED),
    ],
)
def test_another_answer_of_the_same_er(city: City, first, second, outcome):
    case_id, (offer, *_) = city.offered()
    answer(city, offer, first)
    if isinstance(outcome, OfferStatus):
        assert answer(city, offer, second).status is outcome
    else:
        refused(outcome, answer, city, offer, second)
    city.check()
    assert city.case(case_id).status in {CaseStatus.ASSIGNED, CaseStatus.OFFERING}


def test_another_delay_is_another_answer(city: City):
    _, (offer, *_) = city.offered()
    city.decide(offer, DELAY, delay_min=20)
    refused(AlreadyDecided, city.decide, offer, DELAY, delay_min=40)
    assert city.decide(offer, DELAY, delay_min=20).delay_min == 20


@pytest.mark.parametrize("decision", list(Decision))
@pytest.mark.parametrize(
    ("end", "error"),
    [("placed", AlreadyTaken), ("cancelled", OfferGone), ("expired", OfferGone)],
)
def test_an_answer_to_an_offer_that_has_ended(city: City, decision, end, error):
    case_id, (offer, other, *_) = city.offered()
    if end == "placed":
        answer(city, other, ACCEPT)
    elif end == "cancelled":
        cancel(city, case_id)
    else:
        city.let_pass(case_id, 10_000)
        city.advance(case_id)
        assert city.offers(case_id)[0].status is OfferStatus.EXPIRED
    before = city.case(case_id).version
    refused(error, answer, city, offer, decision)
    assert city.case(case_id).version == before
    city.check()


def test_a_loser_sees_nothing_of_the_case_any_more(city: City):
    case_id, (offer, other, *_) = city.offered()
    loser = city.er(offer.emergency_room_id)
    city.do(access.case, loser, case_id)
    answer(city, other, ACCEPT)
    refused(NotFound, city.do, access.case, loser, case_id)
    assert city.do(access.offer, loser, offer.id).status is OfferStatus.WITHDRAWN


def test_an_er_that_was_not_asked_knows_of_nothing(city: City):
    case_id, (offer, *_) = city.offered()
    stranger = city.er(city.rooms[9])
    refused(NotFound, city.do, offers.decide, city.settings, stranger, offer.id, ACCEPT)
    refused(NotFound, city.do, offers.mark_received, stranger, offer.id)
    refused(NotFound, city.do, access.case, stranger, case_id)
    refused(
        NotFound, city.do, offers.withdraw, city.settings, stranger, offer.id, FULL, None
    )  # fmt: skip


def test_another_crew_knows_of_nothing(city: City):
    case_id, (offer, *_) = city.offered()
    answer(city, offer, DELAY)
    other = City.found(city.record, rooms=0).crew
    refused(NotFound, city.do, offers.take, city.settings, other, offer.id)
    refused(NotFound, city.do, offers.pass_over, city.settings, other, offer.id, None)
    refused(NotFound, city.do, transport.cancel, other, case_id, "mischief")
    refused(NotFound, city.do, transport.depart, city.settings, other, case_id)


def test_only_the_holder_learns_who_the_patient_is(city: City):
    case_id, (offer, other, *_) = city.offered()
    holder = city.er(offer.emergency_room_id)
    with city.record.read() as session:
        assert not access.sees_identity(holder, access.holding_emergency_room(session, case_id))
    answer(city, offer, ACCEPT)
    with city.record.read() as session:
        held_by = access.holding_emergency_room(session, case_id)
    assert access.sees_identity(holder, held_by)
    assert not access.sees_identity(city.er(other.emergency_room_id), held_by)


@pytest.mark.parametrize(
    ("decision", "named", "field"),
    [
        (REJECT, {}, "reason_code"),
        (DELAY, {}, "delay_min"),
        (DELAY, {"delay_min": 0}, "delay_min"),
        (DELAY, {"delay_min": 241}, "delay_min"),
    ],
)
def test_an_answer_without_its_facts(city: City, decision, named, field):
    case_id, (offer, *_) = city.offered()
    with pytest.raises(Invalid) as caught:
        city.decide(offer, decision, **named)
    assert caught.value.extra["field"] == field
    assert city.offers(case_id)[0].status is OfferStatus.REQUESTED


def test_taking_a_delay(city: City):
    case_id, (offer, other, third) = city.offered()
    answer(city, offer, DELAY)
    assert city.case(case_id).status is CaseStatus.OFFERING
    answer(city, other, REJECT)
    assert take(city, offer).status is OfferStatus.ACCEPTED
    assert take(city, offer).status is OfferStatus.ACCEPTED
    case = city.case(case_id)
    assert case.status is CaseStatus.ACKNOWLEDGED
    assert city.offers(case_id)[0].delay_min == 20
    assert city.offers(case_id, OfferStatus.WITHDRAWN)[0].id == third.id
    assert city.crew_heard().count("case.assigned") == 1
    refused(AlreadyTaken, answer, city, third, ACCEPT)
    city.check()


def test_taking_what_nobody_promised(city: City):
    case_id, (offer, other, *_) = city.offered()
    refused(Conflict, take, city, offer)
    answer(city, offer, DELAY)
    answer(city, other, ACCEPT)
    refused(AlreadyTaken, take, city, offer)
    cancel(city, case_id)
    refused(OfferGone, take, city, offer)


def test_passing_a_delay(city: City):
    case_id, (offer, other, *_) = city.offered()
    answer(city, offer, DELAY)
    assert pass_over(city, offer).status is OfferStatus.WITHDRAWN
    assert pass_over(city, offer).status is OfferStatus.WITHDRAWN
    refused(OfferGone, answer, city, offer, ACCEPT)
    refused(OfferGone, take, city, offer)
    refused(Conflict, pass_over, city, other)
    assert city.case(case_id).status is CaseStatus.OFFERING
    city.check()


@pytest.mark.parametrize("give_back", [withdraw, pass_over])
def test_giving_an_accepted_case_back_starts_the_search_again(city: City, give_back):
    case_id, (offer, *_) = city.offered()
    answer(city, offer, ACCEPT)
    city.do(transport.depart, city.settings, city.crew, case_id)
    give_back(city, offer)
    give_back(city, offer)
    case = city.case(case_id)
    assert case.status is CaseStatus.OFFERING
    assert case.assigned_at is None
    assert case.acknowledged_at is None
    new = city.offers(case_id, OfferStatus.REQUESTED)
    assert [o.emergency_room_id for o in new] == list(city.rooms[3:6])
    assert city.er_heard(offer.emergency_room_id)[-1] == "offer.withdrawn"
    refused(OfferGone, answer, city, offer, ACCEPT)
    refused(IllegalTransition, city.do, transport.acknowledge, city.settings, city.crew, case_id)
    answer(city, new[0], ACCEPT)
    assert city.case(case_id).status is CaseStatus.ASSIGNED
    city.check()


@pytest.mark.parametrize("give_back", [withdraw, pass_over])
def test_who_gave_back_is_not_asked_again_at_once(record, give_back):
    city = City.found(record, rooms=3)
    case_id, (offer, *_) = city.offered()
    answer(city, offer, ACCEPT)
    give_back(city, offer)
    asked = {o.emergency_room_id for o in city.offers(case_id, OfferStatus.REQUESTED)}
    assert asked == set(city.rooms) - {offer.emergency_room_id}


def test_giving_back_when_nobody_else_is_left_alarms_at_once(record):
    city = City.found(record, rooms=1)
    case_id, (offer,) = city.offered()
    answer(city, offer, ACCEPT)
    withdraw(city, offer)
    city.advance(case_id)
    assert city.case(case_id).status is CaseStatus.UNPLACED
    city.check()


def test_withdrawing_what_is_not_held(city: City):
    case_id, (offer, other, third) = city.offered()
    refused(Conflict, withdraw, city, offer)
    answer(city, offer, REJECT)
    refused(AlreadyDecided, withdraw, city, offer)
    answer(city, other, ACCEPT)
    refused(AlreadyTaken, withdraw, city, third)
    cancel(city, case_id)
    refused(IllegalTransition, withdraw, city, other)
    city.check()


def test_each_no_is_replaced_by_another_er_so_that_three_are_asked_at_any_time(city: City):
    case_id, opened = city.offered()
    for number, offer in enumerate(opened, start=3):
        answer(city, offer, REJECT)
        new = city.offers(case_id)[number]
        assert (new.emergency_room_id, new.round, new.rank) == (city.rooms[number], 1, number + 1)
        assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 3
    assert len(city.offers(case_id)) == 6
    due_at = city.case(case_id).deadline_at
    city.advance(case_id)  # no deadline of the round is due
    assert city.case(case_id).deadline_at == due_at
    city.check()


def test_what_a_replacement_says_of_itself_is_the_set_that_it_joins(city: City):
    _, (offer, *_) = city.offered()
    answer(city, offer, REJECT)
    case = city.case(offer.case_id)
    fourth = city.offers(case.id)[3]
    assert 0 < fourth.explanation["set"]["yes_probability"] < 1
    assert fourth.explanation["yes_probability"] < fourth.explanation["set"]["yes_probability"]


def test_a_passed_delay_is_a_no_and_replaced(city: City):
    case_id, opened = city.offered()
    answer(city, opened[0], DELAY)
    assert len(city.offers(case_id)) == 3  # the crew may still take it
    pass_over(city, opened[0])
    pass_over(city, opened[0])
    assert [o.emergency_room_id for o in city.offers(case_id)][3:] == [city.rooms[3]]
    city.check()


def test_as_many_stay_asked_as_were(city: City):
    """Three, and six once silence has brought the next three."""
    case_id, opened = city.offered()
    city.let_pass(case_id, 120)
    for _ in range(2):
        city.advance(case_id)
    assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 6
    for number, offer in enumerate(opened, start=7):
        answer(city, offer, REJECT)
        assert len(city.offers(case_id)) == number
        assert len(city.offers(case_id, OfferStatus.REQUESTED)) == 6
        assert city.offers(case_id)[-1].round == 2
    city.check()


def test_where_it_is_off_the_next_three_are_asked_when_the_last_one_declines(record: Record):
    record.settings = replace(record.settings, replace_declined=False)
    city = City.found(record)
    case_id, opened = city.offered()
    for offer in opened:
        assert len(city.offers(case_id)) == 3
        answer(city, offer, REJECT)
    city.advance(case_id)
    new = city.offers(case_id, OfferStatus.REQUESTED)
    assert [o.emergency_room_id for o in new] == list(city.rooms[3:6])
    assert {o.round for o in new} == {2}
    due = city.case(case_id)
    city.advance(case_id)  # a second bell
    assert city.case(case_id).version == due.version


def test_a_case_whose_last_open_offer_was_declined_is_due_now(record: Record):
    """Otherwise neither relay nor upkeep looks before the reminder would be due."""
    city = City.found(record, rooms=3)
    case_id, opened = city.offered()
    for offer in opened[:2]:
        answer(city, offer, REJECT)
    with city.record.read() as session:
        assert city.case(case_id).deadline_at > database.now(session)
    answer(city, opened[2], REJECT)
    with city.record.read() as session:
        assert city.case(case_id).deadline_at <= database.now(session)


def test_a_passed_delay_that_was_the_last_hope_makes_the_case_due_now(record: Record):
    city = City.found(record, rooms=3)
    case_id, opened = city.offered()
    for offer in opened[:2]:
        answer(city, offer, REJECT)
    answer(city, opened[2], DELAY)
    pass_over(city, opened[2])
    with city.record.read() as session:
        assert city.case(case_id).deadline_at <= database.now(session)

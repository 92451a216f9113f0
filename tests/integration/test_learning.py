"""How ERs answered is counted once, fades, and comes back in the ranking."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest

from broker import database
from broker.lifecycle import DeclineReason, DirectiveKind
from broker.tables import AnswerCount, AnswerCountProgress, Case, EmergencyRoom
from dispatch import asking, assigning, behaviour, learning, offers, transport
from dispatch.behaviour import ALL_HOURS, Counts
from dispatch.offers import Decision
from tests.integration.city import City


def count_all(city: City) -> int:
    """Count until nothing is left; returns the units it took."""
    units = 1
    while city.do(learning.count, city.settings):
        units += 1
        assert units < 50
    return units


def totals(city: City) -> dict[int, Counts]:
    with city.record.read() as session:
        rows = session.query(AnswerCount).filter_by(hour_of_week=ALL_HOURS).all()
        return {
            city.rooms.index(r.emergency_room_id): Counts(
                r.offers, r.answered, r.accepted, r.log_answer_s
            )
            for r in rows
        }


def test_each_kind_of_end_is_counted_once(city: City):
    case_id, (first, second, third) = city.offered()
    city.decide(first, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    city.decide(second, Decision.ACCEPT)
    assert count_all(city) == 1
    assert totals(city) == {}, "offers of a moment ago may still be answered"
    city.let_pass(case_id, 7200)
    count_all(city)
    found = totals(city)
    assert (found[0].offers, found[0].answered, found[0].accepted) == (1, 1, 0)
    assert (found[1].offers, found[1].answered, found[1].accepted) == (1, 1, 1)
    assert found[2].answered == 0
    assert found[2].offers < 0.5, "it was taken back at once: that says little"
    count_all(city)
    assert totals(city) == found
    hours = {third.offered_at.weekday() * 24 + third.offered_at.hour}
    with city.record.read() as session:
        assert len({r.hour_of_week for r in session.query(AnswerCount)} - {ALL_HOURS}) == len(hours)


def test_an_er_that_gives_back_has_not_accepted(city: City):
    case_id, (first, *_) = city.offered()
    city.decide(first, Decision.ACCEPT)
    er = city.er(first.emergency_room_id)
    city.do(offers.withdraw, city.settings, er, first.id, DeclineReason.NO_SPECIALIST, None)
    city.let_pass(case_id, 7200)
    count_all(city)
    assert totals(city)[0].answered == 1
    assert totals(city)[0].accepted == 0


def test_two_that_count_for_the_first_time_at_once_count_once(city: City):
    case_id, _ = city.offered()
    city.let_pass(case_id, 7200)
    with ThreadPoolExecutor(1) as other:
        with city.record.write() as session:
            learning.count(session, city.settings)
            waits = other.submit(city.do, learning.count, city.settings)
            time.sleep(0.5)  # it stands at the same first row
        waits.result()
    count_all(city)
    assert max(counts.offers for counts in totals(city).values()) <= 1


def test_what_the_control_room_did_says_nothing_of_an_er(city: City):
    case_id, (first, second, _) = city.offered()
    veto = DirectiveKind.VETO
    city.do(
        assigning.direct, city.settings, city.control, case_id, first.emergency_room_id, veto, "no"
    )
    city.do(assigning.assign, city.settings, city.control, case_id, second.emergency_room_id, "yes")
    city.let_pass(case_id, 7200)
    count_all(city)
    found = totals(city)
    assert found.get(0, Counts()) == Counts()
    assert found.get(1, Counts()) == Counts()


def test_a_cancelled_case_is_no_long_silence(city: City):
    case_id, _ = city.offered()
    city.do(transport.cancel, city.control, case_id, "test")
    city.let_pass(case_id, 7200)
    count_all(city)
    assert all(counts.offers < 0.5 for counts in totals(city).values())


def test_silence_moves_the_er_back_in_the_next_choice(city: City):
    for _ in range(12):
        case_id, opened = city.offered()
        silent = [o for o in opened if o.emergency_room_id == city.rooms[0]]
        for offer in opened:
            if offer not in silent:
                city.decide(offer, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
        city.let_pass(case_id, 7200)
        city.advance(case_id)
        city.do(transport.cancel, city.control, case_id, "test")
    count_all(city)
    with city.record.read() as session:
        found = learning.read(session, database.now(session))
    assert found[city.rooms[0]].answer_rate < 0.45 < found[city.rooms[1]].answer_rate
    assert city.rooms[-1] not in found
    _, opened = city.offered()
    mute = [o for o in opened if o.emergency_room_id == city.rooms[0]]
    assert len(opened) == 3
    for offer in mute:  # asked all the same, and the offer says why it stands where it stands
        assert offer.explanation["yes_probability"] < 0.2


def test_counts_fade(city: City):
    now_at = None
    with city.record.write() as session:
        now_at = database.now(session)
        for hour in (ALL_HOURS, behaviour.hour_of_week(now_at)):
            session.add(
                AnswerCount(
                    hour_of_week=hour,
                    emergency_room_id=city.rooms[0],
                    offers=400,
                    answered=4,
                    accepted=1,
                    log_answer_s=10,
                    as_of_at=now_at - timedelta(days=600),
                )
            )
    with city.record.read() as session:
        rate = learning.read(session, now_at)[city.rooms[0]].answer_rate
    assert rate == pytest.approx(behaviour.PRIOR_ANSWER_RATE, abs=0.04)


def test_a_year_is_counted_in_small_steps(city: City):
    for days in (300, 200, 0.2):
        case_id, _ = city.offered()
        city.let_pass(case_id, days * 86400)
        city.do(transport.cancel, city.control, case_id, "test")
    assert count_all(city) == 3
    with city.record.read() as session:
        progress = session.get_one(AnswerCountProgress, 1)
        assert database.now(session) - progress.counted_until_at < timedelta(hours=6)


def heard_lately(city: City, room: UUID, case_id: UUID) -> list[DeclineReason | None]:
    with city.record.read() as session:
        found = learning.lately(session, database.now(session), case_id)
        return [answer.reason for answer in found.get(room, ())]


def reasons(city: City, case_id: UUID, room: UUID) -> set[str]:
    """Why an ER would stand where it stands for a case now."""
    with city.record.read() as session:
        case, row = session.get_one(Case, case_id), session.get_one(EmergencyRoom, room)
        now = database.now(session)
        facts = asking.facts(session, case, [row], now)
        (ranked,) = asking.rank(session, city.settings, case, facts, now)
        return {reason.code.value for reason in ranked.reasons}


def test_a_refusal_of_the_last_hour_weighs_in_the_next_case_and_no_longer(city: City):
    first_id, first = city.offered()
    for offer in first:
        city.decide(offer, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    second_id, second = city.offered()
    asked = {offer.emergency_room_id for offer in second}
    assert asked - set(city.rooms[:3]), "one that has not refused goes before"
    assert "refused_lately" in reasons(city, second_id, city.rooms[0])
    assert "refused_lately" not in reasons(city, first_id, city.rooms[0]), "it knows its own"
    city.let_pass(first_id, 3700)
    assert "refused_lately" not in reasons(city, second_id, city.rooms[0])
    _, third = city.offered()
    assert [offer.emergency_room_id for offer in third] == list(city.rooms[:3])


def test_of_the_last_hour_only_what_the_er_itself_answered_counts(city: City):
    case_id, (offer, *_) = city.offered()
    room = offer.emergency_room_id
    city.decide(offer, Decision.REJECT, reason_code=DeclineReason.NO_ER_BED)
    assigned_id, _ = city.offered()
    assert heard_lately(city, room, assigned_id) == [DeclineReason.NO_ER_BED]
    city.do(assigning.assign, city.settings, city.control, assigned_id, room, "agreed")
    other_id, _ = city.offered()
    assert heard_lately(city, room, other_id) == [DeclineReason.NO_ER_BED]
    city.do(
        *(assigning.direct, city.settings, city.control, other_id, room),
        *(DirectiveKind.PIN, "promised by telephone"),
    )
    pinned = next(o for o in city.offers(other_id) if o.emergency_room_id == room)
    city.decide(pinned, Decision.ACCEPT)
    assert heard_lately(city, room, case_id) == [None]
    last_id, _ = city.offered()
    assert set(heard_lately(city, room, last_id)) == {DeclineReason.NO_ER_BED, None}
    assert "refused_lately" not in reasons(city, last_id, room), "a yes shows that there was room"

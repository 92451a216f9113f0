"""How ERs answered is counted once, fades, and comes back in the ranking."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from broker import database
from broker.lifecycle import DeclineReason, DirectiveKind
from broker.tables import AnswerCount, AnswerCountProgress
from dispatch import assigning, behaviour, learning, offers, transport
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

"""Shrinkage of observed answers: few mean the prior, many win, old ones fade."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings, strategies as st

from dispatch import behaviour
from dispatch.behaviour import PRIOR, Counts, answered, estimate, hour_of_week, silent

few = settings(max_examples=40, deadline=None)
counts = st.builds(
    lambda offers, a, y, s: Counts(offers, offers * a, offers * a * y, offers * a * s),
    st.floats(0, 1e5),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 8),
)


def test_nobody_asked_is_the_prior() -> None:
    assert PRIOR.answer_rate == behaviour.PRIOR_ANSWER_RATE
    assert PRIOR.accept_rate == behaviour.PRIOR_ACCEPT_RATE
    assert PRIOR.median_answer_s == pytest.approx(behaviour.PRIOR_ANSWER_S)
    assert PRIOR.offers_observed == 0


def test_a_few_silent_offers_move_the_rate_a_little_and_many_a_lot() -> None:
    rates = [estimate(Counts(), Counts(offers=n)).answer_rate for n in (0, 2, 20, 200, 2000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[1] > 0.5  # two silent offers: hardly known
    assert rates[2] == pytest.approx(0.3)  # as many as the prior weighs: half way
    assert rates[-1] < 0.03
    assert rates[-1] >= behaviour.LEAST_RATE  # and still not impossible


def test_the_hour_is_shrunk_to_the_whole_record_not_to_the_prior() -> None:
    record = Counts(1000, 900, 450)
    unseen_hour = estimate(Counts(), record)
    assert unseen_hour.answer_rate == pytest.approx(0.9, abs=0.01)
    night = estimate(Counts(40, 4, 1), record)
    assert night.answer_rate == pytest.approx((4 + 10 * unseen_hour.answer_rate) / 50)
    assert night.answer_rate < 0.3


def test_the_median_of_the_answers() -> None:
    slow = sum((answered(240, True) for _ in range(300)), Counts())
    assert estimate(Counts(), slow).median_answer_s == pytest.approx(240, rel=0.05)
    assert estimate(Counts(), answered(240, True)).median_answer_s < 80


def test_an_offer_taken_back_early_says_little() -> None:
    assert silent(0).offers == 0
    assert silent(60).offers == pytest.approx(0.5)
    assert silent(3600).offers == pytest.approx(1)
    assert silent(-5).offers == 0
    assert answered(-5, False) == Counts(1, 1, 0, 0)


def test_old_offers_fade_to_the_prior() -> None:
    bad = Counts(200, 2, 0)
    now, season, years = (estimate(Counts(), bad.faded(days)) for days in (0, 60, 2000))
    assert now.answer_rate < season.answer_rate < years.answer_rate
    assert years.answer_rate == pytest.approx(PRIOR.answer_rate, abs=1e-6)
    assert bad.faded(60).offers == 100
    assert bad.faded(-1) == bad  # a clock set back doubles nothing


def test_the_hour_of_the_week_is_utc() -> None:
    monday = datetime(2026, 11, 23, tzinfo=UTC)
    assert hour_of_week(monday) == 0
    assert hour_of_week(monday - timedelta(hours=1)) == 167
    seoul = monday.astimezone(timezone(timedelta(hours=9)))
    assert hour_of_week(seoul.astimezone(UTC)) == 0
    assert {hour_of_week(monday + timedelta(hours=h)) for h in range(168)} == set(range(168))


@few
@given(counts, counts)
def test_rates_stay_between_the_record_and_the_prior(hour: Counts, record: Counts) -> None:
    found = estimate(hour, record)
    for rate in (found.answer_rate, found.accept_rate):
        assert behaviour.LEAST_RATE <= rate <= 1 - behaviour.LEAST_RATE
    assert found.median_answer_s >= 1

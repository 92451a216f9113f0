"""When an ambulance seems to have arrived, and above all when it does not."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings, strategies as st

from dispatch.arrival import AWAY_M, NEAR_M, STAYED, Approach

BEGAN = datetime(2026, 11, 24, 12, tzinfo=UTC)
few = settings(max_examples=60, deadline=None)


def after(*seen: tuple[int, float]) -> Approach:
    """What is made of positions: (seconds from the beginning, metres from the ER)."""
    approach = Approach("er")
    for seconds, metres in seen:
        approach = approach.seen(metres, BEGAN + timedelta(seconds=seconds))
    return approach


COMES = [(0, 3000.0), (20, 2500.0), (60, 900.0)]


def test_who_comes_and_stays_has_arrived():
    here = after(*COMES, (100, 120), (130, 40), (160, 30))
    assert here.arrived_at == BEGAN + timedelta(seconds=160)
    later = here.seen(35, BEGAN + timedelta(seconds=220))
    assert later.arrived_at == here.arrived_at  # asked once


@pytest.mark.parametrize(
    "seen",
    [
        [(0, 100), (30, 100), (60, 100), (120, 100), (600, 100)],  # parked next door all the time
        [(0, 100), (30, 5000), (60, 100), (90, 100), (180, 100)],  # the same, and one jump
        [(0, 100), (30, 900), (60, 300), (90, 900), (120, 100), (200, 100)],  # jumps, never a row
        [*COMES, (100, 50), (120, 300), (150, 40), (180, 60)],  # passes by, comes back
        [*COMES, (100, 50)],  # one position
        [*COMES, (100, 50), (130, 60)],  # not long enough
        [*COMES, (100, 50), (500, 60)],  # silent in between: who knows
        [*COMES, (100, 201), (200, 201)],  # not near enough
        [(0, 3000), (20, 100), (90, 100)],  # one position elsewhere proves no way
        [*COMES, (100, 50), (100, 50), (99, 50)],  # the same moment, an older one
    ],
)
def test_what_is_no_arrival(seen: list[tuple[int, float]]):
    assert after(*seen).arrived_at is None


def test_who_leaves_again_is_asked_again_after_coming_back():
    here = after(*COMES, (100, 50), (170, 50))
    assert here.arrived_at
    jumped = here.seen(5000, BEGAN + timedelta(seconds=190))
    assert jumped.arrived_at  # one jump takes nothing back
    left = jumped.seen(5000, BEGAN + timedelta(seconds=220))
    assert left.arrived_at is None
    back = left.seen(90, BEGAN + timedelta(seconds=400)).seen(90, BEGAN + timedelta(seconds=470))
    assert back.arrived_at == BEGAN + timedelta(seconds=470)


ways = st.lists(st.tuples(st.integers(1, 400), st.floats(0, 5000)), max_size=30)


@few
@given(ways)
def test_it_is_never_said_before_the_stay(steps: list[tuple[int, float]]):
    approach, at = Approach("er"), BEGAN
    near_since: datetime | None = None
    ever_away = False
    for seconds, metres in steps:
        at += timedelta(seconds=seconds)
        before, approach = approach, approach.seen(metres, at)
        near_since = (near_since or at) if metres <= NEAR_M else None
        ever_away |= metres >= AWAY_M
        if approach.arrived_at and not before.arrived_at:
            assert near_since
            assert at - near_since >= STAYED
            assert ever_away
    assert Approach.of_json(json.loads(json.dumps(approach.as_json()))) == approach

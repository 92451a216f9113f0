"""Which refusals of the last hour say something about the next patient, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from broker.lifecycle import DeclineReason
from dispatch import refusals
from dispatch.refusals import Answer
from dispatch.triage import Capability

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
ICU = frozenset({Capability.GENERAL_ICU, Capability.CT})
SURGERY = frozenset({Capability.THORACIC_SURGERY})
NOTHING: frozenset[Capability] = frozenset()
ISOLATION = frozenset({Capability.NEGATIVE_PRESSURE_ROOM})


def said(
    min_ago: float, reason: DeclineReason | None, needs: frozenset[Capability] = NOTHING
) -> Answer:
    return Answer(NOW - timedelta(minutes=min_ago), reason, needs)


@pytest.mark.parametrize(
    ("reason", "needed_then", "needed_now", "counts"),
    [
        (DeclineReason.NO_ER_BED, ICU, NOTHING, True),
        (DeclineReason.STAFF_OCCUPIED, NOTHING, SURGERY, True),
        (DeclineReason.MASS_CASUALTY, NOTHING, NOTHING, True),
        (DeclineReason.NO_INTENSIVE_CARE_BED, ICU, ICU, True),
        (DeclineReason.NO_INTENSIVE_CARE_BED, NOTHING, ICU, True),
        (DeclineReason.NO_INTENSIVE_CARE_BED, ICU, SURGERY, False),
        (DeclineReason.ISOLATION_FULL, NOTHING, ISOLATION, True),
        (DeclineReason.ISOLATION_FULL, ISOLATION, ICU, False),
        (DeclineReason.NO_SPECIALIST, SURGERY, SURGERY, True),
        (DeclineReason.NO_SPECIALIST, SURGERY, ICU, False),
        (DeclineReason.NO_SPECIALIST, NOTHING, NOTHING, False),
        (DeclineReason.NO_EQUIPMENT, ICU, frozenset({Capability.CT}), True),
        (DeclineReason.OTHER, ICU, ICU, False),
    ],
)
def test_what_is_comparable(
    reason: DeclineReason,
    needed_then: frozenset[Capability],
    needed_now: frozenset[Capability],
    counts: bool,
) -> None:
    found = refusals.ages_min([said(5, reason, needed_then)], needed_now, NOW)
    assert bool(found) is counts


def test_a_yes_wipes_out_what_was_before_it_and_an_hour_is_enough() -> None:
    full = DeclineReason.NO_ER_BED
    answers = [said(50, full), said(10, full), said(70, full), said(2, full)]
    assert refusals.ages_min(answers, NOTHING, NOW) == (2, 10, 50)
    assert refusals.ages_min([*answers, said(5, None)], NOTHING, NOW) == (2,)
    assert refusals.ages_min([*answers, said(1, None)], NOTHING, NOW) == ()
    assert refusals.ages_min([said(-3, full)], NOTHING, NOW) == (0,)  # a clock that was turned


def test_it_weighs_less_each_minute_and_never_more_than_a_few() -> None:
    rows: list[tuple[float, ...]] = [(), (0,), (refusals.HALF_LIFE_MIN,), (0, 0, 0), (10, 50), ()]
    found = list(refusals.weights(rows))
    assert found[:4] == [0, 1, pytest.approx(0.5), refusals.MOST]
    assert found[4] == pytest.approx(0.5 ** (10 / 20) + 0.5 ** (50 / 20))
    assert found[5] == 0
    assert list(refusals.weights([])) == []

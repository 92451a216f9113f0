"""What was short, when: the reasons of "cannot take now", by reason and hour.

Sums over all ERs on purpose: no name and no id of an ER goes in or out. A list of who says no most
often would teach ERs to say nothing, or something else.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import database
from broker.lifecycle import DeclineReason
from broker.tables import ElsewherePlacement, Offer

MOST_HOURS = 24 * 31


@dataclass(frozen=True)
class Hour:
    """One hour from `begins_at` on."""

    begins_at: datetime
    asked: int
    answered_no: int
    by_reason: dict[str, int]


@dataclass(frozen=True)
class Shortages:
    """The last hours: totals by reason (every reason, also those at 0), and hour by hour."""

    since_at: datetime
    asked: int
    answered_no: int
    elsewhere: int
    """Cases that a hospital outside took by telephone: asking here brought nothing in time."""
    by_reason: dict[str, int]
    hours: tuple[Hour, ...]


def of_last(session: Session, hours: int) -> Shortages:
    """Offers of the last whole hours and this one, counted by the hour in which they were made.

    A case that an ER gave back with a reason counts like a no.
    """
    now = database.now(session)
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    since = this_hour - timedelta(hours=hours - 1)
    asked: Counter[datetime] = Counter()
    reasons: dict[datetime, Counter[str]] = {}
    rows = session.execute(
        select(Offer.offered_at, Offer.reason_code)
        .where(Offer.offered_at >= since, Offer.assigned_by.is_(None))
        .execution_options(yield_per=1000)
    )
    for offered_at, reason in rows:
        hour = offered_at.replace(minute=0, second=0, microsecond=0)
        asked[hour] += 1
        if reason is not None:
            reasons.setdefault(hour, Counter())[reason.value] += 1
    every = [since + timedelta(hours=number) for number in range(hours)]
    by_hour = tuple(
        Hour(
            begins_at=hour,
            asked=asked[hour],
            answered_no=sum(reasons.get(hour, Counter()).values()),
            by_reason=dict(reasons.get(hour, Counter())),
        )
        for hour in every
    )
    outside = session.scalar(
        select(func.count())
        .select_from(ElsewherePlacement)
        .where(ElsewherePlacement.recorded_at >= since, ElsewherePlacement.ended_at.is_(None))
    )
    total = {
        reason.value: sum(hour.by_reason.get(reason.value, 0) for hour in by_hour)
        for reason in DeclineReason
    }
    return Shortages(
        since_at=since,
        asked=sum(hour.asked for hour in by_hour),
        answered_no=sum(total.values()),
        elsewhere=outside or 0,
        by_reason=total,
        hours=by_hour,
    )

"""The board's figures over time: a sample per minute, folded into hours after some days.

Beside the minutes, each stretch that a point of a longer chart shows is folded once when it is
over, so that a week is 336 rows to read instead of thousands. Kept in the record, so that charts
survive a restart. Whoever writes the row of a minute also counts the histograms on; its key is
unique, so two at once write one sample and count once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from broker import board, canary, database, metrics, stages
from broker.lifecycle import CaseStatus
from broker.tables import Alarm, Sample

MINUTE_S, HOUR_S = 60, 3600
CATCH_UP = timedelta(hours=6)
"""After a longer silence the histograms go on from here."""
KEEP_HOURS = timedelta(days=400)
SETTLE = timedelta(seconds=5)
"""A row may be committed this long after the time that it carries."""


class Fold(StrEnum):
    """How several samples become one."""

    MAX = "max"
    """Depths, ages, waits: a peak must not disappear."""
    MEAN = "mean"
    """Rates."""


SERIES: dict[str, Fold] = {
    "weighted_min": Fold.MAX,
    "waiting": Fold.MAX,
    "unplaced": Fold.MAX,
    "oldest_wait_s": Fold.MAX,
    "received_per_min": Fold.MEAN,
    "assigned_per_min": Fold.MEAN,
    "readings_per_min": Fold.MEAN,
    "answer_rate": Fold.MEAN,
    "alarms": Fold.MAX,
    "dead_letters": Fold.MAX,
    **{
        f"{queue}_{figure}": Fold.MAX
        for queue in ("classify", "detect", "dispatch")
        for figure in ("depth", "oldest_s", "canary_s")
    },
    **{f"{stage}_p95_s": Fold.MAX for stage in stages.Stage},
}
"""Every figure that is kept over time."""


@dataclass(frozen=True)
class Range:
    """A stretch of time that a chart shows, and how finely."""

    length: timedelta
    step_s: int


RANGES = {
    "1h": Range(timedelta(hours=1), 60),
    "24h": Range(timedelta(hours=24), 300),
    "7d": Range(timedelta(days=7), 1800),
}
"""At most 340 points each: a phone must draw them."""
FOLDED = {
    range_.step_s: range_.length + timedelta(days=1)
    for range_ in RANGES.values()
    if range_.step_s > MINUTE_S
}
"""Spans that are folded beside the minutes, and how long each is kept."""


def due(session: Session) -> datetime | None:
    """The minute that nobody has sampled yet, or None."""
    minute = _floor(database.now(session), MINUTE_S)
    last = session.scalar(select(func.max(Sample.at)).where(Sample.span_s == MINUTE_S))
    return None if last is not None and last >= minute else minute


def take(session: Session, minute: datetime, figures: Mapping[str, float | None]) -> bool:
    """Write the sample of a minute and count the histograms on; False when somebody else did."""
    last = session.scalar(select(func.max(Sample.at)).where(Sample.at < minute))
    won = session.scalar(
        database.insert(session, Sample)
        .values(span_s=MINUTE_S, at=minute, figures=_rounded(figures))
        .on_conflict_do_nothing()
        .returning(Sample.span_s)
    )
    if won is None:
        return False
    since = max(last or minute - timedelta(seconds=MINUTE_S), minute - CATCH_UP)
    stages.count_on(session, since - SETTLE, minute - SETTLE)
    for span_s, keep in FOLDED.items():
        if _floor(minute, span_s) == minute:
            _write_folded(session, span_s, minute - timedelta(seconds=span_s))
            session.execute(
                delete(Sample).where(Sample.span_s == span_s, Sample.at < minute - keep)
            )
    return True


def figures_now(session: Session, bells: Mapping[str, int] | None) -> dict[str, float | None]:
    """What a sample holds, now."""
    cases = board.live(session)
    waiting = [case for case in cases if case["why"]]
    rates = board.answer_rates(session)
    ended = sum(rate["ended"] for rate in rates)
    found: dict[str, float | None] = {
        "weighted_min": sum(case["weighted_min"] for case in waiting),
        "waiting": len(waiting),
        "unplaced": sum(case["status"] is CaseStatus.UNPLACED for case in waiting),
        "oldest_wait_s": max((case["waits_s"] for case in waiting), default=0.0),
        **board.throughput(session),
        "answer_rate": sum(r["answered"] for r in rates) / ended if ended else None,
        "alarms": session.scalar(
            select(func.count()).select_from(Alarm).where(Alarm.closed_at.is_(None))
        ),
        "dead_letters": 0.0,
    }
    flights = canary.flights(session)
    for queue in metrics.queues(session, bells):
        kind = queue["kind"]
        flight = flights.get(kind)
        found[f"{kind}_depth"] = queue["pending"] + queue["running"]
        found[f"{kind}_oldest_s"] = queue["oldest_pending_s"] or 0.0
        found[f"{kind}_canary_s"] = flight.roundtrip_s if flight else None
        found["dead_letters"] = (found["dead_letters"] or 0.0) + queue["dead"]
    now = database.now(session)
    for stage in stages.Stage:
        ended_now = stages.took(session, stage, now - timedelta(minutes=5), now)
        found[f"{stage}_p95_s"] = stages.percentiles(t.seconds for t in ended_now)["p95_s"]
    return found


def charts(session: Session, name: str) -> dict[str, Any]:
    """A range's points for every series: times in seconds since 1970, and one list per series.

    A stretch without samples holds None: nobody looked, which is not the same as nothing.
    """
    range_ = RANGES[name]
    now = database.now(session)
    end = _floor(now, range_.step_s)
    slots = int(range_.length.total_seconds()) // range_.step_s
    start = end - timedelta(seconds=range_.step_s * (slots - 1))
    by_slot: list[list[Mapping[str, Any]]] = [[] for _ in range(slots)]

    def read(first_slot: int, end_slot: int, *spans: int) -> None:
        since = start + timedelta(seconds=range_.step_s * first_slot)
        until = start + timedelta(seconds=range_.step_s * end_slot)
        rows = session.execute(
            select(Sample.span_s, Sample.at, Sample.figures)
            .where(
                Sample.span_s.in_(spans),
                Sample.at > since - timedelta(seconds=max(spans)),  # an hour that began before
                Sample.at < until,
            )
            .order_by(Sample.at)
        )
        for span_s, at, figures in rows:
            first = (at - start) // timedelta(seconds=range_.step_s)
            last = first + max(1, span_s // range_.step_s)
            for slot in range(max(first, first_slot), min(end_slot, last)):
                by_slot[slot].append(figures)

    if range_.step_s in FOLDED:
        read(0, slots, range_.step_s)
    # What is not folded (yet): the stretch that is under way, and any in which nobody folded.
    bare = [slot for slot in range(slots) if not by_slot[slot]]
    for _, run in groupby(enumerate(bare), key=lambda pair: pair[1] - pair[0]):
        missing = [slot for _, slot in run]
        read(missing[0], missing[-1] + 1, MINUTE_S, HOUR_S)
    begin_s = int(start.timestamp())
    return {
        "range": name,
        "step_s": range_.step_s,
        "at_s": [begin_s + range_.step_s * slot for slot in range(slots)],
        "series": {
            key: [fold([row.get(key) for row in slot], how) for slot in by_slot]
            for key, how in SERIES.items()
        },
    }


def fold(values: Sequence[float | None], how: Fold) -> float | None:
    """Several samples of a series as one; None when there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if how is Fold.MAX else round(sum(known) / len(known), 4)


def thin_due(session: Session, days: int) -> datetime | None:
    """The oldest hour whose minutes are to be folded, or None."""
    oldest = session.scalar(select(func.min(Sample.at)).where(Sample.span_s == MINUTE_S))
    before = _floor(database.now(session) - timedelta(days=days), HOUR_S)
    return _floor(oldest, HOUR_S) if oldest is not None and oldest < before else None


def thin(session: Session, hour: datetime) -> None:
    """Fold the minutes of one hour into one row; a second call changes nothing."""
    if not _write_folded(session, HOUR_S, hour):
        return
    session.execute(
        delete(Sample).where(
            Sample.span_s == MINUTE_S,
            Sample.at >= hour,
            Sample.at < hour + timedelta(seconds=HOUR_S),
        )
    )
    session.execute(delete(Sample).where(Sample.at < hour - KEEP_HOURS))


def _write_folded(session: Session, span_s: int, begin: datetime) -> bool:
    """Fold the minutes of a stretch into one row beside them; False when there are none."""
    rows = session.scalars(
        select(Sample.figures).where(
            Sample.span_s == MINUTE_S,
            Sample.at >= begin,
            Sample.at < begin + timedelta(seconds=span_s),
        )
    ).all()
    if not rows:
        return False
    figures = {key: fold([row.get(key) for row in rows], how) for key, how in SERIES.items()}
    session.execute(
        database.insert(session, Sample)
        .values(span_s=span_s, at=begin, figures=_rounded(figures))
        .on_conflict_do_nothing()
    )
    return True


def _rounded(figures: Mapping[str, float | None]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in figures.items() if value is not None}


def _floor(at: datetime, step_s: int) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // step_s * step_s, UTC)

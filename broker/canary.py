"""The canary: one row per queue and minute that a worker must come back to.

It travels as any reading does: a row that is due, the relay's bell, a worker's child. It belongs to
no case and leaves no finding (docs/decisions). Here is only its record; what a worker does when it
is asked to sing is workers/singing.py's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, delete, func, select, update
from sqlalchemy.orm import Session

from broker import database, pauses
from broker.queues import Queue
from broker.tables import Canary

KEEP = timedelta(hours=6)
"""Older ones are in the samples."""
RING_WITHIN = timedelta(seconds=60)
"""A canary that the relay could not ring for by then is lost."""


@dataclass(frozen=True)
class Flight:
    """The last canary of one queue."""

    sent_at: datetime
    rung_at: datetime | None
    done_at: datetime | None
    error: str | None
    roundtrip_s: float | None
    """From bell to row of the last one that came back."""


def planned(session: Session, every_s: float) -> datetime | None:
    """The moment for which canaries are still to be written, or None when that was done."""
    if every_s <= 0:
        return None
    now = database.now(session)
    slot = datetime.fromtimestamp(now.timestamp() // every_s * every_s, UTC)
    last = session.scalar(select(func.max(Canary.sent_at)))
    return None if last is not None and last >= slot else slot


def plan(session: Session, slot: datetime) -> None:
    """Write one canary per queue that is not paused; a second call for a slot changes nothing."""
    stopped = pauses.in_force(session)
    rows = [{"queue": queue, "sent_at": slot} for queue in Queue if queue not in stopped]
    if rows:
        session.execute(database.insert(session, Canary).values(rows).on_conflict_do_nothing())
    session.execute(delete(Canary).where(Canary.sent_at < slot - KEEP))


@dataclass(frozen=True)
class Outstanding:
    """What one queue's canaries ask of the relay."""

    due: bool
    """One is written, and nobody has rung for it yet."""
    unanswered: int
    """How many bells for canaries may still lie in Redis."""


def outstanding(session: Session) -> dict[Queue, Outstanding]:
    """By queue; one whose canaries all came back is not in it."""
    now = database.now(session)
    rows = session.execute(
        select(
            Canary.queue,
            func.count(case((and_(*_due(session)), 1))),
            func.count(Canary.rung_at),
        )
        .where(Canary.done_at.is_(None), Canary.sent_at > now - KEEP)
        .group_by(Canary.queue)
    )
    return {queue: Outstanding(bool(due), unanswered) for queue, due, unanswered in rows}


def take_due(session: Session, queues: Collection[Queue]) -> list[tuple[Queue, datetime]]:
    """Canaries of these queues that nobody has rung for yet; each is given out once."""
    rows = session.execute(
        update(Canary)
        .where(*_due(session), Canary.queue.in_(queues))
        .values(rung_at=database.now(session))
        .returning(Canary.queue, Canary.sent_at)
        .execution_options(synchronize_session=False)
    ).all()
    return [(row.queue, row.sent_at) for row in rows]


def back(session: Session, queue: Queue, sent_at: datetime, owner: str, error: str | None) -> None:
    """A worker answered; later answers of the same canary change nothing."""
    session.execute(
        update(Canary)
        .where(Canary.queue == queue, Canary.sent_at == sent_at, Canary.done_at.is_(None))
        .values(done_at=database.now(session), owner=owner, error=error and error[:200])
        .execution_options(synchronize_session=False)
    )


def flights(session: Session) -> dict[Queue, Flight]:
    """The last canary of each queue that has one."""
    found = {}
    for queue in Queue:
        last = session.scalars(
            select(Canary).where(Canary.queue == queue).order_by(Canary.sent_at.desc()).limit(1)
        ).one_or_none()
        if last is None:
            continue
        home = session.execute(
            select(Canary.rung_at, Canary.done_at)
            .where(Canary.queue == queue, Canary.done_at.is_not(None), Canary.error.is_(None))
            .order_by(Canary.sent_at.desc())
            .limit(1)
        ).one_or_none()
        took_s = (home.done_at - home.rung_at).total_seconds() if home else None
        found[queue] = Flight(last.sent_at, last.rung_at, last.done_at, last.error, took_s)
    return found


def _due(session: Session) -> tuple[ColumnElement[bool], ...]:
    now = database.now(session)
    return Canary.rung_at.is_(None), Canary.sent_at > now - RING_WITHIN

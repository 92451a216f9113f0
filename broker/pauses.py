"""Queues that a person stopped for a while: who, why, until when.

A pause ends by itself, by the database's clock, whether or not anybody is there to end it. A paused
reading queue never stops an offer: a case waits for its readings at most reading_deadline_s. A
paused dispatch queue holds only while upkeep lives, which then moves cases and sends notifications
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session

from broker import database, events, heartbeat
from broker.errors import Conflict
from broker.lifecycle import ReadingKind, ReadingStatus
from broker.queues import Queue
from broker.tables import QueuePause, Reading

LONGEST_MIN = 240
"""Longest pause; whoever needs more must come back and say so again."""
SYSTEM = "system"


def in_force(session: Session) -> dict[Queue, QueuePause]:
    """The pauses that hold now."""
    rows = session.scalars(select(QueuePause).where(*_in_force(database.now(session))))
    return {row.queue: row for row in rows}


def holds(queue: Queue, now: datetime) -> ColumnElement[bool]:
    """Whether a pause of a queue holds, to be asked in the statement that takes work from it."""
    return exists().where(QueuePause.queue == queue, *_in_force(now))


def stopped(session: Session) -> set[Queue]:
    """Queues from which nothing may be taken now."""
    paused = set(in_force(session))
    if Queue.DISPATCH in paused and not heartbeat.alive(session, "upkeep"):
        paused.discard(Queue.DISPATCH)
    return paused


def pause(session: Session, actor_name: str, queue: Queue, reason: str, minutes: int) -> QueuePause:
    """Stop a queue for some minutes, or raise Conflict when it is stopped already.

    Conflict, too, for the dispatch queue while no upkeep lives to do its work.
    """
    resume_due(session)
    if queue is Queue.DISPATCH and not heartbeat.alive(session, "upkeep"):
        raise Conflict("upkeep gives no sign of life; without it a paused dispatch stops offers")
    now = database.now(session)
    id_ = uuid4()
    session.execute(
        database.insert(session, QueuePause)
        .values(
            id=id_,
            queue=queue,
            reason=reason,
            paused_at=now,
            paused_by=actor_name,
            resume_at=now + timedelta(minutes=minutes),
        )
        .on_conflict_do_nothing()
    )
    row = session.get(QueuePause, id_)
    if row is None:
        raise Conflict(f"{queue} is paused already")
    events.audit(
        session, actor_name, "queue.paused", None, queue=queue, reason=reason, minutes=minutes
    )
    return row


def resume(session: Session, actor_name: str, queue: Queue) -> QueuePause:
    """Let a queue go on before its time, or raise Conflict when it is not stopped."""
    row = in_force(session).get(queue)
    if row is None or not _end(session, row, actor_name):
        raise Conflict(f"{queue} is not paused")
    return row


def resume_due(session: Session) -> list[Queue]:
    """Write down that pauses are over whose time has come."""
    over = session.scalars(
        select(QueuePause).where(
            QueuePause.resumed_at.is_(None), QueuePause.resume_at <= database.now(session)
        )
    ).all()
    return [row.queue for row in over if _end(session, row, SYSTEM)]


def any_due(session: Session) -> bool:
    """Whether resume_due would write something."""
    found = session.scalar(
        select(QueuePause.id).where(
            QueuePause.resumed_at.is_(None), QueuePause.resume_at <= database.now(session)
        )
    )
    return found is not None


def latest(session: Session, limit: int = 20) -> Sequence[QueuePause]:
    """The last pauses, newest first."""
    return session.scalars(
        select(QueuePause).order_by(QueuePause.paused_at.desc()).limit(limit)
    ).all()


def _in_force(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return QueuePause.resumed_at.is_(None), QueuePause.resume_at > now


def _end(session: Session, row: QueuePause, actor_name: str) -> bool:
    now = database.now(session)
    won = database.changed(
        session,
        update(QueuePause)
        .where(QueuePause.id == row.id, QueuePause.resumed_at.is_(None))
        .values(resumed_at=now, resumed_by=actor_name),
    )
    if won != 1:
        return False
    session.refresh(row)
    if row.queue is not Queue.DISPATCH:
        # Bells that were answered during the pause are gone: the relay may ring again at once.
        session.execute(
            update(Reading)
            .where(
                Reading.kind == ReadingKind(row.queue.value),
                Reading.status == ReadingStatus.PENDING,
                Reading.due_at > now,
            )
            .values(due_at=now)
            .execution_options(synchronize_session=False)
        )
    events.audit(session, actor_name, "queue.resumed", None, queue=row.queue)
    events.work_due(session)
    return True

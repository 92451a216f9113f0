"""Alarms about machines: what is wrong now, and the rows that say who took it and when.

A case's alarm goes to the control room (dispatch/advance.py); here are queues, processes, disks and
clocks. A condition becomes a row once it has held for a moment, is raised again until somebody
acknowledges it, and is closed when it is over. One condition has one open row, whoever looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from broker import canary, database, events, heartbeat, pauses
from broker.errors import Conflict, NotFound
from broker.lifecycle import LIVE_CASES, AlarmCode, ReadingKind, ReadingStatus
from broker.queues import Queue
from broker.settings import Settings
from broker.tables import Alarm, BedFeed, Case, Heartbeat, Reading, RoadService

CRITICAL = frozenset(
    {
        AlarmCode.QUEUE_STUCK,
        AlarmCode.CANARY_LOST,
        AlarmCode.PROCESS_SILENT,
        AlarmCode.CASES_OVERDUE,
        AlarmCode.REDIS_SILENT,
        AlarmCode.DISK_LOW,
    }
)
"""Somebody waits or is about to; the others are warnings."""
LOCAL = frozenset({AlarmCode.DISK_LOW, AlarmCode.CLOCK_SKEW, AlarmCode.REDIS_SILENT})
"""Only the machine itself can see it: its subject is the node, and only that node closes it."""
PROCESSES = ("relay", "classify", "detect", "dispatch", "upkeep", *sorted(heartbeat.DOORS))
OVERDUE_S = 10.0
CANARY_LATE_S = 20.0
CLOCK_SKEW_S = 2.0
ROAD_TIMES_SILENT_S = 60.0
SYSTEM = "system"


@dataclass(frozen=True)
class Condition:
    """Something that is wrong at this moment."""

    code: AlarmCode
    subject: str
    details: dict[str, Any] = field(default_factory=dict, compare=False)


def conditions(session: Session, settings: Settings) -> list[Condition]:
    """What rows say is wrong now; the same for everybody who looks."""
    now = database.now(session)
    paused = pauses.in_force(session)
    found: list[Condition] = []
    for kind in ReadingKind:
        if Queue(kind.value) not in paused:
            found += _queue(session, settings, kind, now)
    found += _canaries(session, settings, set(paused), now)
    found += _processes(session, now)
    found += _overdue(session, now)
    found += _dead_letters(session)
    found += _bed_feed(session, now)
    found += _road_times(session, now)
    return found


def local_conditions(
    settings: Settings, *, redis_answers: bool, free_bytes: int, clock_ahead_s: float
) -> list[Condition]:
    """What only this machine can see."""
    node, found = settings.node, []
    if not redis_answers:
        found.append(Condition(AlarmCode.REDIS_SILENT, node))
    if free_bytes < settings.min_free_bytes:
        found.append(Condition(AlarmCode.DISK_LOW, node, {"free_bytes": free_bytes}))
    if abs(clock_ahead_s) > CLOCK_SKEW_S:
        ahead = {"ahead_s": round(clock_ahead_s, 1)}
        found.append(Condition(AlarmCode.CLOCK_SKEW, node, ahead))
    return found


def open_now(session: Session) -> Sequence[Alarm]:
    """Alarms that are not closed, the loudest first: critical, untaken, oldest."""
    rows = session.scalars(select(Alarm).where(Alarm.closed_at.is_(None))).all()
    return sorted(
        rows, key=lambda a: (a.acknowledged_at is not None, a.code not in CRITICAL, a.opened_at)
    )


def latest(session: Session, limit: int = 100) -> Sequence[Alarm]:
    """The last alarms, open or closed, newest first."""
    return session.scalars(select(Alarm).order_by(Alarm.opened_at.desc()).limit(limit)).all()


def raise_(session: Session, condition: Condition) -> bool:
    """Open an alarm; False when it is open already."""
    now = database.now(session)
    won = session.scalar(
        database.insert(session, Alarm)
        .values(
            id=uuid4(),
            code=condition.code,
            subject=condition.subject[:120],
            details=condition.details,
            opened_at=now,
            repeated_at=now,
            repeats=0,
        )
        .on_conflict_do_nothing()
        .returning(Alarm.id)
    )
    return won is not None


def repeat(session: Session, alarm: Alarm) -> bool:
    """Raise an alarm again that nobody took; False when somebody else just did."""
    won = database.changed(
        session,
        update(Alarm)
        .where(
            Alarm.id == alarm.id,
            Alarm.repeats == alarm.repeats,
            Alarm.acknowledged_at.is_(None),
            Alarm.closed_at.is_(None),
        )
        .values(repeats=Alarm.repeats + 1, repeated_at=database.now(session)),
    )
    return won == 1


def acknowledge(session: Session, actor_name: str, alarm_id: UUID) -> Alarm:
    """Somebody takes an alarm: it falls silent. NotFound; Conflict when somebody else took it."""
    alarm = _get(session, alarm_id)
    won = database.changed(
        session,
        update(Alarm)
        .where(Alarm.id == alarm_id, Alarm.acknowledged_at.is_(None), Alarm.closed_at.is_(None))
        .values(acknowledged_at=database.now(session), acknowledged_by=actor_name),
    )
    session.refresh(alarm)
    if won == 1:
        events.audit(
            session,
            actor_name,
            "alarm.acknowledged",
            None,
            alarm=str(alarm_id),
            code=alarm.code,
            subject=alarm.subject,
        )
    elif alarm.closed_at is not None:
        raise Conflict("this alarm is over already")
    elif alarm.acknowledged_by != actor_name:
        raise Conflict("somebody else has taken this alarm already")
    return alarm


def close(session: Session, actor_name: str, alarm_id: UUID) -> Alarm:
    """Put an alarm away; it is opened again if it still holds. A second call changes nothing."""
    alarm = _get(session, alarm_id)
    if _close(session, alarm, actor_name):
        events.audit(
            session,
            actor_name,
            "alarm.closed",
            None,
            alarm=str(alarm_id),
            code=alarm.code,
            subject=alarm.subject,
        )
    session.refresh(alarm)
    return alarm


def over(session: Session, alarm: Alarm) -> bool:
    """Close an alarm whose condition no longer holds."""
    return _close(session, alarm, SYSTEM)


def _close(session: Session, alarm: Alarm, by: str) -> bool:
    won = database.changed(
        session,
        update(Alarm)
        .where(Alarm.id == alarm.id, Alarm.closed_at.is_(None))
        .values(closed_at=database.now(session), closed_by=by),
    )
    return won == 1


def _get(session: Session, alarm_id: UUID) -> Alarm:
    alarm = session.get(Alarm, alarm_id)
    if alarm is None:
        raise NotFound(f"there is no alarm {alarm_id}")
    return alarm


def _queue(
    session: Session, settings: Settings, kind: ReadingKind, now: datetime
) -> list[Condition]:
    waiting = (Reading.kind == kind, Reading.status == ReadingStatus.PENDING)
    pending = session.scalar(select(func.count()).select_from(Reading).where(*waiting))
    oldest: datetime | None = session.scalar(select(func.min(Reading.created_at)).where(*waiting))
    if oldest is None:
        return []
    age_s = (now - oldest).total_seconds()
    details = {"pending": pending, "oldest_s": round(age_s)}
    since = now - timedelta(seconds=settings.queue_stuck_s)
    if oldest <= since and not _moved(session, kind, since):
        return [Condition(AlarmCode.QUEUE_STUCK, kind.value, details)]
    if age_s > settings.queue_behind_s:
        return [Condition(AlarmCode.QUEUE_BEHIND, kind.value, details)]
    return []


def _moved(session: Session, kind: ReadingKind, since: datetime) -> bool:
    """Whether a reading of this kind was begun or finished since then."""
    begun = session.scalar(
        select(func.max(Reading.claimed_at)).where(
            Reading.kind == kind, Reading.status == ReadingStatus.RUNNING
        )
    )
    done = session.scalar(select(func.max(Reading.finished_at)).where(Reading.kind == kind))
    return any(at is not None and at > since for at in (begun, done))


def _canaries(
    session: Session, settings: Settings, paused: set[Queue], now: datetime
) -> list[Condition]:
    if settings.canary_s <= 0:
        return []
    found = []
    for queue, flight in canary.flights(session).items():
        if queue in paused:
            continue
        if flight.error:
            found.append(Condition(AlarmCode.CANARY_LOST, queue.value, {"error": flight.error}))
        elif flight.done_at is None and now - flight.sent_at > timedelta(seconds=CANARY_LATE_S):
            # A long queue that moves has its canary at the end: that one is late, not lost.
            if queue is not Queue.DISPATCH and _moved(
                session, ReadingKind(queue.value), flight.sent_at
            ):
                continue
            details = {"lost_s": round((now - flight.sent_at).total_seconds())}
            found.append(Condition(AlarmCode.CANARY_LOST, queue.value, details))
    return found


def _processes(session: Session, now: datetime) -> list[Condition]:
    rows = session.scalars(select(Heartbeat)).all()
    stale = timedelta(seconds=heartbeat.STALE_S)
    fresh = [row for row in rows if now - row.beat_at < stale]
    found = []
    for kind in PROCESSES:
        if not any(row.kind == kind for row in fresh):
            last = max((row.beat_at for row in rows if row.kind == kind), default=None)
            silent_s = round((now - last).total_seconds()) if last else None
            found.append(Condition(AlarmCode.PROCESS_SILENT, kind, {"silent_s": silent_s}))
    missing = {condition.subject for condition in found}
    for row in rows:
        if row in fresh or row.kind in missing:
            continue
        replaced = any(
            other.kind == row.kind
            and heartbeat.node_of(other.name) == heartbeat.node_of(row.name)
            and other.started_at >= row.beat_at
            for other in fresh
        )
        if not replaced:
            silent = {"silent_s": round((now - row.beat_at).total_seconds())}
            found.append(Condition(AlarmCode.PROCESS_SILENT, row.name, silent))
    return found


def _overdue(session: Session, now: datetime) -> list[Condition]:
    count, earliest = session.execute(
        select(func.count(), func.min(Case.deadline_at)).where(
            Case.status.in_(LIVE_CASES), Case.deadline_at < now - timedelta(seconds=OVERDUE_S)
        )
    ).one()
    if earliest is None:
        return []
    late = {"cases": count, "longest_s": round((now - earliest).total_seconds())}
    return [Condition(AlarmCode.CASES_OVERDUE, "cases", late)]


def _dead_letters(session: Session) -> list[Condition]:
    rows = session.execute(
        select(Reading.kind, func.count())
        .where(Reading.status == ReadingStatus.FAILED, Reading.closed_at.is_(None))
        .group_by(Reading.kind)
    )
    return [
        Condition(AlarmCode.DEAD_LETTERS, kind.value, {"readings": count}) for kind, count in rows
    ]


def _bed_feed(session: Session, now: datetime) -> list[Condition]:
    """dispatch/beds.py says when a feed is silent, and tells the control room; here it is a row."""
    return [
        Condition(
            AlarmCode.BED_FEED_SILENT,
            feed.name,
            {"age_s": round((now - (feed.succeeded_at or feed.since_at)).total_seconds())},
        )
        for feed in session.scalars(select(BedFeed).where(BedFeed.alarmed_at.is_not(None)))
    ]


def _road_times(session: Session, now: datetime) -> list[Condition]:
    """Ways are estimated meanwhile; that is worth a look, and no case waits for it."""
    return [
        Condition(
            AlarmCode.ROAD_TIMES_SILENT,
            service.name,
            {
                "age_s": round((now - service.failing_since_at).total_seconds()),
                "error": service.error,
            },
        )
        for service in session.scalars(
            select(RoadService).where(
                RoadService.failing_since_at <= now - timedelta(seconds=ROAD_TIMES_SILENT_S)
            )
        )
        if service.failing_since_at is not None
    ]

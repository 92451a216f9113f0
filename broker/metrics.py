"""Figures from rows and queue lengths; never from the memory of an event listener.

Everything is true at the moment it is asked for and survives a restart. Nothing clinical. What
Prometheus reads is exposition.py's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import canary, database, pauses, stages
from broker.celery_app import KEY_PREFIX
from broker.heartbeat import STALE_S
from broker.lifecycle import (
    LIVE_CASES,
    NotificationStatus,
    ReadingKind,
    ReadingStatus,
)
from broker.queues import Queue
from broker.settings import Settings
from broker.tables import (
    Case,
    Heartbeat,
    Notification,
    Reading,
)

SAMPLE = 500
"""Latest readings that the waiting times are taken from."""


def figures(session: Session, settings: Settings) -> dict[str, Any]:
    """Queues, processes and cases by status, now."""
    now = database.now(session)
    bells = doorbells(settings)
    return {
        "queues": [
            queue for queue in queues(session, bells) if queue["kind"] != Queue.DISPATCH.value
        ],
        "processes": processes(session),
        "cases_by_status": cases_by_status(session),
        "redis_answers": bells is not None,
        "at": now,
    }


def cases_by_status(session: Session) -> dict[str, int]:
    """How many live cases there are in each state; those without one are left out."""
    return {
        str(status): count
        for status, count in session.execute(
            select(Case.status, func.count())
            .where(Case.status.in_(LIVE_CASES))
            .group_by(Case.status)
        )
    }


def processes(session: Session) -> list[dict[str, Any]]:
    """Every process that beat within the last hour."""
    now = database.now(session)
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "started_at": row.started_at,
            "beat_at": row.beat_at,
            "progress_at": row.progress_at,
            "alive": (now - row.beat_at).total_seconds() < STALE_S,
        }
        for row in session.scalars(select(Heartbeat).order_by(Heartbeat.name))
    ]


def queues(session: Session, bells: Mapping[str, int] | None) -> list[dict[str, Any]]:
    """Depth, age, progress and pause of each queue from rows, and what Redis holds beside it."""
    now = database.now(session)
    stopped, flights = pauses.in_force(session), canary.flights(session)
    found = []
    for queue in Queue:
        row = (
            _dispatch(session, now)
            if queue is Queue.DISPATCH
            else _reading_queue(session, ReadingKind(queue.value), now)
        )
        pause, flight = stopped.get(queue), flights.get(queue)
        row["doorbells"] = (bells or {}).get(queue.value)
        row["pause"] = pause and {
            "reason": pause.reason,
            "paused_at": pause.paused_at,
            "paused_by": pause.paused_by,
            "resume_at": pause.resume_at,
        }
        row["canary"] = flight and {
            "sent_at": flight.sent_at,
            "done_at": flight.done_at,
            "error": flight.error,
            "roundtrip_s": flight.roundtrip_s,
        }
        found.append(row)
    return found


def doorbells(settings: Settings) -> dict[str, int] | None:
    """Length of each Redis list, or None when Redis does not answer within half a second."""
    client = redis.Redis.from_url(
        settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5
    )
    try:
        with client.pipeline(transaction=False) as pipe:
            for queue in Queue:
                pipe.llen(f"{KEY_PREFIX}{queue.value}")
            return dict(zip((queue.value for queue in Queue), pipe.execute(), strict=True))
    except redis.RedisError:
        return None
    finally:
        client.close()


def _dispatch(session: Session, now: datetime) -> dict[str, Any]:
    """Cases whose deadline has come and notifications that are due: what `dispatch` is rung for."""
    due, oldest = session.execute(
        select(func.count(), func.min(Case.deadline_at)).where(
            Case.status.in_(LIVE_CASES), Case.deadline_at <= now
        )
    ).one()
    unsent, first = session.execute(
        select(func.count(), func.min(Notification.due_at)).where(
            Notification.status == NotificationStatus.PENDING, Notification.due_at <= now
        )
    ).one()
    ages = [(now - at).total_seconds() for at in (oldest, first) if at is not None]
    flight = canary.flights(session).get(Queue.DISPATCH)
    return {
        "kind": Queue.DISPATCH.value,
        "pending": due + unsent,
        "running": 0,
        "dead": 0,
        "oldest_pending_s": max(ages, default=None),
        "oldest_dead_s": None,
        "done_last_hour": None,
        "wait_p50_s": None,
        "wait_p95_s": None,
        "progress_at": flight.done_at if flight else None,
    }


def _reading_queue(session: Session, kind: ReadingKind, now: datetime) -> dict[str, Any]:
    counts = {
        status: (count, oldest, ended)
        for status, count, oldest, ended in session.execute(
            select(
                Reading.status,
                func.count(),
                func.min(Reading.created_at),
                func.min(Reading.finished_at),
            )
            .where(
                Reading.kind == kind,
                Reading.status.in_(
                    (ReadingStatus.PENDING, ReadingStatus.RUNNING, ReadingStatus.FAILED)
                ),
                Reading.closed_at.is_(None),
            )
            .group_by(Reading.status)
        )
    }
    nothing = (0, None, None)
    pending, oldest, _ = counts.get(ReadingStatus.PENDING, nothing)
    dead, _, gave_up = counts.get(ReadingStatus.FAILED, nothing)
    done = session.scalar(
        select(func.count())
        .select_from(Reading)
        .where(
            Reading.kind == kind,
            Reading.status == ReadingStatus.DONE,
            Reading.finished_at >= now - timedelta(hours=1),
        )
    )
    latest = [
        (created, finished)
        for created, finished in session.execute(
            select(Reading.created_at, Reading.finished_at)
            .where(
                Reading.kind == kind,
                Reading.finished_at.is_not(None),
                Reading.status == ReadingStatus.DONE,
            )
            .order_by(Reading.finished_at.desc())
            .limit(SAMPLE)
        )
        if finished is not None
    ]
    waits = stages.percentiles((ended - began).total_seconds() for began, ended in latest)
    return {
        "kind": kind.value,
        "pending": pending,
        "running": counts.get(ReadingStatus.RUNNING, nothing)[0],
        "dead": dead,
        "oldest_pending_s": (now - oldest).total_seconds() if oldest else None,
        "oldest_dead_s": (now - gave_up).total_seconds() if gave_up else None,
        "done_last_hour": done or 0,
        "wait_p50_s": waits["p50_s"],
        "wait_p95_s": waits["p95_s"],
        "progress_at": latest[0][1] if latest else None,
    }

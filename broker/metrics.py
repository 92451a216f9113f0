"""Figures from rows and queue lengths; never from the memory of an event listener.

Everything is true at the moment it is asked for and survives a restart. Nothing clinical.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import redis
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import database
from broker.celery_app import KEY_PREFIX
from broker.heartbeat import STALE_S
from broker.lifecycle import LIVE_CASES, ReadingKind, ReadingStatus
from broker.settings import Settings
from broker.tables import Ambulance, Case, Heartbeat, Reading

SAMPLE = 500
"""Latest readings that the waiting times are taken from."""


def figures(session: Session, settings: Settings) -> dict[str, Any]:
    """Queues, processes and cases by status, now."""
    now = database.now(session)
    bells = doorbells(settings)
    by_status: dict[str, int] = {
        str(status): count
        for status, count in session.execute(
            select(Case.status, func.count()).group_by(Case.status)
        )
    }
    return {
        "queues": [
            {**_queue(session, kind, now), "doorbells": (bells or {}).get(kind.value)}
            for kind in ReadingKind
        ],
        "processes": [
            {
                "name": row.name,
                "kind": row.kind,
                "beat_at": row.beat_at,
                "alive": (now - row.beat_at).total_seconds() < STALE_S,
            }
            for row in session.scalars(select(Heartbeat).order_by(Heartbeat.name))
        ],
        "cases_by_status": by_status,
        "redis_answers": bells is not None,
        "at": now,
    }


def live_cases(session: Session, limit: int = 200) -> list[dict[str, Any]]:
    """Live cases, the nearest deadline first, without anything clinical."""
    now = database.now(session)
    dead = (
        select(func.count())
        .select_from(Reading)
        .where(Reading.case_id == Case.id, Reading.status == ReadingStatus.FAILED)
        .scalar_subquery()
    )
    rows = session.execute(
        select(Case, Ambulance.call_sign, dead)
        .join(Ambulance)
        .where(Case.status.in_(LIVE_CASES))
        .order_by(Case.deadline_at)
        .limit(limit)
    )
    return [
        {
            "id": case.id,
            "status": case.status,
            "acuity": case.acuity,
            "call_sign": call_sign,
            "round": case.round,
            "age_s": (now - case.received_at).total_seconds(),
            "deadline_in_s": (case.deadline_at - now).total_seconds() if case.deadline_at else None,
            "partial": case.partial,
            "needs_review": case.needs_review,
            "dead_readings": dead_readings,
        }
        for case, call_sign, dead_readings in rows
    ]


def doorbells(settings: Settings) -> dict[str, int] | None:
    """Length of each Redis list, or None when Redis does not answer within half a second."""
    client = redis.Redis.from_url(
        settings.redis_url, socket_timeout=0.5, socket_connect_timeout=0.5
    )
    try:
        with client.pipeline(transaction=False) as pipe:
            for kind in ReadingKind:
                pipe.llen(f"{KEY_PREFIX}{kind.value}")
            return dict(zip((k.value for k in ReadingKind), pipe.execute(), strict=True))
    except redis.RedisError:
        return None
    finally:
        client.close()


def exposition(session: Session, settings: Settings) -> bytes:
    """The same figures in Prometheus' text format."""
    now = figures(session, settings)
    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"goldentime_{name}", meaning, ["kind"], registry=registry)
        for name, meaning in {
            "queue_pending": "Readings that wait",
            "queue_running": "Readings under a lease",
            "dlq_depth": "Readings that gave up and nobody closed",
            "queue_oldest_age_seconds": "Age of the reading that waits longest",
            "stage_wait_p95_seconds": "95th percentile of submission to finished reading",
        }.items()
    }
    for queue in now["queues"]:
        kind = queue["kind"]
        gauges["queue_pending"].labels(kind).set(queue["pending"])
        gauges["queue_running"].labels(kind).set(queue["running"])
        gauges["dlq_depth"].labels(kind).set(queue["dead"])
        gauges["queue_oldest_age_seconds"].labels(kind).set(queue["oldest_pending_s"] or 0)
        gauges["stage_wait_p95_seconds"].labels(kind).set(queue["wait_p95_s"] or 0)
    cases = Gauge("goldentime_cases", "Cases by status", ["status"], registry=registry)
    for status, count in now["cases_by_status"].items():
        cases.labels(status).set(count)
    alive = Gauge("goldentime_processes_alive", "Fresh heartbeats", ["kind"], registry=registry)
    for process in now["processes"]:
        alive.labels(process["kind"]).inc(int(process["alive"]))
    Gauge("goldentime_redis_up", "Redis answers", registry=registry).set(now["redis_answers"])
    return generate_latest(registry)


def _queue(session: Session, kind: ReadingKind, now: datetime) -> dict[str, Any]:
    counts = {
        status: (count, oldest)
        for status, count, oldest in session.execute(
            select(Reading.status, func.count(), func.min(Reading.created_at))
            .where(
                Reading.kind == kind,
                Reading.status != ReadingStatus.DONE,
                Reading.closed_at.is_(None),
            )
            .group_by(Reading.status)
        )
    }
    pending, oldest = counts.get(ReadingStatus.PENDING, (0, None))
    done = session.scalar(
        select(func.count())
        .select_from(Reading)
        .where(
            Reading.kind == kind,
            Reading.status == ReadingStatus.DONE,
            Reading.finished_at >= now - timedelta(hours=1),
        )
    )
    waits = sorted(
        (finished - created).total_seconds()
        for created, finished in session.execute(
            select(Reading.created_at, Reading.finished_at)
            .where(Reading.kind == kind, Reading.status == ReadingStatus.DONE)
            .order_by(Reading.finished_at.desc())
            .limit(SAMPLE)
        )
        if finished is not None
    )
    return {
        "kind": kind.value,
        "pending": pending,
        "running": counts.get(ReadingStatus.RUNNING, (0, None))[0],
        "dead": counts.get(ReadingStatus.FAILED, (0, None))[0],
        "oldest_pending_s": (now - oldest).total_seconds() if oldest else None,
        "done_last_hour": done or 0,
        "wait_p50_s": waits[len(waits) // 2] if waits else None,
        "wait_p95_s": waits[int(len(waits) * 0.95)] if waits else None,
    }

"""The relay: rings Celery for rows that are due and wakes streams; re-rings what Redis lost.

A plain loop, run as `python -m broker.relay`. It rings at once when poked and sweeps every few
seconds; two of them at once do no harm, because a bell may be rung 0, 1 or 50 times. It decides
nothing about a case.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import FrameType
from uuid import UUID

import redis
from celery import Celery
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from broker import canary, database, heartbeat, hints, logs, pauses, settings as settings_
from broker.celery_app import KEY_PREFIX, make_celery
from broker.errors import DatabaseBusy
from broker.lifecycle import LIVE_CASES, NotificationStatus, ReadingKind, ReadingStatus
from broker.lookout import Lookout
from broker.queues import CANARIES, ROUTES, Queue, Task
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case, Notification, Reading
from broker.watchdog import Watchdog

WAKE_CHANNEL = KEY_PREFIX + "events"
BATCH = 200
"""Most bells per look and kind."""
LOOKS_APART_S = 0.02
"""Under load hints come faster than looks pay: one look answers all that was said before it."""
BROKER_ERRORS = (BrokerError, redis.RedisError, ConnectionError, TimeoutError, OSError)


class Relay:
    """One relay process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record(settings)
        self.celery: Celery = make_celery(settings, socket_timeout_s=2)
        self.redis = redis.Redis.from_url(
            settings.redis_url, socket_timeout=2, socket_connect_timeout=2
        )
        self.hints = hints.listen(settings)
        self._over = threading.Event()
        self._rung: dict[UUID, float] = {}
        self._log = logs.logger()

    def run(self) -> None:
        """Wait, wake, ring, until told to stop."""
        self._log.info("relay is listening", action="relay.started")
        Watchdog(self.record).start(self._over)
        Lookout(self.record).start(self._over)
        life = heartbeat.Regular(self.record, "relay")
        while not self._over.is_set():
            looked_at = time.monotonic()
            try:
                life.beat()
                self.ring()
            except DatabaseBusy as error:
                self._log.warning("the database is busy", action="relay.busy", why=error.why)
            except BROKER_ERRORS as error:
                self._log.warning(
                    "Redis does not answer; the sweep rings again",
                    action="relay.no_redis",
                    error=type(error).__name__,
                )
            self._over.wait(max(0.0, looked_at + LOOKS_APART_S - time.monotonic()))
            said = self.hints.wait(self.settings.sweep_s * _jitter(0.8, 1.0))
            if said:
                self.wake(said)

    def stop(self, *_: int | FrameType | None) -> None:
        """End after the present look."""
        self._over.set()

    def close(self) -> None:
        """Give every connection back."""
        self.hints.close()
        self.redis.close()
        self.celery.close()
        self.record.close()

    def wake(self, audiences: set[str]) -> None:
        """Tell the streams whose events are new; they look by themselves when this is lost."""
        try:
            self.redis.publish(WAKE_CHANNEL, json.dumps(sorted(audiences)))
        except BROKER_ERRORS:
            self._log.warning("streams were not woken", action="relay.no_redis")

    def ring(self) -> int:
        """Ring for readings and cases that are due; returns the number of bells."""
        with self.record.read() as session:  # one short look: most pokes find little to do
            now = database.now(session)
            stopped = pauses.stopped(session)
            cases = _due_cases(session, now)
            notifications = _due_notifications(session, now)
            waiting = _waiting(session, now)
            canaries = canary.outstanding(session)
        bells: list[tuple[Task, object]] = []
        if Queue.DISPATCH not in stopped:
            bells += [(Task.ROUTE, row_id) for row_id in self._fresh(cases)]
            bells += [(Task.DELIVER, row_id) for row_id in self._fresh(notifications)]
        missing = +Counter(  # what Redis holds already is left out
            {
                kind: pending - self._held(Queue(kind.value), canaries)
                for kind, (pending, due) in waiting.items()
                if due and Queue(kind.value) not in stopped
            }
        )
        if missing:
            bells += self._due_readings(missing)
        if any(of.due for of in canaries.values()):
            bells += self._due_canaries(canaries)
        if bells:
            with self.celery.producer_pool.acquire(block=True) as producer:
                for task, row_id in bells:
                    self.celery.send_task(
                        task.value,
                        args=[str(row_id)],
                        queue=ROUTES[task].value,
                        producer=producer,
                        ignore_result=True,
                    )
        return len(bells)

    def _held(self, queue: Queue, canaries: Mapping[Queue, canary.Outstanding]) -> int:
        """Bells for readings that Redis holds: a long queue is not a lost bell."""
        others = canaries[queue].unanswered if queue in canaries else 0
        return max(0, self._bells(queue) - others)

    def _due_readings(self, missing: Mapping[ReadingKind, int]) -> list[tuple[Task, UUID]]:
        bells: list[tuple[Task, UUID]] = []
        with self.record.write() as session:
            now = database.now(session)
            again = now + timedelta(seconds=self.settings.sweep_s * _jitter(0.9, 1.3))
            for kind, count in missing.items():
                oldest = (
                    select(Reading.id)
                    .where(
                        Reading.kind == kind,
                        Reading.status == ReadingStatus.PENDING,
                        Reading.due_at <= now,
                    )
                    .order_by(Reading.created_at)
                    .limit(min(BATCH, count))
                    .scalar_subquery()
                )
                rows = session.scalars(
                    update(Reading)
                    .where(Reading.id.in_(oldest), Reading.due_at <= now)
                    .values(due_at=again)
                    .returning(Reading.id)
                    .execution_options(synchronize_session=False)
                ).all()
                bells += [(Task(kind.value), row_id) for row_id in rows]
        return bells

    def _due_canaries(self, canaries: Mapping[Queue, canary.Outstanding]) -> list[tuple[Task, str]]:
        # One at a time lies in a queue: where nobody works, they must not pile up.
        free = [
            queue
            for queue, of in canaries.items()
            if of.due and not (of.unanswered and self._bells(queue))
        ]
        if not free:
            return []
        with self.record.write() as session:
            taken = canary.take_due(session, free)
        return [(CANARIES[queue], sent_at.isoformat()) for queue, sent_at in taken]

    def _bells(self, queue: Queue) -> int:
        return int(self.redis.llen(f"{KEY_PREFIX}{queue}"))

    def _fresh(self, due: Sequence[UUID]) -> list[UUID]:
        """Those of the due rows that this relay has not rung for within the last sweep."""
        clock = time.monotonic()
        self._rung = {
            row_id: at for row_id, at in self._rung.items() if clock - at < self.settings.sweep_s
        }
        fresh = [row_id for row_id in due if row_id not in self._rung]
        self._rung.update(dict.fromkeys(fresh, clock))
        return fresh


def _jitter(low: float, high: float) -> float:
    """So that two relays do not look in step."""
    return random.uniform(low, high)


def _due_cases(session: Session, now: datetime) -> Sequence[UUID]:
    return session.scalars(
        select(Case.id)
        .where(Case.status.in_(LIVE_CASES), Case.deadline_at <= now)
        .order_by(Case.deadline_at)
        .limit(BATCH)
    ).all()


def _due_notifications(session: Session, now: datetime) -> Sequence[UUID]:
    return session.scalars(
        select(Notification.id)
        .where(Notification.status == NotificationStatus.PENDING, Notification.due_at <= now)
        .order_by(Notification.due_at)
        .limit(BATCH)
    ).all()


def _waiting(session: Session, now: datetime) -> dict[ReadingKind, tuple[int, int]]:
    """Per kind how many readings wait, and how many of them the relay may ring for."""
    due = func.count(case((Reading.due_at <= now, 1)))
    rows = session.execute(
        select(Reading.kind, func.count(), due)
        .where(Reading.status == ReadingStatus.PENDING)
        .group_by(Reading.kind)
        .order_by(Reading.kind)
    )
    return {kind: (pending, due) for kind, pending, due in rows}


def main() -> None:
    """Run a relay until SIGTERM or SIGINT."""
    settings = settings_.from_env()
    logs.set_up(settings, "relay")
    relay = Relay(settings)
    signal.signal(signal.SIGTERM, relay.stop)
    signal.signal(signal.SIGINT, relay.stop)
    try:
        relay.run()
    finally:
        relay.close()


if __name__ == "__main__":
    main()

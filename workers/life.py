"""A pool's sign of life, made by its own event loop: it stops when the loop or the pool does.

A pool that cannot reach the record takes no bells either: another, which can, shall answer them.
Looks at the pool from within; what its dead children were reading is children.py's.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery.worker import state
from redis.exceptions import ConnectionError as RedisLost

from broker import heartbeat, logs
from broker.errors import DatabaseBusy
from workers.process import Process

MUTE_S = 10.0
"""A child begins a task that it was handed within milliseconds."""
ASK_AGAIN_S = 2.0
"""Between two tries to reach a record that did not answer; each may hold up the event loop for 5 s,
in which it hears neither children nor Redis."""


class Life:
    """Of one pool; `consumer` is Celery's, with its queues, pool and timer."""

    def __init__(self, mine: Process, consumer: Any) -> None:
        self._mine = mine
        self._consumer = consumer
        self._queues = [queue.name for queue in consumer.task_consumer.queues]
        self._waits_since: dict[str, float] = {}
        self._finished = 0
        self._deaf_since: float | None = None
        self._listens = True
        # SQLite is a file of this machine: who cannot reach it is no worse off than any other.
        self._others_may_reach_it = mine.record.engine.dialect.name != "sqlite"
        self._will_ask = False
        self._log = logs.logger()

    def start(self) -> None:
        """Beat now and every sweep_s."""
        self.beat()
        self._consumer.timer.call_repeatedly(self._mine.settings.sweep_s, self._beat_unless_asking)

    def beat(self) -> None:
        """One sign of life, unless something here stands still."""
        self._reconnect_if_deaf()
        if self._pool_is_mute():
            self._log.error(
                "no child of the pool takes its task; no heartbeat until one does",
                action="worker.mute",
            )
            return
        ended = state.all_total_count[0] - len(state.active_requests)
        try:
            with self._mine.record.write() as session:
                for queue in self._queues:
                    name = f"{queue}@{self._mine.settings.node}:{os.getpid()}"
                    heartbeat.beat(session, name, queue, progress=ended > self._finished)
        except DatabaseBusy as error:
            self._log.warning(
                "no heartbeat: the database is busy", action="worker.busy", why=error.why
            )
            self._listen(False)
            self._will_ask = True
            self._consumer.timer.call_after(ASK_AGAIN_S, self._ask_again)
            return
        self._finished = ended
        self._listen(True)

    def _beat_unless_asking(self) -> None:
        if not self._will_ask:
            self.beat()

    def _ask_again(self) -> None:
        self._will_ask = False
        self.beat()

    def _listen(self, wanted: bool) -> None:
        if wanted is self._listens or not self._others_may_reach_it:
            return
        turn = self._consumer.add_task_queue if wanted else self._consumer.cancel_task_queue
        for queue in self._queues:
            turn(queue)
        self._listens = wanted  # only now: Redis may refuse, and the next beat must try again
        self._log.warning(
            "bells are taken again" if wanted else "no bells until the database answers",
            action="worker.bells",
            taken=wanted,
        )

    def _pool_is_mute(self) -> bool:
        """A task lies with an idle pool, and no child begins it: they are frozen."""
        idle = len(state.active_requests) < self._consumer.pool.num_processes
        waiting = set(state.reserved_requests) - set(state.active_requests) if idle else set()
        now = time.monotonic()
        self._waits_since = {
            request.id: self._waits_since.get(request.id, now) for request in waiting
        }
        return any(now - began > MUTE_S for began in self._waits_since.values())

    def _reconnect_if_deaf(self) -> None:
        """No task is here, but Redis may hand out none: an acknowledgement was lost on the way."""
        channel = self._consumer.task_consumer.channel
        deaf = not state.reserved_requests and not channel.qos.can_consume()
        now = time.monotonic()
        self._deaf_since = (self._deaf_since or now) if deaf else None
        if self._deaf_since and now - self._deaf_since >= MUTE_S:
            self._deaf_since = None
            # The event loop lets it through, and Celery's consumer starts with a new connection.
            raise RedisLost("a message was never acknowledged, so Redis hands out no other")

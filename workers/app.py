"""The Celery app that worker processes load: `celery -A workers.app worker -Q classify`.

Imports the tasks; holds no work itself.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_process_init, worker_ready
from celery.worker import state
from redis.exceptions import ConnectionError as RedisLost

from broker import heartbeat, logs, settings
from broker.celery_app import make_celery
from broker.errors import BadSetting, DatabaseBusy
from broker.lifecycle import ReadingKind
from broker.parent import end_with
from broker.queues import Task
from dispatch import rules
from workers import dispatching, inference
from workers.children import Children
from workers.process import process

MAIN = os.getpid()
READS: set[ReadingKind] = set()
"""What this worker reads, by the queues that it was started for."""
MUTE_S = 10.0
"""A child begins a task that it was handed within milliseconds."""
REAP_S = 0.1
"""How often a pool looks for a child that ended."""

app = make_celery(settings.from_env())
inference.register(app)
dispatching.register(app)


@celeryd_init.connect
def refuse_unfit_files(options: Any, **_: object) -> None:
    """A worker does not start with triage rules, or a site's prevalence, that fit nothing."""
    queues = options.get("queues") or [Task.CLASSIFY.value]
    chosen = settings.from_env()
    try:
        rules.load(chosen.triage_rules)
        READS.update(kind for kind in ReadingKind if kind.value in queues)
        if ReadingKind.CLASSIFY in READS:
            inference.check_site_prevalence(chosen)
    except BadSetting as error:
        raise SystemExit(f"goldentime: {error}") from None  # Celery swallows exceptions here
    if chosen.inference_threads == 1:
        # A network without threads survives the fork: who steps into a dead child's place can read
        # at once, and all children share one network's memory.
        _warm()


def _warm() -> None:
    for kind in READS:
        inference.warm(kind)


@worker_process_init.connect
def _take_over(**_: object) -> None:
    if os.getpid() != MAIN:
        end_with(MAIN)
        process().record.forked()
    _warm()  # the pool hands a child its first film when this is done


@worker_ready.connect
def _beat(sender: Any, **_: object) -> None:
    """Sign of life from the worker's own event loop: it stops when the loop or the pool does."""
    mine = process()
    queues = [queue.name for queue in sender.task_consumer.queues]
    waits_since: dict[str, float] = {}
    finished = 0
    deaf_since: float | None = None

    def pool_is_mute() -> bool:
        """A task lies with an idle pool, and no child begins it: they are frozen."""
        idle = len(state.active_requests) < sender.pool.num_processes
        waiting = set(state.reserved_requests) - set(state.active_requests) if idle else set()
        now = time.monotonic()
        since = {request.id: waits_since.get(request.id, now) for request in waiting}
        waits_since.clear()
        waits_since.update(since)
        return any(now - began > MUTE_S for began in since.values())

    def reconnect_if_deaf() -> None:
        """No task is here, but Redis may hand out none: an acknowledgement was lost on the way."""
        nonlocal deaf_since
        deaf = not state.reserved_requests and not sender.task_consumer.channel.qos.can_consume()
        now = time.monotonic()
        deaf_since = (deaf_since or now) if deaf else None
        if deaf_since and now - deaf_since >= MUTE_S:
            deaf_since = None
            # The event loop lets it through, and Celery's consumer starts with a new connection.
            raise RedisLost("a message was never acknowledged, so Redis hands out no other")

    def beat() -> None:
        reconnect_if_deaf()
        if pool_is_mute():
            logs.logger().error(
                "no child of the pool takes its task; no heartbeat until one does",
                action="worker.mute",
            )
            return
        nonlocal finished
        ended = state.all_total_count[0] - len(state.active_requests)
        try:
            with mine.record.write() as session:
                for queue in queues:
                    name = f"{queue}@{mine.settings.node}:{os.getpid()}"
                    heartbeat.beat(session, name, queue, progress=ended > finished)
            finished = ended
        except DatabaseBusy as error:
            logs.logger().warning(
                "no heartbeat: the database is busy", action="worker.busy", why=error.why
            )

    beat()
    sender.timer.call_repeatedly(mine.settings.sweep_s, beat)
    # The pool hears of a child's end a moment before the kernel lets it be reaped, looks in vain,
    # and would look again after 5 s: all that time nobody reads (celery 5.7, issue 9588).
    children = Children(mine, READS, lambda: sender.pool.info["processes"])

    def reap() -> None:
        sender.pool.maintain_pool()
        children.look()

    sender.timer.call_repeatedly(REAP_S, reap)
    children.take_stock()


@worker_ready.connect
def _leave_imports_out_of_garbage(**_: object) -> None:
    """Celery collects garbage before it forks a child in a dead one's place: a tenth of a second
    over all that was imported. What lives by now lives as long as the pool, once is enough.
    """
    gc.collect()
    gc.freeze()


@setup_logging.connect
def _log(**_: object) -> None:
    logs.set_up(settings.from_env(), "worker")

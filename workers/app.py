"""The Celery app that worker processes load: `celery -A workers.app worker -Q classify`.

Imports the tasks; holds no work itself.
"""

from __future__ import annotations

import os
from typing import Any

from celery.signals import celeryd_init, setup_logging, worker_process_init, worker_ready

from broker import heartbeat, logs, settings
from broker.celery_app import make_celery
from broker.errors import BadSetting, DatabaseBusy
from broker.queues import Task
from workers import dispatching, inference
from workers.process import process

app = make_celery(settings.from_env())
inference.register(app)
dispatching.register(app)


@celeryd_init.connect
def refuse_unfit_prevalence(options: Any, **_: object) -> None:
    """A worker that reads films does not start with a site's prevalence that fits nothing."""
    queues = options.get("queues") or [Task.CLASSIFY.value]
    if Task.CLASSIFY.value in queues:
        try:
            inference.check_site_prevalence(settings.from_env())
        except BadSetting as error:
            raise SystemExit(f"goldentime: {error}") from None  # Celery swallows exceptions here


@worker_process_init.connect
def _forget_parent(**_: object) -> None:
    process().record.engine.dispose(close=False)  # a child must not use its parent's connections
    process.cache_clear()


@worker_ready.connect
def _beat(sender: Any, **_: object) -> None:
    """Sign of life from the worker's own event loop: it stops when the loop does."""
    mine = process()
    queues = [queue.name for queue in sender.task_consumer.queues]

    def beat() -> None:
        try:
            with mine.record.write() as session:
                for queue in queues:
                    name = f"{queue}@{mine.settings.node}:{os.getpid()}"
                    heartbeat.beat(session, name, queue)
        except DatabaseBusy:
            logs.logger().warning("no heartbeat: the database is busy", action="worker.busy")

    beat()
    sender.timer.call_repeatedly(mine.settings.sweep_s, beat)


@setup_logging.connect
def _log(**_: object) -> None:
    logs.set_up(settings.from_env(), "worker")

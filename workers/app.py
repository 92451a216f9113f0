"""The Celery app that worker processes load: `celery -A workers.app worker -Q classify`.

Imports the tasks; holds no work itself.
"""

from __future__ import annotations

from celery.signals import setup_logging, worker_process_init

from broker import logs, settings
from broker.celery_app import make_celery
from workers import dispatching, inference
from workers.process import process

app = make_celery(settings.from_env())
inference.register(app)
dispatching.register(app)


@worker_process_init.connect
def _forget_parent(**_: object) -> None:
    process.cache_clear()  # a child must not share its parent's connections


@setup_logging.connect
def _log(**_: object) -> None:
    logs.set_up(settings.from_env(), "worker")

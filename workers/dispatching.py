"""Tasks `route` and `deliver`: what is due now, at once instead of at upkeep's next look."""

from __future__ import annotations

from uuid import UUID

from celery import Celery

from broker.queues import Queue, Task
from dispatch import advance
from workers.delivering import deliver as deliver_one
from workers.process import process
from workers.singing import sing


def register(app: Celery) -> None:
    """Give the app its two dispatch tasks."""

    @app.task(name=Task.ROUTE.value, soft_time_limit=10, time_limit=20)
    def route(case_id: str) -> None:
        mine = process()
        mine.tuned.refresh()
        mine.record.again(lambda s: advance.advance(s, mine.settings, UUID(case_id)))

    @app.task(name=Task.DELIVER.value, soft_time_limit=20, time_limit=25)
    def deliver(notification_id: str) -> None:
        deliver_one(process().record, UUID(notification_id))

    @app.task(name=Task.CANARY_DISPATCH.value, soft_time_limit=10, time_limit=20)
    def canary_dispatch(sent_at: str) -> None:
        sing(Queue.DISPATCH, sent_at, lambda: None)

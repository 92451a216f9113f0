"""Task `route`: take the step of a case that is due, at once instead of at upkeep's next look."""

from __future__ import annotations

from uuid import UUID

from celery import Celery

from broker.queues import Task
from dispatch import advance
from workers.process import process


def register(app: Celery) -> None:
    """Give the app its routing task."""

    @app.task(name=Task.ROUTE.value, soft_time_limit=10, time_limit=20)
    def route(case_id: str) -> None:
        mine = process()
        mine.record.again(lambda s: advance.advance(s, mine.settings, UUID(case_id)))

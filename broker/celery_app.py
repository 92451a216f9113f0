"""The Celery app and its reliability settings; no tasks.

Redis is a doorbell: ids in JSON, no result backend, no canvas, no ETA. Each setting's reason stands
in docs/reliability.md or beside it.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.app.amqp import AMQP
from kombu import Connection
from kombu.entity import Queue as KombuQueue

from broker.queues import ROUTES, Queue
from broker.settings import Settings

KEY_PREFIX = "goldentime:"
"""In front of every key of ours in Redis."""
VISIBILITY_TIMEOUT_S = 120
"""Longer than the hard time limit, so that a running task is never handed out twice by Redis."""

RECONNECT_MAX_S = 2.0
"""Longest pause between two tries to reach a Redis that is away."""


class _Connection(Connection):
    """Looks for a lost Redis every RECONNECT_MAX_S.

    Celery's worker asks for kombu's defaults, which wait up to 30 s between tries, and has no
    setting for them (celery 5.7, worker/consumer/consumer.py ensure_connected).
    """

    def ensure_connection(self, *args: Any, **more: Any) -> Connection:
        """As in kombu, with shorter pauses where the caller asks for none."""
        pauses = {"interval_start": 0.5, "interval_step": 0.5, "interval_max": RECONNECT_MAX_S}
        connection: Connection = super().ensure_connection(*args, **{**pauses, **more})
        return connection


class _Amqp(AMQP):
    Connection = _Connection


def make_celery(settings: Settings, socket_timeout_s: float = 5) -> Celery:
    """A configured app for a worker (5 s) or the relay (2 s: a frozen Redis must cost little)."""
    app = Celery("goldentime", amqp=_Amqp)
    app.conf.update(
        broker_url=settings.redis_url,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": socket_timeout_s,
            "socket_connect_timeout": 2,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "global_keyprefix": KEY_PREFIX,
        },
        visibility_timeout=VISIBILITY_TIMEOUT_S,
        result_backend=None,
        result_backend_transport_options={"visibility_timeout": VISIBILITY_TIMEOUT_S},
        task_ignore_result=True,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_acks_on_failure=True,
        task_acks_on_timeout=True,
        task_queues=[KombuQueue(name) for name in Queue],
        task_create_missing_queues=False,
        task_default_queue=Queue.DISPATCH.value,
        task_routes={task.value: {"queue": queue.value} for task, queue in ROUTES.items()},
        task_publish_retry_policy={
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            "interval_max": 0.2,
        },
        task_soft_time_limit=45,
        task_time_limit=60,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_proc_alive_timeout=30,
        worker_max_tasks_per_child=200,
        worker_max_memory_per_child=600_000,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        enable_utc=True,
    )
    return app

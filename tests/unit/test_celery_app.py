"""Celery's worker comes back soon after Redis does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker.consumer import Consumer
from kombu.utils import functional

from broker.celery_app import RECONNECT_MAX_S, make_celery
from broker.settings import Settings
from web import supervised

ROOT = Path(__file__).parents[2]
NOBODY = "redis://127.0.0.1:1/0"


def test_a_pool_that_is_told_to_end_never_sleeps_in_the_signal(tmp_path: Path) -> None:
    """Celery's soft shutdown sleeps in the handler, also in the middle of a write to the record.

    A heartbeat that was being written then held SQLite's lock for 25 s: nobody else could write.
    """
    app = make_celery(Settings(data_dir=tmp_path, redis_url=NOBODY))
    assert app.conf.worker_soft_shutdown_timeout == 0
    assert "REMAP_SIGTERM" not in supervised.RUNTIME
    assert "REMAP_SIGTERM" not in (ROOT / "docker-compose.yml").read_text("utf-8")


class Enough(Exception):
    """The worker waited long enough."""


def test_a_worker_without_redis_never_pauses_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through Celery's own consumer code: an update that asks otherwise must show here."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if sum(slept) > 120:
            raise Enough

    monkeypatch.setattr(functional, "sleep", sleep)
    app = make_celery(Settings(data_dir=tmp_path, redis_url=NOBODY))
    pauses: list[float] = []
    worker: Any = SimpleNamespace(
        app=app, first_connection_attempt=False, broker_connection_retry_attempt=0
    )
    connection = app.connection_for_read()
    ensure = connection.ensure_connection

    def noting(errback: Any, *more: Any, **named: Any) -> Any:
        def note(error: Exception, interval: float) -> None:
            pauses.append(interval)
            errback(error, interval)

        return ensure(note, *more, **named)

    monkeypatch.setattr(connection, "ensure_connection", noting)
    with pytest.raises(Enough):
        Consumer.ensure_connected(worker, connection)
    assert len(pauses) > 50
    assert max(pauses) <= RECONNECT_MAX_S

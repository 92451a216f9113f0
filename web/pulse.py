"""A door's sign of life: one row per gunicorn worker, written while it takes callers.

Each beat is proved on a caller's own way: the worker's main loop turns, and a thread of its pool
took a task. A worker whose loop hangs, or whose threads are all held, falls silent, and operations
see it. Nobody ends it for that (broker/watchdog.py): its threads may be full of films on their way.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any

from broker import heartbeat, logs
from broker.errors import DatabaseBusy
from broker.record import Record
from web.state import KEY, State

LOOP_S = 5.0
"""The main loop of gunicorn's gthread worker turns at least once a second."""


class Pulse:
    """The beat of one gunicorn worker (class gthread)."""

    def __init__(self, worker: Any, record: Record, kind: str, every_s: float) -> None:
        self._worker, self._record, self._kind, self._every_s = worker, record, kind, every_s
        self._name = f"{kind}@{record.settings.node}:{os.getpid()}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._served = 0

    def start(self) -> None:
        """Beat in a thread of its own, so that a busy database never holds a caller up."""
        self._thread.start()

    def stop(self) -> None:
        """The worker ends as it should: take its row away, so that nobody misses it."""
        self._over.set()
        self._thread.join(timeout=1)
        with suppress(DatabaseBusy), self._record.write() as session:
            heartbeat.forget(session, self._name)

    def _run(self) -> None:
        while not self._over.is_set():
            proved = threading.Event()
            try:
                self._worker.tpool.submit(proved.set)
            except RuntimeError:  # the pool is closed: the worker is ending
                return
            while not (proved.wait(0.1) and self._loop_turns()):
                if self._over.wait(0.1):
                    return
            self._beat()
            self._over.wait(self._every_s)

    def _loop_turns(self) -> bool:
        """Whether the main loop, which takes callers in, told its arbiter lately that it lives."""
        age_s = time.monotonic() - self._worker.tmp.last_update()
        return bool(age_s < LOOP_S)

    def _beat(self) -> None:
        served = self._worker.nr
        try:
            with self._record.write() as session:
                heartbeat.beat(session, self._name, self._kind, progress=served > self._served)
        except DatabaseBusy:
            return  # everybody's beats are late then; the next one comes
        except Exception:  # a door without a beat still serves; it is logged whole
            logs.logger().exception("a door could not beat", action="pulse.error")
            return
        self._served = served


def of(worker: Any) -> Pulse:
    """The pulse of a worker that has loaded its app."""
    state: State = worker.wsgi.extensions[KEY]
    return Pulse(worker, state.record, state.door, state.settings.sweep_s)

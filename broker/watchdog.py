"""The watchdog: ends processes of this machine that are alive but have stopped working.

What ends is started again by supervisord or Docker, but neither sees that a process is frozen or
hangs; its heartbeat, made by its working loop, shows it. Relay and upkeep each keep a watchdog, so
that each also watches the other; a container's health check is one for a moment. Knows no cases and
judges nobody on another machine.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select

from broker import database, heartbeat, logs
from broker.errors import DatabaseBusy
from broker.record import Record
from broker.tables import Heartbeat

CONFIRM_S = 10.0
"""A watchdog must have seen the same old beat for this long itself, two beats of a live process."""
LOOK_S = 1.0


class Watchdog:
    """Ends processes of one node whose last beat is older than heartbeat.STALE_S.

    Silence counts only while this watchdog itself could read the record: after a database's
    restart, or a pause of the whole machine, everybody gets CONFIRM_S to beat again.
    """

    def __init__(self, record: Record, kinds: Collection[str] = ()) -> None:
        self._record = record
        self._kinds = kinds
        """Kinds to judge; empty means all."""
        self._seen: dict[str, tuple[datetime, float]] = {}
        """Per process its last beat and since when (monotonic) we know of no newer one."""
        self._looked = 0.0
        self._log = logs.logger()

    def start(self, over: threading.Event) -> None:
        """Look again and again in a thread of its own until `over`."""
        threading.Thread(target=self.watch, args=(over,), daemon=True).start()

    def watch(self, over: threading.Event, limit_s: float = float("inf")) -> None:
        """Look again and again until `over`, or for so many seconds."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until and not over.wait(LOOK_S):
            try:
                self.look()
            except DatabaseBusy:
                self._seen.clear()  # they may be unable to beat for the same reason
            except Exception:
                self._log.exception("a watchdog's look failed", action="watchdog.error")

    def look(self) -> list[str]:
        """One look; returns the names of the processes that were ended."""
        node = self._record.settings.node
        with self._record.read() as session:
            now = database.now(session)
            rows = [
                row
                for row in session.scalars(select(Heartbeat))
                if row.name in {f"{row.kind}@{node}", f"{row.kind}@{node}:{row.pid}"}
                and (not self._kinds or row.kind in self._kinds)
            ]
        here = time.monotonic()
        if here - self._looked > CONFIRM_S:
            self._seen.clear()  # we slept ourselves, perhaps with everybody else
        self._looked = here
        seen, self._seen = self._seen, {}
        ended = []
        for row in rows:
            beat_at, since = seen.get(row.name, (None, here))
            since = since if beat_at == row.beat_at else here
            self._seen[row.name] = (row.beat_at, since)
            silent = now - row.beat_at
            if here - since < CONFIRM_S or silent <= timedelta(seconds=heartbeat.STALE_S):
                continue
            if _end(row):
                ended.append(row.name)
                self._log.error(
                    "a process was alive but silent; it was ended, its supervisor starts it again",
                    action="watchdog.ended",
                    part=row.name,
                    silent_s=round(silent.total_seconds(), 1),
                )
        return ended


def _end(row: Heartbeat) -> bool:
    """SIGKILL the process that made this beat, and no other; False when it is gone."""
    try:
        handle = os.pidfd_open(row.pid)  # holds on to the process that we then look at
    except (OSError, AttributeError):  # gone; or a system without pidfd, where nobody is judged
        return False
    try:
        if row.born_ticks is None or heartbeat.born_ticks(row.pid) != row.born_ticks:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True

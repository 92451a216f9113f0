"""The watchdog: ends processes of this machine that are alive but have stopped working.

What ends is started again by supervisord or Docker, but neither sees that a process is frozen or
hangs; its heartbeat, made by its working loop, shows it, and on SQLite the lock that it never gives
back. Relay and upkeep each keep a watchdog, so that each also watches the other; a container's
health check is one for a moment. Knows no cases and judges nobody on another machine.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

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

    Silence counts only while others beat and this watchdog can read: after a database's restart,
    or a pause of the whole machine, everybody gets CONFIRM_S to beat again. When nobody can beat,
    because one of them holds SQLite's lock, that one is ended after STALE_S. Doors are not judged:
    a silent one may be full, and gunicorn's arbiter ends those of its workers that hang.
    """

    def __init__(self, record: Record, kinds: Collection[str] = ()) -> None:
        self._record = record
        self._kinds = kinds
        """Kinds to judge; empty means all."""
        self._seen: dict[str, tuple[datetime, float]] = {}
        """Per process its last beat and since when (monotonic) we know of no newer one."""
        self._known: dict[int, int | None] = {}
        """Processes that beat on this node: pid and birth."""
        self._holding: dict[int, float] = {}
        """Who has held SQLite's lock at every look since nobody could beat, and since when."""
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
            except Exception:  # whatever failed, the next look must come; it is logged whole
                self._log.exception("a watchdog's look failed", action="watchdog.error")

    def look(self) -> list[int]:
        """One look; returns the pids of the processes that were ended."""
        here = time.monotonic()
        if here - self._looked > CONFIRM_S:
            self._seen.clear()  # we slept ourselves, perhaps with everybody else
            self._holding.clear()
        try:
            now, rows = self._read()
        except DatabaseBusy:
            now, rows = None, []
        self._looked = time.monotonic()
        alone = now is None or not any(now - row.beat_at < _seconds(CONFIRM_S) for row in rows)
        mine = [row for row in rows if self._is_here(row)]
        if mine:
            self._known = {row.pid: row.born_ticks for row in mine}
        if alone:
            self._seen.clear()  # they may be unable to beat for the same reason
            return self._end_holders(here)
        self._holding.clear()
        assert now is not None  # somebody's beat is fresh by this clock
        return self._end_silent(mine, now, here)

    def _read(self) -> tuple[datetime, list[Heartbeat]]:
        with self._record.read() as session:
            return database.now(session), list(session.scalars(select(Heartbeat)))

    def _is_here(self, row: Heartbeat) -> bool:
        node = self._record.settings.node
        return row.name in {f"{row.kind}@{node}", f"{row.kind}@{node}:{row.pid}"}

    def _end_silent(self, rows: list[Heartbeat], now: datetime, here: float) -> list[int]:
        seen, self._seen = self._seen, {}
        ended = []
        for row in rows:
            beat_at, since = seen.get(row.name, (None, here))
            since = since if beat_at == row.beat_at else here
            self._seen[row.name] = (row.beat_at, since)
            if here - since < CONFIRM_S or now - row.beat_at <= _seconds(heartbeat.STALE_S):
                continue
            if row.kind in heartbeat.DOORS or (self._kinds and row.kind not in self._kinds):
                continue
            if _end(row.pid, row.born_ticks):
                ended.append(row.pid)
                self._log.error(
                    "a process was alive but silent; it was ended, its supervisor starts it again",
                    action="watchdog.ended",
                    part=row.name,
                    silent_s=round((now - row.beat_at).total_seconds(), 1),
                )
        return ended

    def _end_holders(self, here: float) -> list[int]:
        """On SQLite: end one of ours, or a child of one, that holds the lock all along."""
        path = self._record.engine.url.database
        if self._record.engine.dialect.name != "sqlite" or not path:
            return []
        holders = _lock_holders(Path(path), Path(f"{path}{database.TURN_SUFFIX}"))
        self._holding = {pid: self._holding.get(pid, here) for pid in holders}
        ended = []
        for pid, since in self._holding.items():
            born = heartbeat.born_ticks(pid)
            ours = self._known.get(pid, -1) == born or _parent(pid) in self._known
            if here - since > heartbeat.STALE_S and ours and pid != os.getpid() and _end(pid, born):
                ended.append(pid)
                self._log.error(
                    "a process held the database's lock and nobody could write; it was ended, its "
                    "supervisor starts it again",
                    action="watchdog.ended",
                    pid=pid,
                    silent_s=round(here - since, 1),
                )
        return ended


def _seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def _lock_holders(*files: Path) -> set[int]:
    """Processes that hold a lock on a file just now (Linux: /proc/locks, proc(5))."""
    try:
        lines = Path("/proc/locks").read_text("ascii").splitlines()
        stats = [file.stat() for file in files if file.exists()]
    except OSError:
        return set()
    places = {
        f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
        for found in stats
    }
    # 1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF; "->" marks one that waits
    fields = [line.split() for line in lines if "->" not in line]
    return {int(f[4]) for f in fields if f[5] in places and int(f[4]) > 0}


def _parent(pid: int) -> int | None:
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(line.rpartition(b")")[2].split()[1])


def _end(pid: int, born_ticks: int | None) -> bool:
    """SIGKILL the process of that pid and birth, and no other; False when it is gone."""
    try:
        handle = os.pidfd_open(pid)  # holds on to the process that we then look at
    except (OSError, AttributeError):  # gone; or a system without pidfd, where nobody is judged
        return False
    try:
        if born_ticks is None or heartbeat.born_ticks(pid) != born_ticks:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True

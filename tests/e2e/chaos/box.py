"""One installation of real processes that a test may break: its parts, servers, people and rows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from broker import database, health, heartbeat
from broker.record import Record
from broker.settings import Settings
from tests.servers import PostgresServer, RedisServer
from web import cli, supervised
from web.cli import Prepared
from web.supervised import Part, Supervisor

T = TypeVar("T")
POOLS = ("classify", "classify2", "detect", "dispatch")


@dataclass(frozen=True)
class Far:
    """Addresses of database and Redis beyond a network; one classify pool has a way of its own."""

    database_url: str
    classify_database_url: str
    redis_url: str


@dataclass
class Box:
    """A running installation; Redis and PostgreSQL belong to the test, the rest to supervisord."""

    settings: Settings
    supervisor: Supervisor
    people: Prepared
    redis: RedisServer
    postgres: PostgresServer | None
    record: Record
    struck: list[tuple[float, str]] = field(default_factory=list)
    """When what was broken on purpose, in this scenario."""

    def strike(self, name: str) -> None:
        """Write down a blow."""
        self.struck.append((time.time(), name))

    def pid(self, part: str) -> int | None:
        """The process of a part, or None while supervisord restarts it."""
        with suppress(OSError, ValueError):
            pid = int((self.supervisor.folder / f"{part}.pid").read_text())
            return pid if psutil.pid_exists(pid) else None
        return None

    def kill(self, part: str, how: signal.Signals = signal.SIGKILL) -> None:
        """Signal a part's main process; nothing happens when it is just gone."""
        pid = self.pid(part)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, how)

    def children(self, part: str) -> list[psutil.Process]:
        """The children of a part (a pool's workers, gunicorn's workers)."""
        pid = self.pid(part)
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).children() if pid else []
        return []

    def processes(self, part: str) -> list[psutil.Process]:
        """A part's main process and its children."""
        pid = self.pid(part)
        return [psutil.Process(pid), *self.children(part)] if pid else []

    def wait(self, look: Callable[[], T | None], what: str, limit_s: float = 60) -> T:
        """The first true answer of `look`."""
        until = time.monotonic() + limit_s
        while not (found := look()):
            assert time.monotonic() < until, f"{what} did not come in {limit_s:g} s"
            time.sleep(0.05)
        return found

    def restart(self, part: str, how: signal.Signals = signal.SIGTERM) -> None:
        """As an operator does: ask the part to end and wait until supervisord's new one works.

        A door that gets SIGHUP keeps its port and its arbiter, and replaces its workers.
        """
        self.strike(f"{how.name} {part}")
        old, workers = self.pid(part), self.children(part)
        self.kill(part, how)
        if how is signal.SIGHUP:
            self.wait(lambda: not any(w.is_running() for w in workers), f"{part}'s new workers", 90)
            return
        began = self._now()
        self.wait(lambda: self.pid(part) not in (None, old), f"{part}'s restart", 90)
        self.wait(lambda: self._works(part, began), f"{part} at work", 90)

    def _now(self) -> datetime:
        with self.record.read() as session:
            return database.now(session)

    def _works(self, part: str, since: datetime) -> bool:
        doors = {"gateway": self.settings.public_url, "stream": self.settings.stream_url}
        if part in doors:
            return health.door(self.settings, doors[part] + "/healthz", timeout_s=3) is None
        pid = self.pid(part)
        with self.record.read() as session:
            return any(
                row.pid == pid and row.beat_at >= since
                for row in heartbeat.alive(session, part.rstrip("2"))
            )

    def heal(self) -> None:
        """Wait until every part works again."""
        self.supervisor.wait_until_ready(lambda _name, _s: None)


@contextmanager
def box(
    database_url: str,
    folder: Path,
    redis: RedisServer,
    postgres: PostgresServer | None,
    *,
    lease_s: float,
    far: Far | None = None,
) -> Iterator[Box]:
    """A running installation with two classify pools, so that one may be dead.

    far: the parts reach database and Redis by these addresses; the test itself by the plain ones.
    """
    settings = replace(
        supervised.settle(
            Settings(
                data_dir=folder,
                database_url=database_url,
                min_free_bytes=1,
                reading_lease_s=lease_s,
                log_level="WARNING",
            ),
            first_port=8500,
        ),
        redis_url=far.redis_url if far else redis.url,
    )
    near = settings
    if far:
        settings = replace(settings, database_url=far.database_url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervised, "parts", _broken_in(supervised.parts, far))
        with supervised.running(settings) as supervisor:
            record = Record(near)
            try:
                yield Box(settings, supervisor, cli.prepare(settings), redis, postgres, record)
            finally:
                record.close()


def _broken_in(
    parts: Callable[[Settings], list[Part]], far: Far | None
) -> Callable[[Settings], list[Part]]:
    def ours(settings: Settings) -> list[Part]:
        found = []
        for part in parts(settings):
            if part.name == "redis":
                continue  # the test's own, to be stopped and frozen
            command = tuple(
                "tests.e2e.chaos.pool" if word == "workers.app" else word for word in part.command
            )
            own_way = ()
            if far and part.name == "classify":
                own_way = ("/usr/bin/env", f"GOLDENTIME_DATABASE_URL={far.classify_database_url}")
            found.append(Part(part.name, (*own_way, *command)))
            if part.name == "classify":
                second = tuple(w.replace("classify@", "classify2@") for w in command)
                found.append(Part("classify2", second))
        return found

    return ours

"""One installation of real processes that a test may break: its parts, servers, people and rows."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from broker import database, health, heartbeat
from broker.errors import DatabaseBusy
from broker.record import Record
from broker.settings import Settings
from tests.servers import PostgresServer, RedisServer
from web import cli, supervised
from web.cli import Prepared
from web.supervised import Part, Supervisor

T = TypeVar("T")
POOLS = ("classify", "classify2", "detect", "dispatch")
DOORS = ("gateway1", "gateway2", "stream")


@dataclass(frozen=True)
class Far:
    """Addresses of database and Redis beyond a network."""

    database_url: str
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
        while True:
            with suppress(DatabaseBusy):  # SQLite's lock may lie with a process that was frozen
                if found := look():
                    return found
            assert time.monotonic() < until, f"{what} did not come in {limit_s:g} s"
            time.sleep(0.05)

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
        if part == "stream":
            url = f"{self.settings.stream_url}/healthz"
            return health.door(self.settings, url, timeout_s=3) is None
        if part in DOORS:  # its port answers anyhow: its own worker must be there
            return bool(self.children(part))
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
    environment: Callable[[str], Mapping[str, str]] = lambda _part: {},
) -> Iterator[Box]:
    """A running installation with two classify pools, so that one may be dead.

    far: the parts reach database and Redis by these addresses; the test itself by the plain ones.
    environment: what a part of that name gets beside the common environment.
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
        patch.setattr(supervised, "parts", _broken_in(supervised.parts, environment))
        with supervised.running(settings) as supervisor:
            record = Record(near)
            try:
                yield Box(settings, supervisor, cli.prepare(settings), redis, postgres, record)
            finally:
                record.close()


def _broken_in(
    parts: Callable[[Settings], list[Part]], environment: Callable[[str], Mapping[str, str]]
) -> Callable[[Settings], list[Part]]:
    def ours(settings: Settings) -> list[Part]:
        found = []
        for part in parts(settings):
            if part.name == "redis":
                continue  # the test's own, to be stopped and frozen
            command = tuple(
                "tests.e2e.chaos.pool" if word == "workers.app" else word for word in part.command
            )
            found.append(_with(environment(part.name), replace(part, command=command)))
            if part.name == "classify":
                second = tuple(w.replace("classify@", "classify2@") for w in command)
                found.append(_with(environment("classify2"), Part("classify2", second)))
        return found

    return ours


def _with(environment: Mapping[str, str], part: Part) -> Part:
    words = [f"{key}={value}" for key, value in environment.items()]
    return replace(part, command=("/usr/bin/env", *words, *part.command)) if words else part

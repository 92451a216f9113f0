"""Where the relay waits for hints: a LISTEN on PostgreSQL, a local datagram socket on SQLite."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Protocol

import psycopg
from sqlalchemy.engine import make_url

from broker import database
from broker.poke import CHANNEL
from broker.settings import Settings


class Hints(Protocol):
    """Something to wait on."""

    def wait(self, timeout_s: float) -> set[str] | None:
        """Audiences with news (empty = perhaps all), or None when nothing was said in time."""
        ...

    def close(self) -> None:
        """Stop listening."""
        ...


def listen(settings: Settings) -> Hints:
    """The hints of this installation's database."""
    if make_url(settings.database).get_backend_name() == "sqlite":
        return DatagramHints(settings)
    return NotifyHints(settings)


class DatagramHints:
    """Datagrams on a local socket; the last relay that started holds the name."""

    def __init__(self, settings: Settings) -> None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        path = settings.relay_socket
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def wait(self, timeout_s: float) -> set[str] | None:
        """Wait for a datagram and drain those behind it."""
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        if not ready:
            return None
        said: set[str] = set()
        while True:
            try:
                said |= _parse(self._socket.recv(65536).decode())
            except BlockingIOError:
                return said

    def close(self) -> None:
        """Close the socket; the path stays for the next relay to replace."""
        self._socket.close()


class NotifyHints:
    """LISTEN on a connection of its own; a lost connection is opened again at the next wait."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(settings.database).set(drivername="postgresql")
        self._address = url.render_as_string(hide_password=False)
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None

    def wait(self, timeout_s: float) -> set[str] | None:
        """Wait for a NOTIFY and drain those behind it."""
        until = time.monotonic() + timeout_s
        try:
            if self._connection is None:
                self._connection = psycopg.connect(
                    self._address, autocommit=True, **database.PARTITION
                )
                self._connection.execute(f"LISTEN {CHANNEL}")
                return set()  # something may have been said while nobody listened
            said = [
                _parse(notice.payload)
                for notice in self._connection.notifies(timeout=timeout_s, stop_after=1)
            ]
            if not said:
                return None
            said += [_parse(n.payload) for n in self._connection.notifies(timeout=0)]
            return set().union(*said)
        except psycopg.OperationalError:
            self.close()
            time.sleep(max(0.0, min(1.0, until - time.monotonic())))  # do not spin on a dead server
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _parse(payload: str) -> set[str]:
    try:
        said = json.loads(payload)
    except ValueError:
        return set()
    return {item for item in said if isinstance(item, str)} if isinstance(said, list) else set()

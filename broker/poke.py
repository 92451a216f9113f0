"""The hint after a commit: "look now". May be lost, is never waited for.

On PostgreSQL it is a NOTIFY inside the transaction; on SQLite one datagram to the relay's local
socket. The relay's sweep finds whatever a lost hint would have told.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from broker.settings import Settings

CHANNEL = "goldentime"
MAX_BYTES = 4000
"""Below PostgreSQL's 8000-byte limit of a NOTIFY payload, and any datagram limit."""


def payload(audiences: Iterable[str]) -> str:
    """The hint as text: which audiences have news; too many names become an empty list = all."""
    text_ = json.dumps(sorted(set(audiences)))
    return text_ if len(text_) <= MAX_BYTES else "[]"


def notify(session: Session, audiences: Iterable[str]) -> None:
    """Queue a NOTIFY that PostgreSQL sends when this transaction commits."""
    session.execute(
        text("SELECT pg_notify(:channel, :payload)"),
        {"channel": CHANNEL, "payload": payload(audiences)},
    )


class Poker:
    """Sends datagrams to the relay; silent when nobody listens."""

    def __init__(self, settings: Settings) -> None:
        self._address = str(settings.relay_socket)
        self._socket: socket.socket | None = None

    def send(self, audiences: Iterable[str]) -> None:
        """One non-blocking datagram; a missing or busy relay is no error."""
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        try:
            self._socket.sendto(payload(audiences).encode(), self._address)
        except OSError:
            return  # the sweep will find it

    def close(self) -> None:
        """Give the socket back; a later send opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

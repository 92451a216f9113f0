"""The record of one process: read units and write units.

A write unit is one transaction: a door's body, then its queued events in sorted audience order,
then the commit, then a hint to the relay. Services take the session; only doors open units.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.orm import Session, sessionmaker

from broker import database, events, poke
from broker.errors import DatabaseBusy, LostRace
from broker.settings import Settings

T = TypeVar("T")
BUSY_TRIES = 3
BUSY_TRIES_S = 8.0
"""No new try begins later: clients wait 15 s for an answer, and one try may take 5."""
RACE_TRIES = 12
"""Every lost race has a winner, so as many tries as ERs that may answer at once are enough."""


class Record:
    """The database of one process: read units, write units and the clock."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = database.connect(settings)
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(
            self.engine.execution_options(reading=True), expire_on_commit=False
        )
        self._poke = poke.Poker(settings)

    def forked(self) -> None:
        """In a child: leave the connections to the parent; the next unit opens its own."""
        self._poke.close()
        self.engine.dispose(close=False)

    def close(self) -> None:
        """Give the connections back."""
        self._poke.close()
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that writes nothing."""
        with database.answering(), self._readers() as session:
            yield session

    @contextmanager
    def look(self) -> Iterator[Session]:
        """A session in which somebody looks at a patient: read first, then the audit committed.

        Nothing leaves the unit before its trace is kept, and who looks at a long list does not hold
        SQLite's only writer lock meanwhile.
        """
        with self.read() as session:
            noted = events.note_audit(session)
            yield session
        if noted:
            with self.write() as session:
                session.add_all(noted)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: the body, then its queued events in sorted audience order, then commit.

        Raises DatabaseBusy when the database cannot be reached or stays locked. After the commit
        the relay is poked; that may be lost and is never waited for.
        """
        with database.answering(), self._sessions() as session:
            yield session
            pokes = events.write_queued(session)
            if pokes and self.engine.dialect.name == "postgresql":
                poke.notify(session, pokes)  # travels with the commit
            session.commit()
            if pokes and self.engine.dialect.name == "sqlite":
                self._poke.send(pokes)

    def again(self, unit: Callable[[Session], T]) -> T:
        """Run a whole write unit; again from the start after a lost race or a busy database.

        The unit must read all that it decides on inside itself.
        """
        busy = races = 0
        began = time.monotonic()
        while True:
            try:
                with self.write() as session:
                    return unit(session)
            except LostRace:
                races += 1
                if races >= RACE_TRIES:
                    raise
            except DatabaseBusy:
                busy += 1
                if busy >= BUSY_TRIES or time.monotonic() - began > BUSY_TRIES_S:
                    raise
            time.sleep(random.uniform(0, 0.01 * (races + 10 * busy)))  # jitter

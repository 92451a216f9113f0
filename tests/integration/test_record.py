"""Units of work when the database is busy: waited for, tried again whole, given up in time."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import database, events, record as record_
from broker.errors import DatabaseBusy, NotFound
from broker.record import Record
from broker.tables import Ambulance, AuditEntry


@contextmanager
def locked(record: Record, for_s: float) -> Iterator[None]:
    """Somebody else holds SQLite's write lock, past what one try waits for it."""
    path = record.engine.url.database
    assert path
    held = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            held.set()
            time.sleep(for_s)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    yield
    thread.join()


@pytest.fixture(autouse=True)
def only_sqlite(record: Record) -> None:
    if record.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL locks rows, not the file")


def add(session: Session) -> None:
    session.add(Ambulance(call_sign="Golden 99"))


def test_a_lock_that_outlasts_one_try_costs_time_only(record: Record):
    with locked(record, 6):
        record.again(add)
    with record.read() as session:
        assert session.scalar(select(func.count()).select_from(Ambulance)) == 1


def test_whoever_asks_is_told_before_it_stops_listening(
    record: Record, monkeypatch: pytest.MonkeyPatch
):
    """No third try of 5 s begins: with the second the answer comes before a client's 15 s."""
    monkeypatch.setattr(record_, "BUSY_TRIES_S", 0.5)
    tries = 0

    def unit(session: Session) -> None:
        nonlocal tries
        tries += 1
        add(session)
        session.flush()

    with locked(record, 6), pytest.raises(DatabaseBusy):
        record.again(unit)
    assert tries == 1
    record.again(unit)


def test_the_log_says_why_and_a_client_is_not_told_more(record: Record):
    nowhere = replace(record.settings, database_url="postgresql://nobody@127.0.0.1:1/none")
    with closing(Record(nowhere)) as away, pytest.raises(DatabaseBusy) as busy, away.read() as unit:
        unit.execute(select(1))
    assert "127.0.0.1" in busy.value.why
    assert "refused" in busy.value.why
    assert busy.value.extra == {"reason": "OperationalError"}


def looked(record: Record) -> list[str]:
    with record.read() as session:
        return list(session.scalars(select(AuditEntry.action)))


def test_who_looks_holds_up_no_writer_and_leaves_a_trace(record: Record):
    with record.look() as session:
        events.audit(session, "somebody", "case.viewed", None)
        with record.write() as other:
            other.flush()  # the one writer's turn is free meanwhile
        assert looked(record) == []
    assert looked(record) == ["case.viewed"]


def test_a_look_that_ends_in_a_refusal_leaves_none(record: Record):
    def refused() -> None:
        with record.look() as session:
            events.audit(session, "somebody", "case.viewed", None)
            raise NotFound("there is no such case")

    with pytest.raises(NotFound):
        refused()
    assert looked(record) == []


def test_nothing_is_shown_when_its_trace_cannot_be_kept(
    record: Record, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(database, "BUSY_S", 0.1)

    def shown() -> str:
        with record.look() as session:
            events.audit(session, "somebody", "case.viewed", None)
            return "a name"

    with locked(record, 6), pytest.raises(DatabaseBusy):
        shown()
    assert looked(record) == []

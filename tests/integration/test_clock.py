"""The database's clock, as a unit counts on from it."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from broker import database
from broker.record import Record
from tests.integration.statements import sent


def test_a_unit_asks_once_and_time_passes_all_the_same(record: Record):
    with record.read() as session, sent(record) as statements:
        first = database.now(session)
        time.sleep(0.05)
        second = database.now(session)
    assert len(statements) == 1
    assert timedelta(seconds=0.05) <= second - first < timedelta(seconds=0.5)


def test_the_next_unit_asks_anew_and_no_unit_is_ahead_of_it(record: Record):
    with record.read() as session:
        database.now(session)
        for _ in range(20):
            counted = database.now(session)
            with record.read() as fresh, sent(record) as statements:
                asked = database.now(fresh)
            assert len(statements) == 1
            # SQLite tells whole milliseconds
            assert counted - timedelta(milliseconds=1) <= asked


def test_a_unit_that_lasts_asks_again(record: Record, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(database, "CLOCK_KEPT_S", 0.01)
    with record.read() as session, sent(record) as statements:
        database.now(session)
        time.sleep(0.02)
        database.now(session)
    assert len(statements) == 2

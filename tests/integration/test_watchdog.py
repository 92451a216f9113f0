"""The watchdog ends what is frozen, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import delete, update

from broker import database, health, heartbeat, watchdog
from broker.errors import DatabaseBusy
from broker.record import Record
from broker.tables import Heartbeat
from broker.watchdog import Watchdog

Sleeper = subprocess.Popen[bytes]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "CONFIRM_S", 0.4)
    monkeypatch.setattr(watchdog, "LOOK_S", 0.1)


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    """A process that does nothing, as a frozen one does."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def fell_silent(record: Record, pid: int, name: str = "classify@test", **values: object) -> None:
    """A beat of that process, made long ago."""
    with record.write() as session:
        heartbeat.beat(session, f"{name}:{pid}", "classify")
        session.execute(
            update(Heartbeat).values(
                {
                    "pid": pid,
                    "born_ticks": heartbeat.born_ticks(pid),
                    "beat_at": database.now(session) - timedelta(seconds=heartbeat.STALE_S + 5),
                }
                | values
            )
        )
        heartbeat.beat(session, "somebody@else", "relay")  # others are heard, and stay heard
        others = update(Heartbeat).where(Heartbeat.name == "somebody@else")
        session.execute(others.values(beat_at=database.now(session) + timedelta(minutes=1)))


def watch(record: Record, seconds: float = 1.0) -> None:
    Watchdog(record).watch(threading.Event(), seconds)


def test_a_silent_process_is_ended(record: Record, sleeper: Sleeper):
    fell_silent(record, sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)  # nothing that it could do about it itself
    dog = Watchdog(record)
    until = time.monotonic() + 30  # a busy machine's late look counts as a pause: look on
    while sleeper.poll() is None and time.monotonic() < until:
        dog.watch(threading.Event(), 0.2)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_a_fresh_beat_saves(record: Record, sleeper: Sleeper):
    fell_silent(record, sleeper.pid)
    with record.write() as session:
        session.execute(update(Heartbeat).values(beat_at=database.now(session)))
    watch(record)
    assert sleeper.poll() is None


def test_a_silent_door_is_seen_and_not_ended(record: Record, sleeper: Sleeper):
    """Its threads may be full of films that are on their way."""
    fell_silent(record, sleeper.pid, "gateway@test", kind="gateway")
    watch(record)
    assert sleeper.poll() is None
    with record.read() as session:
        assert heartbeat.alive(session, "gateway") == []


def test_another_process_with_the_same_pid_is_let_alone(record: Record, sleeper: Sleeper):
    born = heartbeat.born_ticks(sleeper.pid)
    assert born
    fell_silent(record, sleeper.pid, born_ticks=born - 1)
    watch(record)
    assert sleeper.poll() is None


def test_another_machines_process_is_let_alone(record: Record, sleeper: Sleeper):
    fell_silent(record, sleeper.pid, name="classify@elsewhere")
    watch(record)
    assert sleeper.poll() is None


def test_silence_while_the_record_was_away_does_not_count(
    record: Record, sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
):
    """Every second look fails: nobody could have beaten in between."""
    fell_silent(record, sleeper.pid)
    looks = iter(range(1000))
    read = Watchdog._read

    def shaky(self: Watchdog) -> object:
        if next(looks) % 2:
            raise DatabaseBusy("test")
        return read(self)

    monkeypatch.setattr(Watchdog, "_read", shaky)
    watch(record)
    assert sleeper.poll() is None


def test_when_nobody_beats_nobody_is_judged(record: Record, sleeper: Sleeper):
    """A long backup of SQLite holds every writer back, and every beat."""
    fell_silent(record, sleeper.pid)
    with record.write() as session:
        session.execute(delete(Heartbeat).where(Heartbeat.name == "somebody@else"))
    watch(record)
    assert sleeper.poll() is None


@pytest.mark.parametrize("how", ["reads", "writes"])
def test_who_is_frozen_with_sqlites_lock_is_ended(
    record: Record, how: str, monkeypatch: pytest.MonkeyPatch
):
    """It cannot be seen by its beat: with that lock held, nobody beats and perhaps nobody reads."""
    if record.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL ends an idle transaction itself")
    monkeypatch.setattr(heartbeat, "STALE_S", 1.0)
    path = record.engine.url.database
    code = (
        "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
        "sys.stdin.readline();"
        f"c.execute('BEGIN {'EXCLUSIVE' if how == 'writes' else ''}');"
        "c.execute('SELECT * FROM heartbeats').fetchall();"
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        dog = Watchdog(record)
        fell_silent(record, holder.pid)
        with record.write() as session:
            session.execute(delete(Heartbeat).where(Heartbeat.name == "somebody@else"))
        dog.look()  # it knows who is at work here
        assert holder.stdin
        assert holder.stdout
        holder.stdin.write(b"now\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(watchdog, "CONFIRM_S", 5.0)  # a busy machine is no pause
        until = time.monotonic() + 30
        while holder.poll() is None and time.monotonic() < until:
            dog.watch(threading.Event(), 0.2)
        ended = holder.poll()
        holder.kill()
    assert ended == -signal.SIGKILL


def test_silence_while_the_watchdog_slept_does_not_count(record: Record, sleeper: Sleeper):
    """A machine that was paused: its first look must not be its last word."""
    fell_silent(record, sleeper.pid)
    dog = Watchdog(record)
    assert dog.look() == []
    time.sleep(0.6)  # everybody slept
    assert dog.look() == []
    assert sleeper.poll() is None


def test_the_health_check_of_a_container_ends_it(
    record: Record, sleeper: Sleeper, monkeypatch: pytest.MonkeyPatch
):
    fell_silent(record, sleeper.pid)
    monkeypatch.setattr(watchdog, "CONFIRM_S", 2.0)  # a busy machine's late look is no pause
    monkeypatch.setattr(watchdog, "LOOK_S", 0.7)  # and three of them are time enough
    monkeypatch.setattr(health.settings_, "from_env", lambda: record.settings)
    assert health.main(["classify"]) == 1
    assert sleeper.poll() is None  # asked only
    assert health.main(["classify", "--end-frozen"]) == 1
    assert sleeper.wait(5) == -signal.SIGKILL


def test_a_process_knows_its_birth():
    assert heartbeat.born_ticks(os.getpid()) == heartbeat.born_ticks(os.getpid())
    assert heartbeat.born_ticks(2**22 + 1) is None  # above the kernel's highest pid

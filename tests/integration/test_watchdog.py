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
from sqlalchemy import update

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


def watch(record: Record, seconds: float = 1.0) -> None:
    Watchdog(record).watch(threading.Event(), seconds)


def test_a_silent_process_is_ended(record: Record, sleeper: Sleeper):
    fell_silent(record, sleeper.pid)
    sleeper.send_signal(signal.SIGSTOP)  # nothing that it could do about it itself
    watch(record)
    assert sleeper.wait(5) == -signal.SIGKILL


def test_a_fresh_beat_saves(record: Record, sleeper: Sleeper):
    fell_silent(record, sleeper.pid)
    with record.write() as session:
        session.execute(update(Heartbeat).values(beat_at=database.now(session)))
    watch(record)
    assert sleeper.poll() is None


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
    look = Watchdog.look

    def shaky(self: Watchdog) -> list[str]:
        if next(looks) % 2:
            raise DatabaseBusy(reason="test")
        return look(self)

    monkeypatch.setattr(Watchdog, "look", shaky)
    watch(record)
    assert sleeper.poll() is None


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
    monkeypatch.setattr(health.settings_, "from_env", lambda: record.settings)
    assert health.main(["classify"]) == 1
    assert sleeper.poll() is None  # asked only
    assert health.main(["classify", "--end-frozen"]) == 1
    assert sleeper.wait(5) == -signal.SIGKILL


def test_a_process_knows_its_birth():
    assert heartbeat.born_ticks(os.getpid()) == heartbeat.born_ticks(os.getpid())
    assert heartbeat.born_ticks(2**22 + 1) is None  # above the kernel's highest pid

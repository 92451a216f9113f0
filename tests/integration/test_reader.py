"""The reader of a pool's child: films that end it, raise, never end, or are read.

Real processes; what they run stands here, at the top level, for it travels by name.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from broker.errors import LeaseLost
from workers import reader
from workers.reader import Reader, ReaderLost, as_logged

LOADED: list[int] = []
"""What a reader loaded, and by which process."""


class Unsent(Exception):
    """Cannot travel: it asks for more than its message."""

    def __init__(self, code: int, where: str) -> None:
        super().__init__(f"{code} at {where}")


def load() -> None:
    LOADED.append(os.getpid())


def loaded() -> tuple[int, list[int]]:
    return os.getpid(), LOADED


def end(how: signal.Signals) -> None:
    os.kill(os.getpid(), how)


def crash() -> None:
    faulthandler.disable()  # pytest's would fill the log
    ctypes.string_at(0)


def leave(status: int) -> None:
    sys.exit(status)


def fail(error: type[Exception]) -> None:
    if error is Unsent:
        raise Unsent(7, "the network")
    raise error("NaN")


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.setattr(reader, "MEANWHILE_S", 0.05)
    ours = Reader()
    yield ours
    ours.stop()


def test_one_process_reads_film_after_film_and_loads_once(ours: Reader):
    ours.start(load)
    first, second = ours.run(loaded), ours.run(loaded)
    assert first == second == (first[0], [first[0]])
    assert first[0] != os.getpid()
    assert LOADED == []  # nothing of it reaches the child


@pytest.mark.parametrize(
    ("film", "args", "how"),
    [
        (end, (signal.SIGKILL,), "SIGKILL"),
        (crash, (), "SIGSEGV"),
        (leave, (3,), "exit status 1"),
    ],
)
def test_a_film_that_ends_its_reader_costs_that_reader_only(
    ours: Reader, film, args, how, capfd: pytest.CaptureFixture[str]
):
    ours.start(load)
    before = ours.run(os.getpid)
    with pytest.raises(ReaderLost, match=how) as lost:
        ours.run(film, *args)
    assert lost.value.code == "worker_lost"
    assert not psutil.pid_exists(before)
    after, loads = ours.run(loaded)
    assert after != before
    assert loads == [after]  # the one in its place is as ready as it was
    assert ("SystemExit" in capfd.readouterr().err) is (film is leave)  # and says why it left


def test_a_reader_that_ended_between_two_films_is_no_films_fault(ours: Reader):
    before = ours.run(os.getpid)
    os.kill(before, signal.SIGKILL)
    os.waitid(os.P_PID, before, os.WEXITED | os.WNOWAIT)  # it is gone, and not yet buried
    assert ours.run(os.getpid) != before


def test_a_task_whose_time_is_over_ends_its_reader(ours: Reader):
    """As Celery says it: by a signal whose handler raises, wherever its child just is."""

    class TimeIsOver(Exception):
        pass

    def say(*_: object) -> None:
        raise TimeIsOver

    before = ours.run(os.getpid)
    old = signal.signal(signal.SIGUSR1, say)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(TimeIsOver):
            ours.run(time.sleep, 60)
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert not psutil.pid_exists(before)


def test_a_reader_that_is_silent_for_too_long_is_replaced(
    ours: Reader, monkeypatch: pytest.MonkeyPatch
):
    """It hangs, or somebody froze it, while its child renews the lease."""
    before = ours.run(os.getpid)
    monkeypatch.setattr(reader, "LONGEST_S", 0.2)
    with pytest.raises(ReaderLost, match=r"silent for 0\.2 s"):
        ours.run(end, signal.SIGSTOP)
    assert not psutil.pid_exists(before)
    assert ours.run(os.getpid) != before


def test_a_reader_that_has_swollen_is_replaced_after_its_answer(
    ours: Reader, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(reader, "MOST_KIB", 1)
    before = ours.run(os.getpid)
    assert not psutil.pid_exists(before)
    assert ours.run(os.getpid) != before


def test_a_later_fault_says_nothing_of_an_earlier_readers_end(ours: Reader):
    with pytest.raises(ReaderLost):
        ours.run(end, signal.SIGKILL)
    with pytest.raises(ValueError, match="NaN") as raised:
        ours.run(fail, ValueError)
    where = as_logged(raised.value)["traceback"]
    assert where.count("Traceback") == 1


@pytest.mark.parametrize("error", [ValueError, LeaseLost, Unsent])
def test_what_a_film_raises_is_raised_here_and_the_reader_stays(ours: Reader, error):
    before = ours.run(os.getpid)
    with pytest.raises(Exception, match=r"NaN|Unsent: 7 at the network") as raised:
        ours.run(fail, error)
    assert type(raised.value) is (RuntimeError if error is Unsent else error)
    where = as_logged(raised.value)["traceback"]
    assert ", in fail\n" in where
    assert ours.run(os.getpid) == before


def test_meanwhile_is_called_and_may_give_up(ours: Reader):
    calls: list[int] = []
    before = ours.run(os.getpid)
    ours.run(time.sleep, 0.3, meanwhile=lambda: calls.append(1))
    assert len(calls) >= 3

    def give_up() -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        ours.run(time.sleep, 60, meanwhile=give_up)
    assert not psutil.pid_exists(before)  # nobody reads on for nobody
    assert ours.run(os.getpid) != before


def test_a_reader_that_cannot_load_is_no_child_that_cannot_start(ours: Reader):
    ours.start(lambda: os._exit(1))
    with pytest.raises(ReaderLost, match="exit status 1"):
        ours.run(os.getpid)


def test_a_reader_ends_with_its_child_in_the_middle_of_a_film():
    root = Path(__file__).parents[2]
    script = (
        "import os, time\n"
        "from workers.reader import Reader\n"
        "ours = Reader()\n"
        "print(ours.run(os.getpid), flush=True)\n"
        "ours.run(time.sleep, 60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=root, stdout=subprocess.PIPE)
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    time.sleep(0.5)  # it reads
    child.kill()
    child.wait()
    child.stdout.close()
    until = time.monotonic() + 10
    while psutil.pid_exists(pid):
        assert time.monotonic() < until
        time.sleep(0.01)

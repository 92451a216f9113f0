"""The throw-away child: whatever happens in it, the caller gets an answer and nothing stays."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from broker import sandbox
from broker.sandbox import Limits, SandboxFailure
from models.xray import FilmFault, UnreadableFilm


def add(left: int, right: int) -> int:
    return left + right


def own_pid() -> int:
    return os.getpid()


def refuse(code: FilmFault) -> None:
    raise UnreadableFilm(code, "no film")


def sleep_for(seconds: float) -> None:
    time.sleep(seconds)


def spin() -> None:
    while True:
        pass


def swell(mib: int) -> int:
    return len(bytearray(mib * 1024**2))


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def leave(status: int) -> None:
    os._exit(status)


def write(path: str, mib: int) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        for _ in range(mib):
            file.write(bytes(1024**2))


def large() -> bytes:
    return bytes(20 * 1024**2)


class Odd(Exception):
    """An exception that cannot travel by pickle."""

    def __init__(self, left: int, right: int) -> None:
        super().__init__("odd")
        self.handle = lambda: left + right


def raise_odd() -> None:
    raise Odd(1, 2)


@pytest.fixture(autouse=True)
def nothing_stays():
    """No child of a call may outlive it; the server that they are forked from may."""
    sandbox.warm(["models.xray"])
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    yield
    after = {p.pid for p in psutil.Process().children(recursive=True)}
    assert after <= before


def test_a_result_comes_back():
    assert sandbox.run(add, 2, 3) == 5
    assert sandbox.run(large) == large()


def test_each_call_has_a_process_of_its_own():
    first, second = sandbox.run(own_pid), sandbox.run(own_pid)
    assert len({first, second, os.getpid()}) == 3


def test_the_readers_own_refusal_is_raised_here():
    with pytest.raises(UnreadableFilm) as caught:
        sandbox.run(refuse, FilmFault.DICOM_PIXELS_SHORT)
    assert caught.value.code is FilmFault.DICOM_PIXELS_SHORT
    assert str(caught.value) == "no film"


def test_an_exception_that_cannot_travel_is_still_a_failure():
    with pytest.raises(RuntimeError, match="Odd"):
        sandbox.run(raise_odd)


@pytest.mark.parametrize(
    ("function", "args", "cause"),
    [
        (sleep_for, (60,), "timeout"),
        (spin, (), "timeout"),
        (swell, (400,), "memory"),
        (die, (signal.SIGSEGV,), "crashed"),
        (die, (signal.SIGKILL,), "crashed"),
        (leave, (0,), "crashed"),
    ],
)
def test_what_a_hostile_file_does_stays_in_the_child(function, args, cause):
    limits = Limits(memory_bytes=256 * 1024**2, cpu_s=1, time_s=2.5)
    started = time.monotonic()
    with pytest.raises(SandboxFailure) as caught:
        sandbox.run(function, *args, limits=limits)
    assert caught.value.cause == cause
    assert time.monotonic() - started < 20


def test_a_file_grows_only_so_far(tmp_path):
    with pytest.raises((OSError, SandboxFailure)):
        sandbox.run(write, str(tmp_path / "big"), 8, limits=Limits(file_bytes=2 * 1024**2))
    assert (tmp_path / "big").stat().st_size <= 2 * 1024**2


def test_a_stopped_child_is_still_ended():
    with pytest.raises(SandboxFailure) as caught:
        sandbox.run(die, signal.SIGSTOP, limits=Limits(time_s=1.5))
    assert caught.value.cause == "timeout"


class _Acts:
    """Pickles as a call, as the answer of a child that was taken over would."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def answer_that_acts(path: str) -> object:
    return _Acts(path)


def test_an_answer_cannot_act_in_the_parent(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with pytest.raises(sandbox.SandboxFailure) as caught:
        sandbox.run(answer_that_acts, str(trap))
    assert caught.value.cause == "crashed"
    assert not trap.exists()


def stall_in_the_answer(_: str) -> None:
    """Begin an answer on every pipe that is open, then sleep."""
    for handle in range(3, 64):
        with contextlib.suppress(OSError):
            os.write(handle, (1000).to_bytes(4, "big") + b"half")
    time.sleep(60)


def test_a_child_that_stalls_in_its_answer_is_ended() -> None:
    with pytest.raises(sandbox.SandboxFailure) as caught:
        sandbox.run(stall_in_the_answer, "", limits=sandbox.Limits(time_s=1.5))
    assert caught.value.cause == "timeout"

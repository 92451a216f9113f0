"""The process in which films meet a network: kept from film to film, replaced when one ends it.

A pool's child answers bells and writes the record; what opens pixels runs here, in a fork of that
child. So a film that brings its reader down costs a fork, milliseconds, not a child with its
connections, and one that never ends is ended. It is no wall: it may do whatever its child may
(broker/sandbox.py is the wall). Knows no film and no record: what to run is the caller's.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from typing import Any, NoReturn, TypeVar, cast

from broker import logs
from broker.errors import GoldentimeError
from broker.parent import end_with

T = TypeVar("T")
MEANWHILE_S = 2.0
"""How often whoever waits for an answer may do something else: renew a lease."""
LONGEST_S = 20.0
"""A film takes a tenth of a second; a reader that is silent for so long hangs, or is frozen."""
MOST_KIB = 600_000
"""Resident memory beyond which a reader is replaced: it leaks, or a film made it swell."""
_TRACEBACK = "goldentime_traceback"
"""Exceptions travel without theirs."""


class ReaderLost(GoldentimeError):
    """The process that read the film ended in the middle of it."""

    code = "worker_lost"  # as for a film whose child ended (dispatch/reading.py)


def _nothing() -> None:
    pass


class Reader:
    """One reader of one child; it ends with the child. Not for two threads at once."""

    def __init__(self) -> None:
        self._warm: Callable[[], object] = _nothing
        self._pid = 0
        self._pipe: Connection | None = None

    def start(self, warm: Callable[[], object] = _nothing) -> None:
        """Fork it and wait until it has done what only a first film would need (`warm`)."""
        self._warm = warm
        try:
            self.run(_nothing)
        except (ReaderLost, OSError):  # whatever is wrong, each film says so and is counted
            logs.logger().error("a reader cannot be started", action="reader.lost", exc_info=True)

    def run(
        self, function: Callable[..., T], *args: object, meanwhile: Callable[[], None] = _nothing
    ) -> T:
        """Call a top-level function in the reader and return its (picklable) result.

        meanwhile is called here every MEANWHILE_S until then; when it raises, or the task's time is
        over, the reader is replaced. Raises ReaderLost when the reader ends or is silent for
        LONGEST_S, and what the function raises (as_logged tells where).
        """
        if self._pipe and self._pipe.poll():  # it ended between two films, by none of them
            self.stop()
        pipe = self._pipe or self._fork()
        silent, answer = False, None
        try:
            if _sent(pipe, (function, args)):
                until = time.monotonic() + LONGEST_S
                while not (pipe.poll(MEANWHILE_S) or silent):
                    meanwhile()
                    silent = time.monotonic() > until
                answer = _received(pipe)
        except BaseException:  # it still reads, and nobody wants to know any more
            self.stop()
            raise
        if answer is None:
            how = self.stop()
            with suppress(OSError):  # no room for it now: then the next film tries
                self._fork()  # which must not wait for it
            if silent:
                raise ReaderLost(f"the process that read the film was silent for {LONGEST_S:g} s")
            raise ReaderLost(f"the process that read the film ended: {how}")
        ok, value, swollen = answer
        if swollen:
            self.stop()
        if ok:
            return cast(T, value)
        raise value

    def stop(self) -> str:
        """End the process, if there is one; returns how it ended."""
        how = "it was not there"
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)  # until it is waited for, nobody else has its pid
            code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            self._pid = 0
        if self._pipe:
            self._pipe.close()
            self._pipe = None
        return how

    def _fork(self) -> Connection:
        self._pipe, theirs = Pipe()
        parent = os.getpid()
        # multiprocessing lets no daemon have children, and Celery's children are daemons: without
        # os.fork what the pool has loaded would have to be loaded again.
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs, self._pipe, parent, self._warm)
        theirs.close()  # so that its end is heard
        return self._pipe


def _sent(pipe: Connection, call: tuple[Callable[..., object], tuple[object, ...]]) -> bool:
    try:
        pipe.send(call)
    except ConnectionError:
        return False
    return True


def _received(pipe: Connection) -> tuple[bool, Any, bool] | None:
    """The answer; None where none is, or only the beginning of one."""
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _serve(
    pipe: Connection, childs: Connection, parent: int, warm: Callable[[], object]
) -> NoReturn:
    try:
        end_with(parent)
        childs.close()
        warm()
        while True:
            function, args = pipe.recv()
            try:
                answer = (True, function(*args))
            except Exception as error:  # whatever it was, the child decides
                answer = (False, _portable(error))
            swollen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > MOST_KIB
            pipe.send((*answer, swollen))
    except EOFError:
        os._exit(0)
    except BaseException:  # nothing may go on from here as if it were the child
        traceback.print_exc()
    os._exit(1)


def as_logged(error: Exception) -> dict[str, Any]:
    """What a log says of an exception that run() raised, with where it came from, there or here."""
    where = getattr(error, _TRACEBACK, None)
    told = {"traceback": where} if where else {"exc_info": error}
    return {"error": f"{type(error).__name__}: {error}", **told}


def _portable(error: Exception) -> Exception:
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  # our own, made in this line
    except Exception:  # an exception of a library that cannot travel
        error = RuntimeError(f"{type(error).__name__}: {error}")
    setattr(error, _TRACEBACK, where)
    return error

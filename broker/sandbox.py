"""The throw-away child in which untrusted bytes are opened.

One call = one process, forked from a clean server, with limits on memory, CPU, file size and time.
A child that crashes, hangs or swells takes nothing with it. What it runs is the caller's business;
nothing about images is known here.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

from broker.errors import GoldentimeError

T = TypeVar("T")
_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True)
class Limits:
    """What a child may use before it is killed."""

    memory_bytes: int = 1024**3
    """RLIMIT_AS beyond what the process already maps when it starts."""
    cpu_s: int = 10
    time_s: float = 8.0
    file_bytes: int = 64 * 1024**2


class SandboxFailure(GoldentimeError):
    """The file could not be opened safely."""

    code = "sandbox_failure"
    status = 422

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(message, cause=cause)
        self.cause = cause
        """timeout, memory or crashed."""


def warm(modules: Sequence[str]) -> None:
    """Start the server that children are forked from, with these modules already imported."""
    _context.set_forkserver_preload(["__main__", *modules])
    multiprocessing.forkserver.ensure_running()


def run(function: Callable[..., T], *args: Any, limits: Limits = Limits()) -> T:  # frozen
    """Call a top-level function in a child of its own and return its (picklable) result.

    Exceptions of the function are raised here again. Raises SandboxFailure when the child was
    killed by a limit or crashed.
    """
    ours, theirs = _context.Pipe(duplex=False)
    child = _context.Process(target=_main, args=(theirs, limits, function, args), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(limits.time_s):
            raise SandboxFailure("timeout", f"opening the file took over {limits.time_s:g} s")
        try:
            ok, value = ours.recv()
        except EOFError as error:
            child.join(1)
            cause = "timeout" if child.exitcode == -signal.SIGXCPU else "crashed"
            raise SandboxFailure(cause, "the file made its reader crash") from error
    finally:
        ours.close()
        if child.is_alive():
            child.kill()
        child.join()
        child.close()
    if ok:
        return cast(T, value)
    if isinstance(value, MemoryError):
        raise SandboxFailure("memory", "opening the file needs too much memory")
    raise value


def _main(
    results: Connection, limits: Limits, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    ceiling = mapped + limits.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, ceiling))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.cpu_s, limits.cpu_s + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    try:
        answer = (True, function(*args))
    except BaseException as error:  # whatever it was, the parent decides
        error.__traceback__ = None
        answer = (False, error)
    try:
        results.send(answer)
    except Exception as error:  # an exception that cannot travel
        results.send((False, RuntimeError(f"{type(answer[1]).__name__}: {answer[1]} ({error})")))

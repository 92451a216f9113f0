"""The throw-away child in which untrusted bytes are opened.

One call = one process, forked from a clean server, with limits on memory, CPU, file size and time.
A child that crashes, hangs or swells takes nothing with it. What it runs is the caller's business;
nothing about images is known here.
"""

from __future__ import annotations

import gc
import io
import multiprocessing
import multiprocessing.forkserver
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass
from enum import Enum, EnumType
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar, cast

from broker.errors import GoldentimeError

T = TypeVar("T")
MAX_ANSWER_BYTES = 32 * 1024**2
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
    # What each child needs to hear us and to answer would otherwise be imported in each anew.
    ours = (__name__, "multiprocessing.popen_forkserver")
    _context.set_forkserver_preload(["__main__", *ours, *modules])
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
    late = threading.Event()

    def end() -> None:
        late.set()
        child.kill()  # also when it stalls in the middle of its answer

    timer = threading.Timer(limits.time_s, end)
    timer.start()
    try:
        answer = ours.recv_bytes(MAX_ANSWER_BYTES)
    except (EOFError, OSError) as error:
        timer.cancel()
        child.join(1)
        slow = late.is_set() or child.exitcode == -signal.SIGXCPU
        raise SandboxFailure(
            "timeout" if slow else "crashed",
            f"opening the file took over {limits.time_s:g} s"
            if slow
            else "the file made its reader crash",
        ) from error
    finally:
        timer.cancel()
        timer.join()  # it must not touch a child that is gone
        ours.close()
        if child.is_alive():
            child.kill()
        child.join()
        child.close()
    try:
        ok, value = _Plain(io.BytesIO(answer)).load()
    except Exception as error:  # a broken child may say anything at all
        raise SandboxFailure("crashed", "the file made its reader answer nonsense") from error
    if ok:
        return cast(T, value)
    if isinstance(value, MemoryError):
        raise SandboxFailure("memory", "opening the file needs too much memory")
    if isinstance(value, Exception):
        raise value
    raise SandboxFailure("crashed", f"the file made its reader end: {type(value).__name__}")


class _Plain(pickle.Unpickler):
    """Reads a child's answer: our own data classes, enums and exceptions, nothing that acts.

    The child touched a stranger's bytes and may have been taken over; a plain unpickler would let
    its answer run code here.
    """

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """The class that an answer names, or UnpicklingError."""
        if (module, name) == ("builtins", "getattr"):
            return _member  # how Python 3.11.0 to 3.11.3 (Debian 12) write an enum's member
        room = module.partition(".")[0]
        if "." not in name and room in {"broker", "dispatch", "models", "builtins", "tests"}:
            found = getattr(sys.modules.get(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                plain = issubclass(found, (BaseException, Enum)) or (
                    room != "builtins" and (is_dataclass(found) or issubclass(found, tuple))
                )
                if plain:
                    return found
        raise pickle.UnpicklingError(f"{module}.{name} may not come out of the sandbox")


def _member(of: object, name: str) -> Enum:
    """A member of an enum; UnpicklingError for anything else that getattr could reach."""
    if isinstance(of, EnumType) and name in of.__members__:
        return cast(Enum, of.__members__[name])
    raise pickle.UnpicklingError(f"{name!r} may not come out of the sandbox")


def _main(
    results: Connection, limits: Limits, function: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    gc.freeze()  # what the server has loaded is not looked through, page by page, in each child
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
        data = pickle.dumps(answer)
    except Exception as error:  # an exception that cannot travel
        text = f"{type(answer[1]).__name__}: {answer[1]} ({error})"
        data = pickle.dumps((False, RuntimeError(text)))
    results.send_bytes(data)

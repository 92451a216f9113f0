"""Real servers for tests: Redis and PostgreSQL, started in a folder of their own.

Both listen on this machine only, hold nothing that outlives the session, and die with the test
process even when that is killed (Linux: PR_SET_PDEATHSIG). No fake may enter here.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
import redis

from broker import embedded
from broker.errors import GoldentimeError

START_S = 30.0
"""A server that does not answer within this many seconds has failed to start."""

# Runs in the child between fork and exec: drop root where asked, then ask the kernel to end this
# process with its parent. The order matters, since changing the user clears the wish.
_PRELUDE = """
import ctypes, os, pwd, sys
user, parent, *command = sys.argv[1:]
if user:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(os.environ.pop("GT_DEATH_SIGNAL")))
    if os.getppid() != int(parent):
        sys.exit("the test process has gone")
os.execv(command[0], command)
"""


class NoServer(Exception):
    """The machine has no such server; the message says how to get it."""


def start(
    command: Sequence[str | Path],
    *,
    user: str = "",
    death_signal: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    log: Path,
) -> subprocess.Popen[bytes]:
    """Start a process that ends with this one; its output goes to a file.

    user: account to run as when we are root; "" keeps ours.
    death_signal: what the kernel sends it when this process dies (Linux only).
    environment: all of its environment; ours without GOLDENTIME_* when left out.
    """
    if environment is None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GOLDENTIME_")}
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-c", _PRELUDE, user, str(os.getpid()), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env={**environment, "GT_DEATH_SIGNAL": str(int(death_signal))},
            start_new_session=True,  # Ctrl-C reaches pytest only, which then stops us in order
        )


def stop(process: subprocess.Popen[bytes], how: signal.Signals, patience_s: float = 10.0) -> None:
    """Signal a process and wait for it; kill it when it takes longer."""
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def free_port() -> int:
    """A TCP port on loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RedisServer:
    """A Redis of our own; it may be stopped, frozen and started again by a test."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start and wait for PONG; NoServer when the machine has none."""
        try:
            command = embedded.redis_command(self.folder, self.port)
        except GoldentimeError as error:
            raise NoServer(error.message) from error
        log = self.folder / "redis.log"
        self.process = start(command, log=log)
        _wait_until(self._answers, self.process, log)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def flush(self) -> None:
        """Forget everything, as a Redis does that lost its disk."""
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            client.flushall()

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)
        if self.process:
            self.process.wait()

    def freeze(self) -> None:
        """Alive, but answering nobody."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            stop(self.process, signal.SIGTERM)

    def _signal(self, how: signal.Signals) -> None:
        if self.process is None:
            raise RuntimeError("this Redis was never started")
        self.process.send_signal(how)


@dataclass
class PostgresServer:
    """A PostgreSQL cluster of our own on a Unix socket, with trust inside a private folder.

    Its data is not synced to disk: for the plain rings a lost power cut loses nothing we need.
    """

    folder: Path
    fsync: bool = False
    process: subprocess.Popen[bytes] | None = None

    @property
    def _user(self) -> str:
        """Account the server runs as: initdb refuses root."""
        return "postgres" if os.geteuid() == 0 else ""

    @property
    def _role(self) -> str:
        return self._user or pwd.getpwuid(os.geteuid()).pw_name

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy address of one of its databases."""
        host = quote(str(self.folder), safe="")
        return f"postgresql+psycopg://{self._role}@/{database}?host={host}"

    def start(self) -> None:
        """Create the cluster on the first call, start it and wait; NoServer when there is none."""
        bindir = _postgres_bindir()
        data = self.folder / "data"
        log = self.folder / "postgres.log"
        if not data.exists():
            if self._user:
                shutil.chown(self.folder, self._user)
            initdb = [bindir / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "--locale=C"]
            code = start([*initdb, "--no-sync"], user=self._user, log=log).wait()
            if code:
                raise RuntimeError(f"initdb failed:\n{log.read_text()}")
        settings = [
            "listen_addresses=",
            f"unix_socket_directories={self.folder}",
            "max_connections=200",
            f"fsync={'on' if self.fsync else 'off'}",
            f"full_page_writes={'on' if self.fsync else 'off'}",
            "deadlock_timeout=200ms",
            "log_timezone=UTC",
            "timezone=UTC",
        ]
        options = [word for setting in settings for word in ("-c", setting)]
        self.process = start(
            [bindir / "postgres", "-D", data, *options],
            user=self._user,
            death_signal=signal.SIGQUIT,  # its immediate shutdown, which ends its children too
            log=log,
        )
        _wait_until(self._answers, self.process, log)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._conninfo("postgres"), connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def _conninfo(self, database: str) -> str:
        return f"host={self.folder} user={self._role} dbname={database}"

    def execute(self, statement: str) -> None:
        """One administrative statement outside a transaction (CREATE DATABASE …)."""
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode())

    @contextlib.contextmanager
    def database(self, name: str, template: str = "template0") -> Iterator[str]:
        """A database that exists inside the `with`; yields its SQLAlchemy address."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        try:
            yield self.url(name)
        finally:
            self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def restart(self) -> None:
        """Break every connection, as a failover or an upgrade does."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self.process:
            stop(self.process, signal.SIGINT)  # its fast shutdown: do not wait for clients


@contextlib.contextmanager
def database_in(folder: Path, backend: str, *, fsync: bool = False) -> Iterator[str]:
    """GOLDENTIME_DATABASE_URL of an empty database that exists inside the `with`: "" for "sqlite",
    or one of a PostgreSQL that is started in `folder`."""
    if backend == "sqlite":
        yield ""
        return
    place = folder / "pg"
    place.mkdir(mode=0o700)
    server = PostgresServer(place, fsync=fsync)
    server.start()
    try:
        with server.database("bench") as url:
            yield url
    finally:
        server.stop()


def _postgres_bindir() -> Path:
    """Folder of initdb and postgres: Debian keeps them off PATH."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)
    )
    for folder in reversed(debian):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    raise NoServer(
        "no PostgreSQL server was found: on Debian and Ubuntu apt-get install postgresql, "
        "on macOS brew install postgresql"
    )


def _wait_until(answers: object, process: subprocess.Popen[bytes], log: Path) -> None:
    atexit.register(stop, process, signal.SIGKILL)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended at once:\n{log.read_text()}")
        if callable(answers) and answers():
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server did not answer in {START_S} s:\n{log.read_text()}")

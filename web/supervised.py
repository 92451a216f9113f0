"""A whole installation on one machine under supervisord, as the demo and the tests run it.

Knows which processes there are, their commands and how to tell that they work; restarts what dies;
stops everything it started. Knows nothing about cases.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import redis
from cryptography.fernet import Fernet

from broker import database, embedded, health, migrate, settings as settings_
from broker.errors import GoldentimeError
from broker.parent import end_with
from broker.record import Record
from broker.settings import Settings
from dispatch import egen, osrm, retention
from web.last_words import last_words

START_S = 120.0
STOP_S = 20.0
DOOR_FD = 3
"""The descriptor by which a door gets its listening socket."""
IN_USE = "in_use"
"""The file of a data folder that whoever runs there holds locked."""
HOLDER_S = 2**31 - 1
"""As good as for ever, for every sleep."""
RUNTIME = {
    "PYTHONUNBUFFERED": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class DidNotStart(GoldentimeError):
    """A part of the installation did not start."""

    code = "did_not_start"


@dataclass(frozen=True)
class Part:
    """One command line and what it runs as."""

    name: str
    command: tuple[str, ...]
    port: int | None = None
    """Opened by the supervisor and handed over as DOOR_FD: it stays open, and callers wait in its
    queue, while the part restarts."""
    processes: int = 1
    """Several share the port, so that one answers while another restarts."""

    @property
    def names(self) -> tuple[str, ...]:
        """One per process: stream; gateway1 and gateway2."""
        if self.processes == 1:
            return (self.name,)
        return tuple(f"{self.name}{number}" for number in range(1, self.processes + 1))


def free_ports(first: int, count: int) -> list[int]:
    """`count` ports of this machine from `first` on that nobody listens on."""
    found: list[int] = []
    for port in range(first, first + 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except (OSError, OverflowError):  # taken, not ours to take, or no port at all
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise DidNotStart(f"no {count} free ports from {first} to {first + 199}")


def settle(settings: Settings, first_port: int) -> Settings:
    """Settings with ports that are free and a secret of this data folder's own."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        secret_key = settings.secret_key or _secret(
            settings.data_dir / "secret", secrets.token_urlsafe(48)
        )
        identity_keys = settings.identity_keys or (
            _secret(settings.data_dir / "identity_key", Fernet.generate_key().decode()),
        )
        (settings.data_dir / IN_USE).touch()
    except OSError as error:
        raise DidNotStart(
            f"the data folder {settings.data_dir} cannot be made or used: {error.strerror}"
        ) from error
    gateway, stream, redis_ = free_ports(first_port, 3)
    return replace(
        settings,
        secret_key=secret_key,
        identity_keys=identity_keys,
        public_url=f"http://127.0.0.1:{gateway}",
        stream_url=f"http://127.0.0.1:{stream}",
        redis_url=f"redis://127.0.0.1:{redis_}/0",
        cookie_secure=False,
    )


def parts(settings: Settings) -> list[Part]:
    """Every process of the installation, Redis first."""
    python = sys.executable
    celery = (
        python,
        "-m",
        "celery",
        "--quiet",
        "-A",
        "workers.app",
        "worker",
    )
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "WARNING")
    gunicorn = (python, "-m", "gunicorn", "--no-control-socket", "--bind", f"fd://{DOOR_FD}")
    return [
        Part(
            "redis", tuple(embedded.redis_command(settings.data_dir, port_of(settings.redis_url)))
        ),
        *(
            Part(
                queue,
                (*celery, "--concurrency", children, *quiet, "-Q", queue, "-n", f"{queue}@%%h"),
            )
            # One child reads on while the other is made anew: killed by a film, or at its time.
            for queue, children in (("classify", "2"), ("detect", "2"), ("dispatch", "1"))
        ),
        Part("relay", (python, "-m", "broker.relay")),
        Part("upkeep", (python, "-m", "workers.upkeep")),
        *(
            [Part("bed_feed", (python, "-m", "workers.bed_feed"))]
            if egen.configured(settings)
            else []
        ),
        *(
            [Part("road_times", (python, "-m", "workers.road_times"))]
            if osrm.configured(settings)
            else []
        ),
        Part(
            "gateway",
            (
                *(*gunicorn, "-c", "python:web.gunicorn_gateway", "--workers", "1"),
                "web.app:create_app()",
            ),
            port_of(settings.public_url),
            processes=2,
        ),
        Part(
            "stream",
            (*gunicorn, "-c", "python:web.gunicorn_stream", "web.app:create_stream_app()"),
            port_of(settings.stream_url),
        ),
    ]


def port_of(url: str) -> int:
    """The port of an address that we made."""
    return int(url.rsplit(":", 1)[1].split("/")[0])


@contextmanager
def running(
    settings: Settings, tell: Callable[[str, float], None] = lambda _name, _s: None
) -> Iterator[Supervisor]:
    """Migrate, start every part, wait until each works, and stop all of them at the end.

    `tell` hears the name of each part that works and the seconds since the start.
    """
    with _alone(settings.data_dir):
        migrate.upgrade(settings)
        encrypt(settings)
        supervisor = Supervisor(settings)
        supervisor.start()
        try:
            supervisor.wait_until_ready(tell)
            yield supervisor
        finally:
            supervisor.stop()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two supervisors in one folder would take each other's files for theirs."""
    with (folder / IN_USE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DidNotStart(
                f"{folder} is in use: one runs there already; stop it, or name another folder "
                "(demo: --data-dir)"
            ) from None
        yield


def encrypt(settings: Settings) -> None:
    """Encrypt what an earlier version kept in the plain; nothing to do is the rule."""
    record = Record(settings)
    try:
        with record.read() as session:
            waits = retention.waiting(session, settings)
        if waits:
            retention.encrypt_all(record)
    finally:
        record.close()


class Supervisor:
    """supervisord over the parts of one installation."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = settings.data_dir.resolve() / "supervisor"
        self.logs = settings.data_dir.resolve() / "logs"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at: datetime | None = None
        self._record: Record | None = None
        self._logged_bytes: dict[Path, int] = {}
        """How long each log was before this start: older errors explain nothing."""

    def start(self) -> None:
        """Write the configuration and start supervisord in the foreground of a child."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        self._logged_bytes = {log: log.stat().st_size for log in self.logs.glob("*.log")}
        config = self.folder / "supervisord.conf"
        config.write_text(self._configuration(), encoding="utf-8")
        self._record = Record(self.settings)
        with self._record.read() as session:
            self._started_at = database.now(session)
        parent = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            env=settings_.to_env(self.settings, RUNTIME),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: end_with(parent, signal.SIGTERM),  # one prctl, nothing that locks
        )

    def wait_until_ready(self, tell: Callable[[str, float], None]) -> None:
        """Return when each part passed its health check; DidNotStart names one that did not."""
        began = time.monotonic()
        checks = self._checks()
        wrong: dict[str, str] = dict.fromkeys(checks, "not asked yet")
        while wrong:
            for name in list(wrong):
                try:
                    found = checks[name]()
                except GoldentimeError as error:
                    found = error.told
                if found is None:
                    del wrong[name]
                    tell(name, time.monotonic() - began)
                else:
                    wrong[name] = found
            if self._process is None or self._process.poll() is not None:
                raise DidNotStart(f"the supervisor ended{self._why('supervisord')}")
            if wrong and time.monotonic() - began > START_S:
                name, reason = next(iter(wrong.items()))
                raise DidNotStart(f"{name}: {reason}{self._why(name)}")
            time.sleep(0.1)

    def _why(self, name: str) -> str:
        """What the logs of a part said last of what is wrong, and where they lie."""
        logs = sorted(self.logs.glob(f"{name}*.log"), key=lambda log: log.stat().st_mtime)
        said = [last_words(log, self._logged_bytes.get(log, 0)) for log in reversed(logs)]
        error = next((error for error, _ in said if error), None)
        line = next((line for _, line in said if line), "nothing")
        words = f"its log's last error: {error}" if error else f"its log ends with: {line}"
        return f"; {words} (see {self.logs}/{name}*.log)"

    def stop(self) -> None:
        """Stop every process that was started; what does not listen is killed."""
        if self._record is not None:
            self._record.close()
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            for pid in self.pids().values():  # each part leads a process group of its own
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        self._process = None

    def pids(self) -> dict[str, int]:
        """Process ids of the running parts, for tests that break them."""
        found: dict[str, int] = {}
        for name in (name for part in parts(self.settings) for name in part.names):
            with suppress(FileNotFoundError, ValueError):  # ended; or about to write its number
                found[name] = int((self.folder / f"{name}.pid").read_text())
        return found

    def _checks(self) -> dict[str, Callable[[], str | None]]:
        settings, record = self.settings, self._record
        assert record is not None  # start() opened it

        def door(url: str) -> Callable[[], str | None]:
            return lambda: health.door(settings, url, timeout_s=3)

        def loop(kind: str) -> Callable[[], str | None]:
            def check() -> str | None:
                with record.read() as session:
                    return health.loop(session, kind, settings.node, since=self._started_at)

            return check

        return {
            "redis": lambda: _redis(settings),
            "gateway": door(settings.public_url + "/readyz"),
            "stream": door(settings.stream_url + "/healthz"),
            **{kind: loop(kind) for kind in health.LOOPS},
            **({"bed_feed": loop("bed_feed")} if egen.configured(settings) else {}),
            **({"road_times": loop("road_times")} if osrm.configured(settings) else {}),
        }

    def _configuration(self) -> str:
        lines = [
            "[supervisord]",
            f"logfile={self.logs}/supervisord.log",
            f"pidfile={self.folder}/supervisord.pid",
            f"childlogdir={self.logs}",
            "nodaemon=true",
            "silent=true",
            *(["user=root"] if os.geteuid() == 0 else []),
        ]
        # One group, so that all stop at the same time; the doors stop before them, Redis after.
        doors = [part for part in parts(self.settings) if part.port]
        names = [p.name for p in parts(self.settings) if p.name != "redis" and p not in doors]
        lines += ["", "[group:parts]", f"programs={','.join(names)}", "priority=10"]
        for part in parts(self.settings):
            # The shell writes its pid and becomes the part: tests need to know whom to kill.
            name = f"{part.name}%(process_num)d" if part.port else part.name
            file = self.folder / f"{name if part.processes > 1 else part.name}.pid"
            command = " ".join(_quote(word) for word in part.command)
            start = f"echo $$ > '{file}'; exec {command}"
            if part.port:
                # supervisord hands a socket over as standard input, as FastCGI wants it, and closes
                # it when nobody of the group lives: number 0 does nothing but live.
                holder = f"[ %(process_num)d -gt 0 ] || exec sleep {HOLDER_S}"
                start = f"{holder}; {start} {DOOR_FD}<&0 0</dev/null"
            lines += [
                "",
                f"[{'fcgi-program' if part.port else 'program'}:{part.name}]",
                f"process_name={name}",
                f"numprocs={part.processes + (1 if part.port else 0)}",
                f"numprocs_start={0 if part.port else 1}",
                f'command=/bin/sh -c "{start}"',
                f"directory={Path(__file__).resolve().parent.parent}",
                f"stdout_logfile={self.logs}/{name}.log",
                "redirect_stderr=true",
                "autorestart=true",
                "startsecs=2",
                "startretries=1000",
                "stopsignal=TERM",
                f"stopwaitsecs={int(STOP_S / 2)}",
                "killasgroup=true",
                *(["priority=1"] if part.name == "redis" else []),
                *([f"socket=tcp://127.0.0.1:{part.port}", "priority=20"] if part.port else []),
            ]
        return "\n".join(lines) + "\n"


def _redis(settings: Settings) -> str | None:
    client = redis.Redis.from_url(settings.redis_url, socket_timeout=1, socket_connect_timeout=1)
    try:
        client.ping()
    except redis.RedisError as error:
        return str(error)
    finally:
        client.close()
    return None


def _secret(path: Path, new: str) -> str:
    """A secret of this data folder, made once; the file is whole or not there, for its owner only.

    An identity key that came back empty after a crash would cost every name it had encrypted.
    """
    if not path.is_file():
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(new)
            file.flush()
            os.fsync(handle)
        unfinished.rename(path)
    return path.read_text(encoding="ascii")


def _quote(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'" if set(word) & set(" ()$&;*?'") else word

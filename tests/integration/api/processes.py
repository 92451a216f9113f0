"""The two doors as they really run: gunicorn with the shipped settings, and a relay beside them."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from broker import settings as settings_
from broker.settings import Settings
from tests import servers

PATIENCE_S = 30.0
ROOT = Path(__file__).parents[3]


@contextmanager
def door(
    name: str, settings: Settings, port: int, config: str = ""
) -> Iterator[subprocess.Popen[bytes]]:
    """gunicorn with web/gunicorn_<name>.py on a port of loopback; it answers when this yields."""
    factory = {"gateway": "create_app", "stream": "create_stream_app"}[name]
    command = [
        *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--chdir", ROOT),
        *("-c", config or f"python:web.gunicorn_{name}", "--bind", f"127.0.0.1:{port}"),
        f"web.app:{factory}()",
    ]
    with running(command, settings, f"{name}-{port}") as process:
        until(lambda: _healthy(process, port), process, log_of(settings, f"{name}-{port}"))
        yield process


@contextmanager
def relay(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A relay; a hint that comes before it listens is found by its sweep."""
    with running([sys.executable, "-m", "broker.relay"], settings, "relay") as process:
        yield process


@contextmanager
def running(command: list[Any], settings: Settings, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these settings that ends with the test."""
    environment = settings_.to_env(settings, {"OMP_NUM_THREADS": "1"})
    log = log_of(settings, name)
    process = servers.start(command, death_signal=signal.SIGTERM, environment=environment, log=log)
    try:
        yield process
    finally:
        servers.stop(process, signal.SIGTERM, patience_s=15)


def log_of(settings: Settings, name: str) -> Path:
    """What a process has said."""
    return settings.data_dir / f"{name}.log"


def until(done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something is so; what the process said is shown when it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _healthy(process: subprocess.Popen[bytes], port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=1).status_code == 200
    except requests.RequestException:
        return False


class Ears:
    """One open stream: its frames as they come, each with the moment of its arrival."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        after: int | str | None = None,
        **headers: str,
    ) -> None:
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request("GET", "/api/v1/events", headers=headers)
        self.answer = self._connection.getresponse()
        self.frames: list[tuple[float, dict[str, Any]]] = []
        self.ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        if self.answer.status == 200:
            self._thread.start()

    def _listen(self) -> None:
        frame: dict[str, Any] = {}
        while line := self._line():
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name:
                frame[name] = json.loads(value) if name == "data" else value
            elif frame:
                with self._news:
                    self.frames.append((time.monotonic(), frame))
                    self._news.notify_all()
                frame = {}
        with self._news:
            self.ended = True
            self._news.notify_all()

    def _line(self) -> bytes:
        try:
            return self.answer.readline()
        except (OSError, http.client.HTTPException):
            return b""  # closed by the test, or by the server in the middle

    def wait(self, wanted: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """What `wanted` finds, as soon as it finds something."""
        with self._news:
            found = self._news.wait_for(wanted, timeout_s)
        assert found, f"heard only {[f.get('event') for _, f in self.frames]}"
        return found

    def events(self) -> list[dict[str, Any]]:
        """The numbered events, without hello and heartbeats."""
        with self._news:
            return [f["data"] for _, f in self.frames if "type" in f.get("data", {})]

    def first(self, event: str, case_id: str | None = None) -> Callable[[], Any]:
        """For `wait`: the first frame of a kind, about a case if named."""

        def find() -> Any:
            for at, frame in self.frames:
                data = frame.get("data", {})
                if frame.get("event") == event and (case_id in {None, data.get("case_id")}):
                    return at, frame
            return None

        return find

    def problem(self) -> tuple[int, str]:
        """Status and code of a stream that was refused."""
        assert self.answer.headers["Content-Type"] == "application/problem+json"
        return self.answer.status, json.loads(self.answer.read())["code"]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads
        if self._thread.is_alive():
            self._thread.join()
        self.answer.close()
        self._connection.close()

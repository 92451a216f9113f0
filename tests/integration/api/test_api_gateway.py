"""The gateway as it really runs: gunicorn with the shipped settings, raw bytes on its socket.

On PostgreSQL, as an installation with several workers should be; rows are other tests' business.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import requests

from broker import heartbeat
from broker.settings import Settings
from tests.integration.api import processes
from tests.integration.api.doors import CASE, House, film
from tests.integration.api.test_api_bad_files import huge_png, text_bomb
from tests.integration.films.test_xray_dicom import body_of, deflated
from tests.servers import RedisServer, free_port

pytestmark = pytest.mark.parametrize(
    "module_database_url", ["postgresql"], indirect=True, scope="module"
)
QUICK_S = 2.0
"""A call that would wait for a frozen Redis waits for its time-outs, at least 4 s (M9)."""
MIB = 2**20


@dataclass(frozen=True)
class Scene:
    house: House
    settings: Settings
    port: int
    process: psutil.Process

    def submit(self, image: bytes | None, key: str | None = None) -> requests.Response:
        """POST /cases over the wire."""
        files: dict[str, object] = {"case": (None, json.dumps(CASE))}
        if image is not None:
            files["image"] = ("film.png", image)
        return requests.post(
            f"http://127.0.0.1:{self.port}/api/v1/cases",
            files=files,  # type: ignore[arg-type]  # its stub knows fewer shapes than it takes
            headers={
                "Authorization": f"Bearer {self.house.crew.token}",
                "Idempotency-Key": key or f"wire-{uuid4()}",
            },
            timeout=30,
        )

    def raw(self, head: str, body: bytes = b"", *, half_close: bool = False) -> tuple[int, bytes]:
        """Status and answer to these very bytes; 0 when the connection was just closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as wire:
            wire.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n\r\n" + body)
            if half_close:
                wire.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(wire)
            try:
                answer.begin()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException):
                return 0, b""
            finally:
                answer.close()

    def post(self, *headers: str) -> str:
        """The head of a POST /cases by hand."""
        lines = [
            "POST /api/v1/cases HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.house.crew.token}",
            f"Idempotency-Key: raw-{uuid4()}",
            "Content-Type: application/json",
        ]
        return "\n".join([*lines, *headers])

    def memory(self) -> int:
        """Bytes that the gateway's own processes hold, without the children of single films."""
        workers = [self.process, *self.process.children()]
        return sum(worker.memory_info().rss for worker in workers)


@pytest.fixture(scope="module")
def scene(gateway_settings: Settings, redis_server: object) -> Iterator[Scene]:
    assert isinstance(redis_server, RedisServer)
    settings = replace(gateway_settings, redis_url=redis_server.url, log_json=False)
    port = free_port()
    house = House(settings)
    with processes.door("gateway", settings, port) as process:
        yield Scene(house, settings, port, psutil.Process(process.pid))
    house.close()


def test_a_film_is_opened_in_gunicorn(scene: Scene) -> None:
    key = f"wire-{uuid4()}"
    first = scene.submit(film(), key)
    assert first.status_code == 201, first.text
    assert scene.submit(film(), key).json() == first.json()
    bad = scene.submit(film()[:500])
    assert (bad.status_code, bad.json()["code"]) == (422, "image_unreadable")
    picture = requests.get(
        f"http://127.0.0.1:{scene.port}/api/v1/cases/{first.json()['case_id']}/image?boxes=1",
        headers={"Authorization": f"Bearer {scene.house.crew.token}"},
        timeout=10,
    )
    assert picture.content.startswith(b"\x89PNG")


def test_a_submission_does_not_wait_for_a_frozen_redis(scene: Scene, redis_server: object) -> None:
    assert isinstance(redis_server, RedisServer)
    scene.submit(film())  # both workers may have to start their readers first
    scene.submit(film())
    redis_server.freeze()
    try:
        began = time.monotonic()
        for image in (None, film("pneumonia.jpg")):
            assert scene.submit(image).status_code == 201
        assert time.monotonic() - began < 2 * QUICK_S
        answer = requests.get(
            f"http://127.0.0.1:{scene.port}/api/v1/operations/queues",
            headers={"Authorization": f"Bearer {scene.house.operations.token}"},
            timeout=10,
        )
        assert (answer.status_code, answer.json()["redis_answers"]) == (200, False)
        assert answer.elapsed.total_seconds() < QUICK_S
    finally:
        redis_server.thaw()


def test_bombs_cost_the_gateway_no_memory(scene: Scene) -> None:
    for _ in range(4):
        assert scene.submit(film()).status_code == 201
    before = scene.memory()
    bombs = [huge_png(), text_bomb(), deflated(body_of() + bytes(130 * MIB)), bytes(31 * MIB)]
    for bomb in bombs * 2:
        assert scene.submit(bomb).status_code == 422
    assert scene.memory() - before < 50 * MIB


def test_a_body_that_is_too_long_is_answered(scene: Scene) -> None:
    rows = scene.house.rows()
    head = scene.post(f"Content-Length: {33 * MIB}").replace(
        "application/json", "multipart/form-data; boundary=b"
    )
    status, body = scene.raw(head)
    assert (status, json.loads(body)["code"]) == (413, "too_large")
    assert scene.house.rows() == rows


@pytest.mark.parametrize(
    ("extra", "body", "statuses"),
    [
        (("Content-Length: 2", "Transfer-Encoding: chunked"), b"0\r\n\r\n", {400}),
        (("Content-Length: 2", "Content-Length: 3"), b"{}", {400}),
        (("Content-Length: -2",), b"{}", {400}),
        (("Content-Length: two",), b"{}", {400}),
        (("Transfer-Encoding: chunked",), b"zz\r\n{}\r\n0\r\n\r\n", {400, 0}),
        (("Transfer-Encoding: gzip",), b"{}", {400, 411, 415, 501}),
        (("X-Folded: one\n two", "Content-Length: 2"), b"{}", {400}),
        (("X Bad: one", "Content-Length: 2"), b"{}", {400}),
        ((f"X-Long: {'x' * 16_000}", "Content-Length: 2"), b"{}", {400, 431}),
        ((*(f"X-{n}: 1" for n in range(200)), "Content-Length: 2"), b"{}", {400, 431}),
        (("Host: evil.example", "Content-Length: 2"), b"{}", {400}),
        ((), b"", {400}),
    ],
    ids=[
        "length and chunks", "two lengths", "negative", "no number", "bad chunk", "gzip transfer",
        "folded", "space in a name", "16 kB", "200 headers", "two hosts", "no length",
    ],
)  # fmt: skip
def test_a_head_that_is_wrong(
    scene: Scene, extra: tuple[str, ...], body: bytes, statuses: set[int]
) -> None:
    rows = scene.house.rows()
    status, _ = scene.raw(scene.post(*extra), body)
    assert status in statuses
    assert scene.house.rows() == rows
    assert requests.get(f"http://127.0.0.1:{scene.port}/healthz", timeout=5).status_code == 200


def test_a_body_that_ends_early_makes_no_case(scene: Scene) -> None:
    rows = scene.house.rows()
    status, _ = scene.raw(scene.post("Content-Length: 400"), b'{"age_years": 5}', half_close=True)
    assert status in {0, 400}
    status, _ = scene.raw(
        scene.post("Transfer-Encoding: chunked"), b"10\r\n{}\r\n", half_close=True
    )
    assert status in {0, 400}
    assert scene.house.rows() == rows


def test_chunks_without_a_length_are_a_body(scene: Scene) -> None:
    status, body = scene.raw(scene.post("Transfer-Encoding: chunked"), b"2\r\n{}\r\n0\r\n\r\n")
    assert status == 201, body


def test_forwarded_headers_change_nothing(scene: Scene) -> None:
    status, body = scene.raw(
        scene.post(
            "X-Forwarded-Host: evil.example",
            "X_Forwarded_Host: evil.example",
            "Forwarded: host=evil.example",
            "Content-Length: 2",
        ),
        b"{}",
    )
    assert status in {201, 400}
    assert b"evil" not in body


def test_sigterm_ends_everything_and_loses_nothing(
    gateway_settings: Settings, scene: Scene
) -> None:
    port = free_port()
    before = set(psutil.Process().children(recursive=True))
    with processes.door("gateway", gateway_settings, port) as process:
        other = replace(scene, port=port)
        assert other.submit(film()).status_code == 201  # so its readers have been started
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    left = [p for p in psutil.Process().children(recursive=True) if p not in before]
    assert not [p for p in left if "gunicorn" in " ".join(p.cmdline())]
    said = processes.log_of(gateway_settings, f"gateway-{port}").read_text()
    assert "Traceback" not in said


def test_callers_that_vanished_in_the_middle_hold_up_nobody(
    gateway_settings: Settings, scene: Scene, tmp_path: Path
) -> None:
    """More of them than threads, in a body and in a head; the shipped patience is 20 s, here 1."""
    config = tmp_path / "impatient.py"
    config.write_text(
        "import web.gunicorn_worker\n"
        "web.gunicorn_worker.SILENCE_S = 1\n"
        "from web.gunicorn_gateway import *\n"
    )
    port = free_port()
    head = scene.post("Content-Length: 400").replace("\n", "\r\n").encode()
    with (
        processes.door("gateway", gateway_settings, port, config=str(config)),
        contextlib.ExitStack() as gone,
    ):
        for cut in [head + b'\r\n\r\n{"age_years"', head] * 20:
            wire = gone.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            wire.sendall(cut)
            if cut != head:
                half_sent = wire
        assert requests.get(f"http://127.0.0.1:{port}/healthz", timeout=20).status_code == 200
        answer = http.client.HTTPResponse(half_sent)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "bad_request")
        answer.close()


def test_a_door_beats_while_it_takes_callers_and_is_not_missed_when_it_ends(
    gateway_settings: Settings, scene: Scene, tmp_path: Path
) -> None:
    config = tmp_path / "narrow.py"
    config.write_text("from web.gunicorn_gateway import *\nworkers = 1\nthreads = 2\n")
    settings, port = replace(gateway_settings, node="narrow", sweep_s=0.2), free_port()

    def beats() -> list[datetime]:
        with scene.house.record.read() as db:
            return [row.beat_at for row in heartbeat.alive(db, "gateway") if "narrow" in row.name]

    def wait_until(holds: Callable[[], bool]) -> None:
        until = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.1)

    def goes_on(after_s: float) -> bool:
        seen = beats()
        time.sleep(after_s)
        return bool(seen) and beats() > seen

    with processes.door("gateway", settings, port, config=str(config)) as process:
        wait_until(lambda: goes_on(0.5))
        head = scene.post("Content-Length: 400").replace("\n", "\r\n").encode()
        with contextlib.ExitStack() as held:
            for _ in range(2):
                wire = held.enter_context(socket.create_connection(("127.0.0.1", port)))
                wire.sendall(head)
            wait_until(lambda: not goes_on(3.0))
        wait_until(lambda: goes_on(0.5))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert beats() == []

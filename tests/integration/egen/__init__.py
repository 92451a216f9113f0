"""A stand-in for the E-Gen service: real HTTP on loopback, answers in its shape."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

HERE = Path(__file__).parent
KOREA = timezone(timedelta(hours=9))
KEY = "canary+key/of=the-tests"
Answer = bytes | tuple[int, bytes] | None
"""A body, a status with a body, or None: hang up."""


def korean(age: timedelta = timedelta()) -> str:
    """A time as hvidate writes it."""
    return (datetime.now(UTC) - age).astimezone(KOREA).strftime("%Y%m%d%H%M%S")


def recorded(name: str) -> bytes:
    """A recorded answer with its times set beside the present."""
    text = (HERE / name).read_text("utf-8")
    for word, age_min in (("fresh", 2), ("late", 40), ("future", -90)):
        text = text.replace(f"{{{word}}}", korean(timedelta(minutes=age_min)))
    return text.encode()


def code(number: str) -> bytes:
    """An answer that carries only a result code."""
    return f"<response><header><resultCode>{number}</resultCode></header></response>".encode()


class Service:
    """What the stand-in answers by operation, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {
            "getEmrrmRltmUsefulSckbdInfoInqire": lambda _: recorded("beds.xml"),
            "getSrsillDissAceptncPosblInfoInqire": lambda _: recorded("severe.xml"),
        }
        self.url = ""

    def beds(self, answer: Callable[[dict[str, str]], Answer]) -> None:
        self.answers["getEmrrmRltmUsefulSckbdInfoInqire"] = answer

    def severe(self, answer: Callable[[dict[str, str]], Answer]) -> None:
        self.answers["getSrsillDissAceptncPosblInfoInqire"] = answer


@contextmanager
def serving() -> Iterator[Service]:
    """The stand-in on a free port."""
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            operation = url.path.rsplit("/", 1)[1]
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            service.asked.append((operation, query))
            found = service.answers[operation](query)
            if found is None:
                self.close_connection = True
                return
            status, body = found if isinstance(found, tuple) else (200, found)
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_address[1]}/B552657/ErmctInfoInqireService"
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""Local servers that take notifications: a pager gateway (HTTP) and a mail server (SMTP)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Gateway:
    """A pager gateway: what it was sent, and what it answers (the last answer stays)."""

    answers: list[int] = field(default_factory=lambda: [204])
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/page"


@contextmanager
def gateway() -> Iterator[Gateway]:
    """A running pager gateway."""
    mine = Gateway()

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            mine.taken.append((dict(self.headers.items()), body))
            self.send_response(mine.answers.pop(0) if len(mine.answers) > 1 else mine.answers[0])
            self.send_header("Location", f"http://127.0.0.1:{mine.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    mine.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield mine
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@dataclass
class MailServer:
    """A mail server that takes everything: (recipient, text of the message)."""

    taken: list[tuple[str, str]] = field(default_factory=list)
    port: int = 0


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A running mail server: as much of RFC 5321 as a client needs to hand over a message."""
    mine = MailServer()
    loop = asyncio.new_event_loop()
    ready, over = threading.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test ESMTP\r\n")
        to = ""
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            if word == "RCPT":
                to = line.split("<")[1].split(">")[0]
            if word == "DATA":
                writer.write(b"354 go on\r\n")
                text = (await reader.readuntil(b"\r\n.\r\n")).decode()
                mine.taken.append((to, text))
            writer.write(b"221 bye\r\n" if word == "QUIT" else b"250 ok\r\n")
            await writer.drain()
            if word == "QUIT":
                break
        writer.close()
        await writer.wait_closed()

    async def serve() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        mine.port = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    ready.wait(5)
    try:
        yield mine
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()

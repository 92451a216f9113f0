"""Server-sent events: an audience's log from the database; Redis only says when to look.

A process group of its own, because every stream holds a thread. Resumes after Last-Event-ID without
a gap, beats every few seconds, asks again who is listening, and ends itself now and then.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import redis
from flask import Blueprint, Response, current_app, request, session

from broker import events, logs
from broker.errors import BadRequest, Conflict, DatabaseBusy
from broker.lifecycle import Role
from broker.relay import WAKE_CHANNEL
from broker.settings import Settings
from dispatch.access import Actor
from web import auth
from web.auth import allow
from web.state import State, here

blueprint = Blueprint("stream", __name__, url_prefix="/api/v1")

LIFE_S = 300.0
PING_S = 5.0
PER_CREDENTIAL = 6
RETRY_MS = 1000


class Waker:
    """Tells waiting streams that there may be news; one Redis subscription per process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._condition = threading.Condition()
        self._generation = 0
        self._open: dict[str, int] = {}
        self._started = False

    def generation(self) -> int:
        """A number that grows with every wake-up; start the thread on first use, after the fork."""
        with self._condition:
            if not self._started:
                self._started = True
                threading.Thread(target=self._listen, daemon=True).start()
            return self._generation

    def wait(self, generation: int, timeout_s: float) -> None:
        """Return when something was said since `generation`, or after the time-out."""
        with self._condition:
            self._condition.wait_for(lambda: self._generation != generation, timeout_s)

    def enter(self, credential: str) -> None:
        """Count a stream, or refuse one too many."""
        with self._condition:
            if self._open.get(credential, 0) >= PER_CREDENTIAL:
                raise Conflict("too many open streams for this sign-in; close one")
            self._open[credential] = self._open.get(credential, 0) + 1

    def leave(self, credential: str) -> None:
        """A stream ended."""
        with self._condition:
            self._open[credential] -= 1
            if not self._open[credential]:
                del self._open[credential]

    def _listen(self) -> None:
        while True:
            try:
                client = redis.Redis.from_url(
                    self._settings.redis_url,
                    socket_timeout=15,
                    socket_connect_timeout=2,
                    health_check_interval=5,
                )
                with client.pubsub(  # type: ignore[no-untyped-call]
                    ignore_subscribe_messages=True
                ) as channel:
                    channel.subscribe(WAKE_CHANNEL)
                    self._ring()
                    while True:
                        if channel.get_message(timeout=5):
                            self._ring()
                        else:
                            channel.ping()
            except (redis.RedisError, OSError):
                time.sleep(1)  # polling goes on meanwhile

    def _ring(self) -> None:
        with self._condition:
            self._generation += 1
            self._condition.notify_all()


@blueprint.route("/events", methods=["GET"])
@allow(Role.CREW, Role.EMERGENCY_ROOM, Role.CONTROL_ROOM)
def stream() -> Response:
    """Server-sent events of whoever asks; Last-Event-ID or ?after= resumes."""
    who = auth.actor()
    after = _after()
    state, waker = here(), _waker()
    waker.enter(who.name)
    header = request.headers.get("Authorization", "")
    token = header.partition(" ")[2].strip() or None
    cookie = None if token else dict(session)
    connection = request.environ.get("gunicorn.socket")

    def still_allowed() -> bool:
        with state.record.read() as db:
            found = auth.by_token(db, token) if token else auth.by_session(db, cookie or {})
        return found is not None and found.audience == who.audience

    response = Response(
        _Closing(
            _follow(state, waker, who, after, still_allowed, connection),
            lambda: waker.leave(who.name),
        ),
        mimetype="text/event-stream",
    )
    response.headers["X-Accel-Buffering"] = "no"
    return response


class _Closing:
    """An iterator that gives its place back however the connection ends."""

    def __init__(self, inner: Iterator[str], close: Any) -> None:
        self._inner, self._close = inner, close

    def __iter__(self) -> Iterator[str]:
        return self._inner

    def close(self) -> None:
        """Called by the server at the end of the response."""
        self._close()


def _follow(
    state: State,
    waker: Waker,
    who: Actor,
    after: int | None,
    still_allowed: Any,
    connection: socket.socket | None,
) -> Iterator[str]:
    started = asked = beat = time.monotonic()
    audience = who.audience or ""
    yield f"retry: {RETRY_MS}\n\n"
    with state.record.read() as db:
        last = events.last_seq(db, audience)
    if after is None or after > last:  # a number from elsewhere would wait for ever
        after = last
        yield f"id: {after}\nevent: hello\ndata: {json.dumps({'seq': after})}\n\n"
    while time.monotonic() - started < LIFE_S and not (connection and hung_up(connection)):
        generation = waker.generation()
        try:
            with state.record.read() as db:
                entries = events.after(db, audience, after)
            if time.monotonic() - asked > state.settings.stream_reauthorise_s:
                if not still_allowed():
                    return
                asked = time.monotonic()
        except DatabaseBusy:
            logs.logger().warning("a stream waits for the database", action="stream.busy")
            entries = []
        for entry in entries:
            after = entry.seq
            yield _frame(entry)
        if entries:
            continue
        if time.monotonic() - beat >= PING_S:
            beat = time.monotonic()
            yield f"event: heartbeat\ndata: {json.dumps({'seq': after})}\n\n"
        waker.wait(generation, state.settings.stream_poll_s)


def hung_up(connection: socket.socket) -> bool:
    """Whether the other side has closed; who vanished without a word looks as if still there.

    A heartbeat finds that out too, but only the second one: the first is what the closed side
    refuses. Until then a page that was left holds a thread and one of its person's places.
    """
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _frame(entry: events.Entry) -> str:
    data = {
        "seq": entry.seq,
        "type": entry.type,
        "case_id": str(entry.case_id) if entry.case_id else None,
        "created_at": entry.created_at.isoformat(),
        "body": entry.body,
    }
    return f"id: {entry.seq}\nevent: {entry.type}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _after() -> int | None:
    text = request.headers.get("Last-Event-ID") or request.args.get("after")
    if text is None or text == "":
        return None
    if not text.isdecimal() or len(text) > 18:
        raise BadRequest("Last-Event-ID must be the number of an event")
    return int(text)


def _waker() -> Waker:
    waker: Waker = current_app.extensions["goldentime.waker"]
    return waker

"""Server-sent events from a real stream process, beside a real relay and a real Redis."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest
import requests

from broker.lifecycle import Role
from broker.settings import Settings
from tests.integration.api import processes
from tests.integration.api.doors import PASSWORD, Caller, House
from tests.integration.api.processes import Ears
from tests.servers import RedisServer, free_port
from web import registry
from web.stream import PER_CREDENTIAL, PING_S, hung_up


@dataclass(frozen=True)
class Scene:
    """A city, its stream, and one that looks so seldom that only Redis can have woken it."""

    house: House
    url: str
    patient_url: str
    redis: RedisServer

    def listen(self, who: Caller, after: int | str | None = None, **headers: str) -> Ears:
        return Ears(self.url, who.token, after, **headers)


@pytest.fixture(scope="module")
def scene(gateway_settings: Settings, redis_server: object) -> Iterator[Scene]:
    assert isinstance(redis_server, RedisServer)
    port, patient = free_port(), free_port()
    settings = replace(
        gateway_settings,
        redis_url=redis_server.url,
        stream_url=f"http://127.0.0.1:{port}",
        public_url="http://127.0.0.1:8000",
        stream_reauthorise_s=0.3,
        log_json=False,
    )
    house = House(settings)
    with ExitStack() as stack:
        stack.callback(house.close)
        seldom = replace(settings, stream_poll_s=120.0)
        started = [
            stack.enter_context(process)
            for process in (
                processes.relay(settings),
                processes.door("stream", settings, port),
                processes.door("stream", seldom, patient),
            )
        ]
        stack.callback(lambda: [process.terminate() for process in started])  # all at once
        yield Scene(house, settings.stream_url, f"http://127.0.0.1:{patient}", redis_server)


def log(who: Caller) -> list[int]:
    """Numbers of somebody's whole log, polled."""
    seqs: list[int] = []
    while page := who.get(f"/inbox?after={seqs[-1] if seqs else 0}").json["events"]:
        seqs += [event["seq"] for event in page]
    return seqs


def test_events_come_in_order_and_are_those_of_the_inbox(scene: Scene) -> None:
    house = scene.house
    crew = scene.listen(house.crew, 0)
    case_id, offers = house.offered()
    room = scene.listen(house.er_of(offers[0]), 0)
    assert house.decide(offers[0], "accept").status_code == 200
    crew.wait(crew.first("case.assigned", case_id))
    room.wait(room.first("offer.accepted", case_id))
    polled = house.crew.get("/inbox").json["events"]
    crew.wait(lambda: len(crew.frames) > len(polled))
    heard = crew.events()
    assert [e["seq"] for e in heard] == list(range(1, len(polled) + 1))
    assert [(e["seq"], e["type"], e["body"]) for e in heard] == [
        (e["seq"], e["type"], e["body"]) for e in polled
    ]
    assert {e["case_id"] for e in room.events()} >= {case_id}
    assert "Canary" not in str(room.frames)
    assert crew.answer.headers["Content-Type"].startswith("text/event-stream")
    assert crew.answer.headers["Cache-Control"] == "no-store"
    assert crew.answer.headers["X-Accel-Buffering"] == "no"
    crew.close()
    room.close()


def test_a_stream_that_breaks_goes_on_without_a_gap(scene: Scene) -> None:
    house = scene.house
    heard: list[int] = []
    for _ in range(4):
        ears = scene.listen(house.crew, heard[-1] if heard else 0)
        case_id = house.submitted()
        ears.wait(ears.first("case.received", case_id))
        ears.close()  # … and while nobody listens, more happens:
        house.advance(case_id)
        heard += [e["seq"] for e in ears.events()]
    ears = scene.listen(house.crew, heard[-1])
    last = log(house.crew)[-1]
    ears.wait(lambda: ears.frames[-1][1].get("id") == str(last))
    heard += [e["seq"] for e in ears.events()]
    assert heard == list(range(1, last + 1))
    ears.close()


def test_redis_wakes_a_stream_that_hardly_ever_looks(scene: Scene) -> None:
    ears = Ears(scene.patient_url, scene.house.crew.token)
    ears.wait(ears.first("hello"))
    case_id = scene.house.submitted()
    ears.wait(ears.first("case.received", case_id), 10)
    ears.close()


def test_without_redis_events_come_a_little_later(scene: Scene) -> None:
    """Frozen and killed: polling finds what nobody was woken for; and it beats meanwhile."""
    house = scene.house
    ears = scene.listen(house.crew)
    ears.wait(ears.first("hello"))
    scene.redis.freeze()
    try:
        began = time.monotonic()
        case_id = house.submitted()
        at, _ = ears.wait(ears.first("case.received", case_id))
        assert at - began < house.settings.stream_poll_s + 3
    finally:
        scene.redis.thaw()
    scene.redis.kill()
    try:
        fresh = scene.listen(house.crew)  # a new connection does not need it either
        fresh.wait(fresh.first("hello"))
        began = time.monotonic()
        case_id = house.submitted()
        for listener in (ears, fresh):
            at, _ = listener.wait(listener.first("case.received", case_id))
            assert at - began < house.settings.stream_poll_s + 3
        at, frame = ears.wait(ears.first("heartbeat"), 12)
        assert frame["data"]["seq"] > 0
        fresh.close()
    finally:
        scene.redis.start()
    ears.close()


@pytest.mark.parametrize("number", ["x", "-1", "1.5", "1e3", "9" * 30, "0x10", "1;2"])
def test_a_number_that_is_none(scene: Scene, number: str) -> None:
    ears = scene.listen(scene.house.crew, number)
    assert ears.problem() == (400, "bad_request")
    ears.close()


def test_a_number_from_elsewhere_starts_at_the_end(scene: Scene) -> None:
    """A log that was restored is shorter than what a client remembers: it must not wait for it."""
    scene.house.submitted()
    ears = scene.listen(scene.house.crew, 10**9)
    _, hello = ears.wait(ears.first("hello"))
    assert int(hello["id"]) == log(scene.house.crew)[-1]
    case_id = scene.house.submitted()
    ears.wait(ears.first("case.received", case_id))
    ears.close()


def test_nobody_hears_anybody_else(scene: Scene) -> None:
    other = scene.listen(scene.house.other_crew, 0)
    case_id, offers = scene.house.assigned()
    mine = scene.listen(scene.house.crew, 0)
    mine.wait(mine.first("case.assigned", case_id))
    never = scene.house.er(scene.house.rooms[-1])
    room = scene.listen(never, 0)
    time.sleep(0.5)
    for ears in (other, room):
        assert case_id not in {e["case_id"] for e in ears.events()}
        ears.close()
    mine.close()
    assert len(offers) == 3


def test_who_may_listen(scene: Scene) -> None:
    for who, problem in (
        (scene.house.nobody, (401, "not_signed_in")),
        (scene.house.operations, (403, "not_allowed")),
        (scene.house.admin, (403, "not_allowed")),
        (Caller(scene.house.app, "unknown"), (401, "not_signed_in")),
    ):
        ears = scene.listen(who)
        assert ears.problem() == problem
        ears.close()
    # A token in the address would be written into logs; it is not looked at.
    answer = requests.get(f"{scene.url}/api/v1/events?token={scene.house.crew.token}", timeout=5)
    assert answer.status_code == 401
    assert requests.get(f"{scene.url}/api/v1/cases", timeout=5).status_code == 404


def test_a_revoked_token_ends_its_stream(scene: Scene) -> None:
    house = scene.house
    tablet = house.device(Role.CREW, "Test 1", label="stolen while listening")
    ears = scene.listen(tablet)
    ears.wait(ears.first("hello"))
    with house.record.write() as db:
        registry.revoke_devices(db, "stolen while listening")
    ears.wait(lambda: ears.ended, 10)
    ears.close()
    again = scene.listen(tablet)
    assert again.problem() == (401, "not_signed_in")
    again.close()


def test_a_person_listens_with_a_cookie_until_the_session_ends(scene: Scene) -> None:
    house = scene.house
    name = house.person(Role.CREW, "Test 1")
    browser = house.browser()
    signed_in = browser.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    assert signed_in.status_code == 201
    found = browser.get_cookie("goldentime")
    assert found is not None
    ears = Ears(scene.url, Cookie=f"goldentime={found.value}")
    ears.wait(ears.first("hello"))
    case_id = house.submitted()
    ears.wait(ears.first("case.received", case_id))
    house.person(Role.CREW, "Test 1", name=name)  # a new password ends every session
    ears.wait(lambda: ears.ended, 10)
    ears.close()


def test_a_closed_connection_is_seen_without_a_word() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not hung_up(ours)
        theirs.sendall(b"GET")  # a next request, as some send ahead
        assert not hung_up(ours)
        assert ours.recv(3) == b"GET"  # and it is still there to be read
        theirs.close()
        assert hung_up(ours)
    assert hung_up(ours)  # ours is closed, too


def test_a_credential_has_only_so_many_streams(scene: Scene) -> None:
    tablet = scene.house.device(Role.CREW, "Test 2")
    for _ in range(PER_CREDENTIAL + 2):  # a HEAD gives its place back at once
        head = requests.head(
            f"{scene.url}/api/v1/events",
            headers={"Authorization": f"Bearer {tablet.token}"},
            timeout=5,
        )
        assert head.status_code == 200
    streams = [scene.listen(tablet) for _ in range(PER_CREDENTIAL)]
    for ears in streams:
        ears.wait(ears.first("hello"))
    refused = scene.listen(tablet)
    assert refused.problem() == (409, "conflict")
    others = scene.listen(scene.house.other_crew)  # the same ambulance, another device
    others.wait(others.first("hello"))
    for ears in [*streams, others, refused]:
        ears.close()
    deadline = time.monotonic() + PING_S  # the server looks, it need not speak first
    status = 409
    while status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        ears = scene.listen(tablet)
        status = ears.answer.status
        ears.close()


@pytest.mark.parametrize("who", ["crew", "nobody"])
def test_only_our_own_pages_may_read_it(scene: Scene, who: str) -> None:
    caller: Caller = getattr(scene.house, who)
    ours = scene.listen(caller, Origin="http://127.0.0.1:8000")
    assert ours.answer.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:8000"
    assert ours.answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in ours.answer.headers["Vary"]
    ours.close()
    for origin in ("http://evil.example", "null", "http://127.0.0.1:8000.evil.example"):
        foreign = scene.listen(caller, Origin=origin)
        assert "Access-Control-Allow-Origin" not in foreign.answer.headers
        assert "Origin" in foreign.answer.headers["Vary"]
        foreign.close()

"""Road times against a stand-in over real HTTP: rows, ranking, screens, and every way to fail."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from broker import alarms, database
from broker.lifecycle import AlarmCode
from broker.record import Record
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Offer, RoadService, RoadTime
from dispatch import asking, road_times, transport
from dispatch.offers import Decision
from dispatch.osrm import MOST_PLACES
from dispatch.travel import TravelSource
from tests.integration.city import HERE, City
from web.presenting import case_picture, offer_picture
from workers.road_times import RoadTimesLoop

Answer = tuple[int, bytes] | None


class Service:
    """What the stand-in answers to a list of destinations, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.seconds: Callable[[int], Any] = lambda n: 600.0 + n
        self.answer: Callable[[int], Answer] = self.table
        self.url = ""

    def table(self, count: int) -> Answer:
        rows = [[self.seconds(n) for n in range(count)]]
        return 200, json.dumps({"code": "Ok", "durations": rows}).encode()


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            found.asked.append((url.path, query))
            answer = found.answer(len(query["destinations"].split(";")))
            if answer is None:
                return  # hang up
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(settings: Settings, service: Service) -> Settings:
    return replace(settings, road_times_url=service.url, road_times_timeout_s=30.0)


@pytest.fixture
def loop(record: Record) -> Iterator[RoadTimesLoop]:
    made = RoadTimesLoop(record.settings)
    yield made
    made.record.close()


def rows(record: Record) -> list[RoadTime]:
    with record.read() as session:
        return list(session.query(RoadTime).all())


def state(record: Record) -> RoadService:
    with record.read() as session:
        return session.get_one(RoadService, road_times.SERVICE)


def again(loop: RoadTimesLoop) -> int:
    """Look as if the wait after a failure were over."""
    loop._not_before = 0.0
    return loop.look()


def test_a_waiting_case_gets_its_ways_before_it_is_offered(
    city: City, loop: RoadTimesLoop, service: Service
):
    farthest = {9: 60.0, 8: 120.0, 7: 180.0}
    service.seconds = lambda n: 3000.0
    case_id = city.submit()
    with city.record.read() as session:
        (question,) = road_times.wanted(session, city.settings)
    order = {room: number for number, room in enumerate(city.rooms)}
    place = [order[room] for room, _ in question.rooms]
    service.seconds = lambda n: 1000.0 - 10 * place[n] if place[n] not in farthest else 500.0
    assert loop.look() == 1
    path, query = service.asked[0]
    assert path.startswith("/table/v1/driving/127.00100,37.50100;")  # the square's middle
    assert query == {
        "sources": "0",
        "destinations": ";".join(str(n + 1) for n in range(10)),
        "annotations": "duration",
    }
    assert loop.look() == 0  # nothing is missing any more
    city.advance(case_id)
    opened = city.offers(case_id)
    assert {order[offer.emergency_room_id] for offer in opened} == set(farthest)
    assert all(offer.eta_min == pytest.approx(500 / 60) for offer in opened)
    assert all(offer.explanation["eta_source"] == "road" for offer in opened)
    assert all(offer.distance_km is not None for offer in opened)


def test_without_a_service_nothing_is_asked_and_ways_are_estimates(city: City, service: Service):
    off = replace(city.settings, road_times_url="")
    loop = RoadTimesLoop(off)
    _, opened = city.offered()
    assert opened[0].explanation["eta_source"] == "straight_line"
    loop.over.set()
    loop.run()
    assert service.asked == []
    with city.record.read() as session:
        assert road_times.by_road(session, off, None, []) == {}
    loop.record.close()


def test_who_is_on_the_way_is_followed_by_road(city: City, loop: RoadTimesLoop, service: Service):
    case_id, opened = city.offered()
    city.decide(opened[0], Decision.ACCEPT)
    service.seconds = lambda n: 420.0
    loop.look()
    ((_, query),) = service.asked  # only the ER that it goes to
    assert query["destinations"] == "1"
    city.do(transport.update, city.settings, city.crew, case_id,
            changes={"latitude": HERE[0] + 0.004, "longitude": HERE[1]}, vitals=None)  # fmt: skip
    with city.record.write() as session:
        er = city.er(opened[0].emergency_room_id)
        offer = session.get_one(Offer, opened[0].id)
        before = offer_picture(session, city.settings, er, offer)
    assert before["way"]["source"] is TravelSource.STRAIGHT_LINE  # a new square: not learnt yet
    assert before["way"]["position_at"] is not None
    service.seconds = lambda n: 300.0
    assert loop.look() == 1
    with city.record.write() as session:
        offer = session.get_one(Offer, opened[0].id)
        after = offer_picture(session, city.settings, er, offer)
        case = session.get_one(Case, case_id)
        theirs = [
            o
            for o in case_picture(session, city.settings, city.control, case)["offers"]
            if o["status"] == "accepted"
        ]
    assert (after["way"]["eta_min"], after["way"]["source"]) == (5.0, TravelSource.ROAD)
    assert theirs[0]["way"]["eta_min"] == 5.0  # the same on the control room's screen
    city.do(transport.arrive, city.settings, city.crew, case_id)
    assert loop.look() == 0
    with city.record.write() as session:
        case = session.get_one(Case, case_id)
        picture = case_picture(session, city.settings, city.control, case)
    assert all(o["eta_now_min"] is None for o in picture["offers"])


@pytest.mark.parametrize(
    "wrong",
    [
        (500, b'{"code": "InternalError"}'),
        (200, b"not json"),
        (200, b'{"code": "NoTable"}'),
        (200, b'{"code": "Ok", "durations": [[1]]}'),
        (302, b""),
        None,
    ],
)
def test_a_service_that_fails_is_told_and_blocks_nothing(
    city: City, loop: RoadTimesLoop, service: Service, wrong: Answer
):
    service.answer = lambda _: wrong
    case_id = city.submit()
    assert loop.look() == 0
    assert loop.look() == 0
    assert len(service.asked) == 1  # it waits before it asks again
    city.advance(case_id)
    assert city.offers(case_id)[0].explanation["eta_source"] == "straight_line"
    failed = state(city.record)
    assert failed.error
    assert "127.0.0.1" not in failed.error
    with city.record.write() as session:
        row = session.get_one(RoadService, road_times.SERVICE)
        row.failing_since_at = database.now(session) - timedelta(minutes=2)
    with city.record.read() as session:
        told = [c for c in alarms.conditions(session, city.settings) if c.subject == "osrm"]
    assert [c.code for c in told] == [AlarmCode.ROAD_TIMES_SILENT]
    service.answer = service.table
    assert again(loop) == 1
    assert state(city.record).failing_since_at is None
    with city.record.read() as session:
        assert [c for c in alarms.conditions(session, city.settings) if c.subject == "osrm"] == []


def test_a_failure_ends_without_a_case(city: City, loop: RoadTimesLoop, service: Service):
    service.answer = lambda _: None
    case_id = city.submit()
    loop.look()
    city.do(transport.cancel, city.crew, case_id, "called off")
    service.answer = service.table
    assert again(loop) == 1
    assert state(city.record).failing_since_at is None


def test_a_slow_service_is_not_waited_for(city: City, service: Service):
    done = threading.Event()

    def slow(_: int) -> Answer:
        done.wait(20)
        return None

    service.answer = slow
    loop = RoadTimesLoop(replace(city.settings, road_times_timeout_s=0.2))
    case_id = city.submit()
    began = time.monotonic()
    assert loop.look() == 0
    assert time.monotonic() - began < 15  # far less than the stand-in takes
    city.advance(case_id)
    assert len(city.offers(case_id)) == 3
    assert "Timeout" in (state(city.record).error or "")
    done.set()
    loop.record.close()


def test_ways_that_are_not_believed_are_estimated_and_not_asked_again(
    city: City, loop: RoadTimesLoop, service: Service
):
    service.seconds = lambda n: None if n == 0 else float("nan") if n == 1 else 700.0
    case_id = city.submit()
    assert loop.look() == 1
    assert loop.look() == 0
    assert sorted(row.duration_s is None for row in rows(city.record)) == [False] * 8 + [True] * 2
    assert "not believed" in (state(city.record).error or "")
    with city.record.read() as session:
        case, now = session.get_one(Case, case_id), database.now(session)
        facts = asking.candidates(session, city.settings, case, now)
        ranked = asking.rank(session, city.settings, case, facts, now)
    sources = [r.eta_source for r in ranked]
    assert sources.count(TravelSource.STRAIGHT_LINE) == 2
    assert sources.count(TravelSource.ROAD) == 8


def test_many_ers_are_asked_in_pieces_and_only_the_nearest(
    record: Record, loop: RoadTimesLoop, service: Service
):
    city = City.found(record, rooms=200)
    city.submit()
    assert loop.look() == 2
    counts = [len(query["destinations"].split(";")) for _, query in service.asked]
    assert counts == [MOST_PLACES, MOST_PLACES]
    nearest = set(city.rooms[: 2 * MOST_PLACES])
    assert {row.emergency_room_id for row in rows(record)} == nearest


def test_old_ways_are_asked_anew_then_not_used_then_forgotten(
    city: City, loop: RoadTimesLoop, service: Service
):
    city.submit()
    loop.look()

    def grow_older(by: timedelta) -> None:
        with city.record.write() as session:
            for row in session.query(RoadTime):
                row.measured_at -= by

    def known() -> int:
        with city.record.read() as session:
            rooms = session.query(EmergencyRoom).all()
            start = road_times.position_or_none(*HERE)
            return len(road_times.by_road(session, city.settings, start, rooms))

    assert known() == 10
    grow_older(timedelta(minutes=11))
    assert known() == 10
    service.answer = lambda _: (500, b"")
    assert loop.look() == 0
    grow_older(timedelta(hours=1))
    assert known() == 0
    assert city.do(road_times.forget_old) == 10
    assert rows(city.record) == []


def test_two_loops_do_no_harm(city: City, loop: RoadTimesLoop, service: Service):
    other = RoadTimesLoop(city.settings)
    city.submit()
    with city.record.read() as session:
        questions = road_times.wanted(session, city.settings)
    for one in (loop, other):
        assert one._ask(questions[0])
    assert len(rows(city.record)) == 10
    other.record.close()

"""The relay with a real Redis: rings what is due, never floods, survives a Redis that is gone."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import redis
from sqlalchemy import make_url, select, update

from broker import canary, database, events, hints
from broker.imagestore import ImageStore
from broker.lifecycle import CaseStatus, ReadingKind
from broker.queues import Queue
from broker.record import Record
from broker.relay import WAKE_CHANNEL, Relay
from broker.settings import Settings
from broker.tables import Heartbeat, Reading
from broker.tuning import Tuned
from dispatch.reading import Claim
from tests.integration.city import City
from tests.servers import RedisServer
from workers import inference
from workers.inference import Outcome
from workers.process import Process

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(settings: Settings, redis_url: str) -> Settings:
    """With a Redis of our own and a quick sweep, and no canary.

    One that is lost with Redis counts as a bell that may still lie there: the relay rings once too
    often rather than once too rarely, and bells could not be counted here.
    """
    return dataclasses.replace(settings, redis_url=redis_url, sweep_s=0.5, canary_s=0.0)


@pytest.fixture
def relay(city: City) -> Iterator[Relay]:
    relay = Relay(city.settings)
    yield relay
    relay.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def bells(client: redis.Redis, queue: Queue) -> list[str]:
    """Ids in a queue, oldest first."""
    raw = client.lrange(f"goldentime:{queue}", 0, -1)
    heads = [json.loads(item)["headers"] for item in reversed(raw)]
    return [head["argsrepr"] for head in heads]


def wait_for(what: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found


def make_due(record: Record) -> None:
    """The sweep's patience is over for every pending reading."""
    with record.write() as session:
        session.execute(update(Reading).values(due_at=database.now(session)))


def test_due_readings_and_cases_are_rung_by_id_only(city: City, client):
    relay = Relay(dataclasses.replace(city.settings, sweep_s=60.0))
    waiting = city.submit_film()
    due = city.submit()
    assert relay.ring() == 3
    rows = city.readings(waiting)
    assert bells(client, Queue.CLASSIFY) == [f"['{rows[ReadingKind.CLASSIFY].id}']"]
    assert bells(client, Queue.DETECT) == [f"['{rows[ReadingKind.DETECT].id}']"]
    assert bells(client, Queue.DISPATCH) == [f"['{due}']"]
    (message,) = client.lrange("goldentime:classify", 0, -1)
    assert len(message) < 1024
    assert relay.ring() == 0  # not again before the sweep's patience is over
    relay.close()


def test_a_long_queue_is_not_a_lost_bell(city: City, relay: Relay, client):
    for _ in range(5):
        city.submit_film(readings=[ReadingKind.CLASSIFY])
    for _ in range(6):
        relay.ring()
        make_due(city.record)
    assert client.llen("goldentime:classify") == 5


def test_a_canarys_bell_is_no_films_and_canaries_do_not_pile_up(city: City, relay: Relay, client):
    def write_canaries() -> None:
        with city.record.write() as session:
            canary.plan(session, database.now(session))

    write_canaries()
    assert relay.ring() == len(Queue)  # nobody works: they lie in Redis
    city.submit_film(readings=[ReadingKind.CLASSIFY])
    assert relay.ring() == 1
    assert client.llen("goldentime:classify") == 2
    write_canaries()
    assert relay.ring() == 0
    for queue in Queue:
        client.delete(f"goldentime:{queue}")
    relay.ring()  # those that Redis lost hold nobody up
    assert client.llen("goldentime:detect") == client.llen("goldentime:dispatch") == 1


def test_what_redis_lost_is_rung_again(city: City, relay: Relay, client):
    city.submit_film()
    relay.ring()
    client.flushall()
    time.sleep(city.settings.sweep_s * 1.4)
    assert relay.ring() == 2
    assert client.llen("goldentime:classify") == client.llen("goldentime:detect") == 1


def test_a_bell_that_an_older_film_took_is_rung_again(
    city: City, relay: Relay, client, monkeypatch
):
    """A film that was begun earlier but committed later is claimed first, by another's bell."""
    younger = city.submit_film([ReadingKind.CLASSIFY])
    assert relay.ring() == 1
    older = city.submit_film([ReadingKind.CLASSIFY])
    with city.record.write() as session:
        found = {row.case_id: row for row in session.scalars(select(Reading))}
        found[older].created_at = found[younger].created_at - timedelta(seconds=1)
    mine = Process(Tuned(city.record), city.record, ImageStore(city.settings))
    monkeypatch.setattr(inference, "process", lambda: mine)
    read: list[UUID] = []

    def note(claim: Claim, _renew: Callable[[], None]) -> Outcome:
        read.append(claim.case_id)
        return [], {"name": "n"}, {}

    client.delete("goldentime:classify")  # a worker took the bell
    inference.work(ReadingKind.CLASSIFY, found[younger].id, note)
    assert read == [older]
    assert relay.ring() == 1
    client.delete("goldentime:classify")
    inference.work(ReadingKind.CLASSIFY, found[younger].id, note)
    assert read == [older, younger]
    assert relay.ring() == 0


def test_two_relays_at_once_do_no_harm(city: City, relay: Relay, client):
    case_ids = [city.submit_film() for _ in range(8)]
    other = Relay(city.settings)
    threads = [threading.Thread(target=r.ring) for r in (relay, other) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    rung = bells(client, Queue.CLASSIFY)
    assert len(set(rung)) == 8
    assert len(rung) <= 16  # once by each at most
    assert len(case_ids) == 8


def run_beside(relay: Relay) -> threading.Thread:
    thread = threading.Thread(target=relay.run)
    thread.start()
    return thread


def test_a_redis_that_is_gone_or_frozen_is_a_pause(
    city: City, relay: Relay, client, redis_server: RedisServer
):
    died: list[object] = []
    hook, threading.excepthook = threading.excepthook, lambda args: died.append(args.exc_value)
    thread = run_beside(relay)
    try:
        for films, (hurt, heal) in enumerate(
            (
                (redis_server.freeze, redis_server.thaw),
                (redis_server.kill, redis_server.start),
            ),
            start=1,
        ):
            hurt()
            started = time.monotonic()
            city.submit_film()  # the door does not wait for Redis
            assert time.monotonic() - started < 1.5
            time.sleep(2.5)
            assert thread.is_alive()
            heal()
            # As many bells as films wait (which film a bell names does not matter), and one more at
            # most: Redis may take a bell and be cut off before it says so.
            wait_for(lambda n=films: len(bells(client, Queue.CLASSIFY)) >= n)
            assert len(bells(client, Queue.CLASSIFY)) <= films + 1
    finally:
        redis_server.thaw()
        relay.stop()
        thread.join(20)
        threading.excepthook = hook
    assert not thread.is_alive()
    assert died == []


def test_a_commit_is_rung_at_once(city: City, client, settings: Settings):
    """By datagram on SQLite, by NOTIFY on PostgreSQL; the sweep would take a minute."""
    patient = dataclasses.replace(city.settings, sweep_s=60.0)
    relay = Relay(patient)
    streams = client.pubsub()
    streams.subscribe(WAKE_CHANNEL)
    streams.get_message(timeout=2)
    thread = run_beside(relay)
    try:
        time.sleep(0.5)
        case_id = city.submit()
        wait_for(lambda: f"['{case_id}']" in bells(client, Queue.DISPATCH), 5)
        said = streams.get_message(timeout=5)
        assert events.CONTROL_ROOM in json.loads(said["data"])
    finally:
        relay.stop()
        city.submit()  # wakes it, so that it sees that it shall stop
        thread.join(10)
        streams.close()
        relay.close()
    assert not thread.is_alive()


def test_hints_tell_who_has_news_and_nothing_when_there_is_none(city: City):
    listener = hints.listen(city.settings)
    try:
        listener.wait(0.1)  # PostgreSQL connects at the first wait
        assert listener.wait(0.05) is None
        with city.record.write() as session:
            database.now(session)  # a unit without news
        assert listener.wait(0.05) is None
        city.submit()
        said = listener.wait(3)
        assert said is not None
        assert said >= {events.CONTROL_ROOM, events.ambulance(city.crew.ambulance_id)}
    finally:
        listener.close()


def test_a_door_without_a_relay_waits_for_nobody(city: City):
    for _ in range(50):
        city.submit()


@contextmanager
def running(city: City, queue: Queue, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker of one queue."""
    log = city.folder / "worker.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "celery", "-A", "workers.app", "worker"),
                *("-Q", queue.value, "--concurrency", "1"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            ],
            cwd=ROOT,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env=os.environ
            | {
                "GOLDENTIME_DATABASE_URL": city.settings.database_url,
                "GOLDENTIME_DATA_DIR": str(city.folder),
                "GOLDENTIME_REDIS_URL": city.settings.redis_url,
            }
            | more,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def worker(city: City) -> Iterator[subprocess.Popen[bytes]]:
    """A real Celery worker of the dispatch queue, which must have nothing to complain of."""
    with running(city, Queue.DISPATCH) as process:
        yield process
    text = (city.folder / "worker.log").read_text()
    assert "Traceback" not in text, text


def beats(city: City) -> int:
    """How many processes have given a sign of life."""
    return city.do(lambda session: session.query(Heartbeat).count())


@pytest.mark.parametrize("threads", [1, 2])
def test_a_reader_has_its_network_before_its_first_film(city: City, threads: int):
    with running(city, Queue.CLASSIFY, GOLDENTIME_INFERENCE_THREADS=str(threads)) as process:
        pool = psutil.Process(process.pid)
        reader = wait_for(lambda: next(filter(_has_network, _grandchildren(pool)), None), 60)
        # Threads that a parent started do not survive a fork; a network without any does.
        assert _has_network(reader.parent()) == _has_network(pool) == (threads == 1)


def test_a_network_that_cannot_be_loaded_leaves_its_child_alive(city: City):
    """Each film says what is wrong then, and is counted."""
    with running(city, Queue.CLASSIFY, GOLDENTIME_CLASSIFIER="nobody-has-it") as process:
        pool = psutil.Process(process.pid)
        log = city.folder / "worker.log"
        # the pool itself says it first, and each child that it forks tries again
        wait_for(lambda: log.read_text().count("reading.no_network") == 2, 60)
        (child,) = pool.children()
        time.sleep(1)
        assert [c.pid for c in pool.children()] == [child.pid]


def test_a_pool_that_cannot_reach_the_record_leaves_its_bells_to_others(
    city: City, relay: Relay, client, request: pytest.FixtureRequest
):
    if city.record.engine.dialect.name != "postgresql":
        pytest.skip("whoever can open SQLite's file reaches the record")
    server = request.getfixturevalue("postgres_server")
    server.execute("CREATE ROLE pool LOGIN SUPERUSER")
    log = city.folder / "worker.log"
    url = make_url(city.settings.database_url).set(username="pool")
    try:
        with running(city, Queue.CLASSIFY, GOLDENTIME_DATABASE_URL=str(url)):
            wait_for(lambda: beats(city), 60)
            server.execute("ALTER ROLE pool NOLOGIN")
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pool'"
            )
            wait_for(lambda: "no bells" in log.read_text(), 30)
            city.submit_film(readings=[ReadingKind.CLASSIFY])
            assert relay.ring() == 1
            time.sleep(2.5)  # a pool that listens takes it at once
            assert client.llen("goldentime:classify") == 1
            server.execute("ALTER ROLE pool LOGIN")
            wait_for(lambda: client.llen("goldentime:classify") == 0)
    finally:
        server.execute("DROP ROLE pool")


def _grandchildren(pool: psutil.Process) -> list[psutil.Process]:
    own = {child.pid for child in pool.children()}
    return [each for each in pool.children(recursive=True) if each.pid not in own]


def _has_network(process: psutil.Process) -> bool:
    try:
        return any("onnxruntime" in part.path for part in process.memory_maps())
    except psutil.NoSuchProcess:  # a short-lived one, or its remains
        return False


def test_a_pool_replaces_a_killed_child_at_once(city: City, worker):
    """Its own look comes every 5 s only; ten kills in a row would be lucky without ours."""
    pool = psutil.Process(worker.pid)
    # Celery takes a child that dies before the pool is ready for a pool that cannot start.
    wait_for(lambda: beats(city), 60)
    longest_s = 0.0
    for _ in range(10):
        wait_for(pool.children, 60)
        [child] = pool.children()
        time.sleep(0.5)  # it is up
        child.kill()
        began = time.monotonic()
        wait_for(lambda gone=child.pid: [c for c in pool.children() if c.pid != gone], 20)
        longest_s = max(longest_s, time.monotonic() - began)
    assert longest_s < 2.5


def test_a_real_worker_takes_the_step(city: City, relay: Relay, worker):
    thread = run_beside(relay)
    try:
        case_id = city.submit()
        wait_for(lambda: city.case(case_id).status is CaseStatus.OFFERING, 60)
        assert len(city.offers(case_id)) == 3
    finally:
        relay.stop()
        thread.join(20)
    city.check()

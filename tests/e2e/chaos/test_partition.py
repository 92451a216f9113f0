"""Cut off without a word: database, Redis, or one pool's way to the database.

Packets vanish in a real network namespace. Everybody must notice by time-outs of their own, go on
when the network is back, and never make a second winner meanwhile. PostgreSQL only.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from uuid import UUID

import psutil
import pytest

from broker.lifecycle import ReadingStatus
from broker.tables import Reading
from tests.conftest import FreshDatabase
from tests.e2e.chaos import pool, truth
from tests.e2e.chaos.box import Box, Far, box as running_box
from tests.e2e.chaos.crowd import Crowd, Life
from tests.e2e.chaos.network import Network, NoNetwork, network
from tests.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.timeout(3600)
BACK_S = 15.0
"""A submit, or the reading of a film, comes through again this long after the network does."""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    try:
        with network() as made:
            yield made
    except NoNetwork as reason:
        pytest.skip(f"no network namespace can be made here (it needs root): {reason}")


@pytest.fixture(scope="module")
def box(
    net: Network,
    fresh_database: FreshDatabase,
    postgres_server: object,
    server_folder,
    tmp_path_factory: pytest.TempPathFactory,
    long_run: bool,
) -> Iterator[Box]:
    """An installation whose parts reach PostgreSQL and Redis over the network."""
    assert isinstance(postgres_server, PostgresServer)
    folder = server_folder / "redis-far"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    try:
        with fresh_database("postgresql") as url:
            unix = f"{postgres_server.folder}/.s.PGSQL.5432"
            there, there_too = net.path("database", unix), net.path("classify", unix)
            base, _, _ = url.partition("?")
            far = Far(
                *(base.replace("@/", f"@{host}:{port}/") for host, port in (there, there_too)),
                "redis://{}:{}/0".format(*net.path("redis", ("127.0.0.1", redis.port))),
            )
            with running_box(
                url,
                tmp_path_factory.mktemp("far"),
                redis,
                postgres_server,
                lease_s=10 if long_run else 4,
                far=far,
            ) as running:
                yield running
    finally:
        redis.stop()


@pytest.mark.parametrize("what", ["database", "redis"])
def test_a_cut_is_a_pause(box: Box, crowd: Crowd, net: Network, what: str, long_run: bool):
    over, lives = threading.Event(), []

    def load() -> None:
        while not over.is_set():
            lives.extend(crowd.live(3, clients=3))

    client = threading.Thread(target=load)
    client.start()
    backs = []
    try:
        for _ in range(10 if long_run else 1):
            time.sleep(4)
            box.strike(f"{what} cut off")
            net.cut(what)
            # As long as TCP's own patience would outlast: it tries again ever more rarely.
            time.sleep(30 if long_run or what == "database" else 12)
            if what == "redis":
                assert crowd.submit(tries=False).answered_s < 5  # needs no Redis
            net.mend(what)
            box.strike(f"{what} back")
            began = time.monotonic()
            life = crowd.submit()
            box.wait(lambda life=life: read(box, life), "its reading", 60)
            backs.append(round(time.monotonic() - began, 1))
    finally:
        over.set()
        client.join(180)
    assert not client.is_alive()
    box.heal()
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading", 120)
    print(
        f"{what} cut: {len(lives)} cases, {crowd.retries.total()} retries, all well after {backs} s"
    )
    assert crowd.refusals == []
    truth.nothing_lost(box, crowd, lives)
    truth.one_holder(box, lives)
    truth.no_effect_twice(box, lives)
    truth.holds(box)
    assert max(backs) <= BACK_S


def test_a_pool_cut_off_loses_its_lease_and_its_late_word(box: Box, crowd: Crowd, net: Network):
    """It holds a film when its way to the record goes; another reads the film, once to effect."""
    life = crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:])
    holder = box.wait(lambda: owner(box, life), "a worker at the film")
    while psutil.Process(holder).ppid() != box.pid("classify"):  # the other pool was quicker
        box.wait(lambda life=life: read(box, life), "its reading", 60)
        life = crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:])
        holder = box.wait(lambda life=life: owner(box, life), "a worker at the film")
    box.strike("classify cut off")
    net.cut("classify")
    began = time.monotonic()
    try:
        box.wait(lambda: read(box, life), "the rescue", 60)
        rescued_s = time.monotonic() - began
        time.sleep(pool.SLOW_S)  # it has read the film by now, and wants to say so
    finally:
        net.mend("classify")
    time.sleep(pool.SLOW_S)
    with box.record.read() as session:
        row = session.query(Reading).filter_by(case_id=UUID(life.case_id), kind="classify").one()
    print(f"a pool cut off: its film read elsewhere after {rescued_s:.1f} s, attempt {row.attempt}")
    assert row.attempt >= 2
    assert rescued_s <= 15
    crowd.offers(life)
    truth.no_effect_twice(box, [life])
    box.heal()
    truth.holds(box)


def owner(box: Box, life: Life) -> int | None:
    """The process that holds the classify reading of a case."""
    with box.record.read() as session:
        row = session.query(Reading).filter_by(case_id=UUID(life.case_id), kind="classify").one()
    return int(row.lease_owner.rsplit(":", 1)[1]) if row.lease_owner else None


def read(box: Box, life: Life) -> bool:
    """Whether both networks have spoken."""
    with box.record.read() as session:
        rows = session.query(Reading).filter_by(case_id=UUID(life.case_id)).all()
    return all(row.status is ReadingStatus.DONE for row in rows)

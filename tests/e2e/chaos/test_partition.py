"""Cut off without a word: database, Redis, one pool's way to the database, a crew, an ER.

Packets vanish in a real network namespace. Everybody must notice by time-outs of their own, go on
when the network is back, and never make a second winner meanwhile. PostgreSQL only.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter
from sqlalchemy import select

from broker.lifecycle import OfferStatus, ReadingStatus
from broker.tables import Case, Offer, Reading
from tests.conftest import FreshDatabase
from tests.e2e.chaos import pool, truth
from tests.e2e.chaos.box import Box, Far, box as running_box
from tests.e2e.chaos.crowd import POSITION, Crowd, Life
from tests.e2e.chaos.network import Network, NoNetwork, network
from tests.servers import PostgresServer, RedisServer
from web import supervised

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
            ways = [base.replace("@/", f"@{host}:{port}/") for host, port in (there, there_too)]
            redis_url = "redis://{}:{}/0".format(*net.path("redis", ("127.0.0.1", redis.port)))
            its_own = {"GOLDENTIME_DATABASE_URL": ways[1]}
            with running_box(
                url,
                tmp_path_factory.mktemp("far"),
                redis,
                postgres_server,
                lease_s=10 if long_run else 4,
                far=Far(ways[0], redis_url),
                environment=lambda part: its_own if part == "classify" else {},
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


def test_a_pool_cut_off_loses_its_lease_and_its_late_word(
    box: Box, crowd: Crowd, net: Network, long_run: bool
):
    """It holds a film when its way to the record goes; another reads the film, once to effect.

    Redis still hands it bells, which it must leave to the other.
    """
    lives, rescues = [], []
    for _ in range(5 if long_run else 1):
        life = held_by(box, crowd, "classify")
        box.strike("classify cut off")
        net.cut("classify")
        began = time.monotonic()
        try:
            box.wait(lambda life=life: read(box, life), "the rescue", 60)
            rescues.append(round(time.monotonic() - began, 1))
            time.sleep(pool.SLOW_S)  # it has read the film by now, and wants to say so
        finally:
            net.mend("classify")
        time.sleep(pool.SLOW_S)
        with box.record.read() as session:
            row = (
                session.query(Reading).filter_by(case_id=UUID(life.case_id), kind="classify").one()
            )
        assert row.attempt >= 2
        box.heal()
        lives.append(life)
    print(f"a pool cut off: its film read elsewhere after {rescues} s")
    assert max(rescues) <= 15
    for life in lives:
        crowd.offers(life)
    truth.no_effect_twice(box, lives)
    truth.holds(box)


def held_by(box: Box, crowd: Crowd, part: str) -> Life:
    """A case whose film a child of that pool, and not the other's, reads slowly just now."""
    while True:
        life = crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:])
        holder = box.wait(lambda life=life: owner(box, life), "a worker at the film")
        if psutil.Process(holder).ppid() == box.pid(part):
            return life
        box.wait(lambda life=life: read(box, life), "its reading", 60)


class Afar:
    """A client beyond the network: one path to the gateway, one connection kept open."""

    def __init__(self, box: Box, net: Network, name: str, token: str) -> None:
        gateway = ("127.0.0.1", supervised.port_of(box.settings.public_url))
        self._url = "http://{}:{}/api/v1".format(*net.path(name, gateway))
        self._session = requests.Session()
        self._session.mount("http://", _From(net.callers[name]))
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["Host"] = box.settings.public_url.removeprefix("http://")

    def call(self, method: str, path: str, timeout_s: float = 15, **more: Any) -> requests.Response:
        return self._session.request(method, self._url + path, timeout=timeout_s, **more)


class _From(HTTPAdapter):
    """Calls from one address of ours."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **more)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("cut", ["answers vanish", "all vanishes"])
def test_a_crew_cut_off_while_it_submits(box: Box, crowd: Crowd, net: Network, cut: str):
    """It cannot know whether the case is stored; the same key tells, and makes no second case."""
    name = f"crew, {cut}"
    crew = Afar(box, net, name, box.people.tokens.crew)
    # A film needs the receipt of its first bytes to go on; a case without one fits into a packet.
    film = None if cut == "answers vanish" else crowd.film()
    life = Life(f"afar-{uuid4()}", hashlib.sha256(film or b"").hexdigest())
    case = {"position": POSITION}
    body: dict[str, Any] = (
        {"files": {"image": ("f.png", film), "case": (None, json.dumps(case))}}
        if film
        else {"json": case}
    )

    def submit(timeout_s: float) -> requests.Response:
        key = {"Idempotency-Key": life.key}
        return crew.call("POST", "/cases", timeout_s, headers=key, **body)

    assert crew.call("GET", "/cases").ok  # the connection stands
    box.strike(cut)
    (net.deafen if cut == "answers vanish" else net.cut)(name)
    try:
        with pytest.raises(requests.RequestException):
            submit(timeout_s=6)
        stored = of_key(box, life.key)
    finally:
        net.mend(name)
    assert bool(stored) == (cut == "answers vanish")
    answer = submit(timeout_s=30)
    assert answer.status_code == 201, answer.text
    life.receipt = answer.json()
    life.case_id = life.receipt["case_id"]
    assert [str(found) for found in of_key(box, life.key)] == [life.case_id]
    crowd.offers(life)
    if film:
        truth.nothing_lost(box, crowd, [life])
    assert crowd.again(life) == life.receipt
    truth.no_effect_twice(box, [life], readings=2 if film else 0)
    truth.holds(box)


@pytest.mark.parametrize("cut", ["answers vanish", "all vanishes"])
def test_an_er_cut_off_while_it_accepts(box: Box, crowd: Crowd, net: Network, cut: str):
    """Heard, it holds the case though it does not know; unheard, it said neither yes nor no."""
    life = crowd.submit()
    afar, near, *_ = crowd.offers(life)
    tokens = box.people.tokens.emergency_rooms
    name = f"ER, {cut}"
    room = Afar(box, net, name, tokens[afar["emergency_room"]["id"]])

    def accept(timeout_s: float) -> requests.Response:
        path = f"/offers/{afar['id']}/decision"
        return room.call("POST", path, timeout_s, json={"decision": "accept"})

    assert room.call("GET", "/offers").ok
    box.strike(cut)
    (net.deafen if cut == "answers vanish" else net.cut)(name)
    try:
        with pytest.raises(requests.RequestException):
            accept(timeout_s=6)
        assert status(box, afar["id"]) is (
            OfferStatus.ACCEPTED if cut == "answers vanish" else OfferStatus.REQUESTED
        )
        other = requests.post(
            f"{box.settings.public_url}/api/v1/offers/{near['id']}/decision",
            headers={"Authorization": f"Bearer {tokens[near['emergency_room']['id']]}"},
            json={"decision": "accept"},
            timeout=15,
        )
    finally:
        net.mend(name)
    mine = accept(timeout_s=30)
    heard = cut == "answers vanish"
    winner, loser = (mine, other) if heard else (other, mine)
    assert winner.status_code == 200, winner.text
    assert (loser.status_code, loser.json()["code"]) == (409, "already_taken")
    life.winners = [(afar if heard else near)["id"]]
    truth.one_holder(box, [life])
    box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
    truth.holds(box)


def of_key(box: Box, key: str) -> list[UUID]:
    """Cases that a key has made."""
    with box.record.read() as session:
        return list(session.scalars(select(Case.id).where(Case.idempotency_key == key)))


def status(box: Box, offer_id: str) -> OfferStatus:
    with box.record.read() as session:
        return session.get_one(Offer, UUID(offer_id)).status


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

"""The machine's clock is turned: two hours forward, then two hours back, while cases are under way.

A preloaded library turns it for every process of ours; PostgreSQL keeps the true time, as it does
on a machine of its own. Monotonic clocks run on, as they do when an operator or NTP sets the time.
On SQLite the database's clock is the machine's, so that nothing could be shown there.
"""

from __future__ import annotations

import email.utils
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import requests
from sqlalchemy import func, select

from broker import heartbeat
from broker.lifecycle import OfferStatus
from broker.tables import Case, Offer, Reading
from tests.conftest import FreshDatabase
from tests.e2e.chaos import pool, truth
from tests.e2e.chaos.box import DOORS, POOLS, Box, box as running_box
from tests.e2e.chaos.crowd import Crowd
from tests.servers import PostgresServer, RedisServer

pytestmark = pytest.mark.timeout(3600)
PARTS = (*POOLS, "relay", "upkeep", *DOORS)


class Clock:
    """The time of day that our processes believe: a library of 30 lines, and a file it reads."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "offset"
        self._file.write_bytes(bytes(8))
        self._library = folder / "turned_clock.so"
        source = Path(__file__).with_name("turned_clock.c")
        build = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self._library, source]
        subprocess.run(build, check=True, capture_output=True)

    def turn(self, hours: int) -> None:
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("=q", hours * 3600))

    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "TURNED_CLOCK": str(self._file)}


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Clock:
    if sys.platform != "linux" or shutil.which("cc") is None:
        pytest.skip("the clock is turned by a C library on Linux (Debian: apt-get install gcc)")
    return Clock(tmp_path_factory.mktemp("clock"))


@pytest.fixture(scope="module")
def box(
    clock: Clock,
    fresh_database: FreshDatabase,
    postgres_server: object,
    server_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Box]:
    """An installation whose processes all live by that clock."""
    assert isinstance(postgres_server, PostgresServer)
    folder = server_folder / "redis-clock"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    environment = clock.environment()
    try:
        with (
            fresh_database("postgresql") as url,
            running_box(
                url,
                tmp_path_factory.mktemp("clocks"),
                redis,
                postgres_server,
                lease_s=4,
                environment=lambda _part: environment,
            ) as running,
        ):
            yield running
    finally:
        clock.turn(0)
        redis.stop()


def test_a_turned_clock_expires_nothing_and_hangs_nothing(
    box: Box, crowd: Crowd, clock: Clock, long_run: bool
):
    pids = {part: box.pid(part) for part in PARTS}
    waits = []
    for hours in (2, -2, 0) * (10 if long_run else 1):
        # Under way when the time jumps: one film being read, one case that is offered.
        slow = crowd.submit(pool.film(pool.Film.SLOW) + crowd.film()[-12:])
        offered = crowd.submit()
        before = crowd.offers(offered)
        box.strike(f"clock at {hours:+d} h")
        clock.turn(hours)
        assert believed(box) == hours
        lives = crowd.live(4)
        waits += [life.offered_s for life in lives]
        box.wait(lambda: truth.unfinished_readings(box) == 0, "the end of every reading")
        crowd.offers(slow)
        time.sleep(heartbeat.STALE_S / 4)  # upkeep looks at all of them, again and again
        assert [o["id"] for o in crowd.offers(offered)] == [o["id"] for o in before]  # no new round
        truth.one_holder(box, lives)
        truth.no_effect_twice(box, [*lives, slow, offered])
        truth.holds(box)
        with box.record.read() as session:
            early = session.scalars(select(Offer.id).where(Offer.status == OfferStatus.EXPIRED))
            again = session.scalar(select(func.max(Reading.attempt)))
            stamps = session.scalars(
                select(Case.received_at).where(Case.id.in_([UUID(x.case_id) for x in lives]))
            ).all()
            assert early.all() == []
        assert again == 1
        assert all(abs(stamp - datetime.now(UTC)) < timedelta(minutes=5) for stamp in stamps)
    print(f"clock +2 h, -2 h, back: offers after {[round(s, 1) for s in sorted(waits)]} s")
    assert crowd.refusals == []
    assert {part: box.pid(part) for part in PARTS} == pids  # and nobody was taken for frozen


def believed(box: Box) -> int:
    """The hours that the gateway's clock is off, by the Date that it answers with."""
    date = requests.get(f"{box.settings.public_url}/healthz", timeout=10).headers["Date"]
    off = email.utils.parsedate_to_datetime(date) - datetime.now(UTC)
    return round(off.total_seconds() / 3600)

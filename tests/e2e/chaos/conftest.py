"""One box per database for all scenarios, and the seed that chance grows from."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.chaos.box import Box, box as running_box
from tests.e2e.chaos.crowd import Crowd
from tests.e2e.chaos.inspector import Inspector
from tests.servers import PostgresServer, RedisServer


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed given by --seed, else a new one; a scenario prints it."""
    given = request.config.getoption("--seed")
    return random.randrange(10**6) if given is None else int(given)


@pytest.fixture(scope="module")
def box(
    module_database_url: str,
    server_folder: Path,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    long_run: bool,
) -> Iterator[Box]:
    """A running installation with a Redis of its own."""
    postgres = None
    if module_database_url.startswith("postgresql"):
        postgres = request.getfixturevalue("postgres_server")
        assert isinstance(postgres, PostgresServer)
    redis = RedisServer(Path(tempfile.mkdtemp(prefix="redis-", dir=server_folder)))
    redis.start()
    try:
        with running_box(
            module_database_url,
            tmp_path_factory.mktemp("box"),
            redis,
            postgres,
            lease_s=10 if long_run else 4,
        ) as running:
            yield running
    finally:
        redis.stop()


@pytest.fixture(autouse=True)
def inspector(request: pytest.FixtureRequest) -> Iterator[Inspector | None]:
    """Every scenario of a box is looked at every second."""
    if "box" not in request.fixturenames:
        yield None
        return
    box: Box = request.getfixturevalue("box")
    box.struck.clear()
    with Inspector(box) as looking:
        yield looking


@pytest.fixture
def crowd(box: Box) -> Crowd:
    """New clients for one scenario."""
    return Crowd(box)

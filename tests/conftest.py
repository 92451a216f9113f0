"""Fixtures that every ring shares: real servers, fresh databases, the radiographs.

A missing server is a skip with a reason on a laptop and a failure when CI=true.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

# First of all: nothing that is set in somebody's shell may reach the code under test. The folder of
# radiographs is an argument of the tests themselves.
for _name in [n for n in os.environ if n.startswith("GOLDENTIME_") and n != "GOLDENTIME_CXR"]:
    del os.environ[_name]

HERE = Path(__file__).parent
RINGS = ("unit", "integration", "migration", "e2e", "training")
BACKENDS = ("sqlite", "postgresql")
IDENTITY_KEYS = ("dGhlIHRlc3RzJyBvd24ga2V5LCAzMiBieXRlcyBsb24=",)
"""A Fernet key that everybody may know."""

FreshDatabase = Callable[[str], AbstractContextManager[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long", action="store_true", help="use the full numbers of `make long` (hours)"
    )
    parser.addoption("--seed", type=int, help="replay the chance of a chaos test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test's ring is the folder that it lies in."""
    for item in items:
        ring = item.path.relative_to(HERE).parts[0]
        if ring in RINGS:
            item.add_marker(getattr(pytest.mark, ring))


@pytest.fixture(scope="session")
def long_run(request: pytest.FixtureRequest) -> bool:
    """Whether `make long` asks for the full numbers."""
    return bool(request.config.getoption("--long"))


@pytest.fixture(scope="session")
def first_port() -> int:
    """From where an installation looks for ports: test processes side by side look apart."""
    return 8400 + 400 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="session")
def cxr() -> Path:
    """The folder of real radiographs; they are not part of the project."""
    folder = os.environ.get("GOLDENTIME_CXR")
    if not folder:
        pytest.skip("GOLDENTIME_CXR is not set: it names the folder of radiographs")
    if not Path(folder, "labels.csv").is_file():
        pytest.fail(f"GOLDENTIME_CXR={folder} holds no labels.csv")
    return Path(folder)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """A short path, since that of a Unix socket may have 107 bytes; postgres must reach it."""
    folder = Path(tempfile.mkdtemp(prefix="gt-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[object]:
    """A running Redis (servers.RedisServer) for the whole session; tests use `redis_url`."""
    from tests.servers import RedisServer

    folder = server_folder / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    with _started(server):
        yield server


@pytest.fixture
def redis_url(redis_server: object) -> str:
    """Address of an empty Redis."""
    from tests.servers import RedisServer

    assert isinstance(redis_server, RedisServer)
    redis_server.flush()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server(server_folder: Path) -> Iterator[object]:
    """A running PostgreSQL (servers.PostgresServer) for the whole session."""
    from tests.servers import PostgresServer

    folder = server_folder / "pg"
    folder.mkdir(mode=0o700)
    server = PostgresServer(folder)
    with _started(server):
        yield server


@pytest.fixture(scope="session")
def fresh_database(request: pytest.FixtureRequest, server_folder: Path) -> Iterator[FreshDatabase]:
    """Call with "sqlite" or "postgresql": a context manager that yields a migrated database's URL.

    Migrations run once per backend; every database is a copy of that one.
    """
    from broker import migrate
    from broker.settings import Settings
    from tests.servers import PostgresServer

    templates: dict[str, str] = {}

    @contextmanager
    def make(backend: str) -> Iterator[str]:
        name = f"gt_{uuid.uuid4().hex[:12]}"
        if backend == "sqlite":
            template = server_folder / "template.sqlite3"
            if backend not in templates:
                migrate.upgrade(Settings(database_url=f"sqlite:///{template}"))
                templates[backend] = template.name
            folder = server_folder / name
            folder.mkdir()
            shutil.copy(template, folder / "goldentime.sqlite3")
            try:
                yield f"sqlite:///{folder / 'goldentime.sqlite3'}"
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return
        server = request.getfixturevalue("postgres_server")
        assert isinstance(server, PostgresServer)
        if backend not in templates:
            server.execute('DROP DATABASE IF EXISTS "gt_template"')
            server.execute('CREATE DATABASE "gt_template" TEMPLATE template0')
            migrate.upgrade(Settings(database_url=server.url("gt_template")))
            templates[backend] = "gt_template"
        with server.database(name, template=templates[backend]) as url:
            yield url

    return make


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, fresh_database: FreshDatabase) -> Iterator[str]:
    """A fresh, migrated database for one test, once on each backend."""
    with fresh_database(request.param) as url:
        yield url


@pytest.fixture(scope="module", params=BACKENDS)
def module_database_url(
    request: pytest.FixtureRequest, fresh_database: FreshDatabase
) -> Iterator[str]:
    """A fresh, migrated database for all tests of a module, once on each backend."""
    with fresh_database(request.param) as url:
        yield url


@contextmanager
def _started(server: object) -> Iterator[None]:
    """Start a server, or skip on a laptop and fail in CI when the machine has none."""
    from tests.servers import NoServer, PostgresServer, RedisServer

    assert isinstance(server, (PostgresServer, RedisServer))
    try:
        server.start()
    except NoServer as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        yield
    finally:
        server.stop()

"""One installation and one browser for every test of screens; `--screens FOLDER` keeps pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from broker.settings import Settings
from tests.conftest import FreshDatabase
from tests.e2e.conftest import Installation
from tests.e2e.screens.rig import PATIENCE_MS, Screens
from web import cli, supervised


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screens", type=Path, help="folder for pictures of every screen")


@pytest.fixture(scope="session")
def pictures(request: pytest.FixtureRequest) -> Path | None:
    """Where pictures are kept, or None."""
    folder: Path | None = request.config.getoption("--screens", None)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="package")
def installation(
    fresh_database: FreshDatabase, first_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Every process of an installation on SQLite: a browser sees no database."""
    with fresh_database("sqlite") as url:
        settings = supervised.settle(
            Settings(
                data_dir=tmp_path_factory.mktemp("gt"),
                database_url=url,
                min_free_bytes=1,
                reading_deadline_s=20,
            ),
            first_port=first_port,
        )
        with supervised.running(settings) as supervisor:
            yield Installation(settings, supervisor, cli.prepare(settings), [])


@pytest.fixture
def screens(installation: Installation, browser: Browser) -> Iterator[Screens]:
    """Pages of anybody; a page that broke a rule fails the test at its end."""
    expect.set_options(timeout=PATIENCE_MS)
    found = Screens(installation, browser)
    yield found
    found.close()

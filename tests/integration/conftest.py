"""What every integration test has: settings, the record, and a small city."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.record import Record
from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from tests.integration.city import City
from tests.integration.emptying import empty_tables


@pytest.fixture
def settings(module_database_url: str, server_folder: Path, tmp_path: Path) -> Settings:
    """Settings on an empty database; the shipped deadlines, no Redis."""
    return Settings(
        data_dir=Path(str(server_folder)) / tmp_path.name[-40:],
        database_url=module_database_url,
        redis_url="redis://127.0.0.1:1/0",
        node="test",
        identity_keys=IDENTITY_KEYS,
        duplicate_window_min=0,  # these cases are alike; what tests the guard sets it
    )


@pytest.fixture
def record(settings: Settings) -> Iterator[Record]:
    """This process's record."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    record = Record(settings)
    with record.write() as session:
        empty_tables(session)
    yield record
    record.close()


@pytest.fixture
def city(record: Record) -> City:
    """One ambulance and ten ERs at growing distance."""
    return City.found(record)

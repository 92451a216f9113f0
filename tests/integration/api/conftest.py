"""A gateway over each database, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from tests.integration.api.doors import House
from web import auth

SHIPPED = auth.hasher
SECRET = "a secret of the tests that is long enough"


@pytest.fixture(scope="session")
def shipped_hasher() -> PasswordHasher:
    """The hasher as it is without tests."""
    return SHIPPED


@pytest.fixture(autouse=True, scope="session")
def quick_passwords() -> Iterator[None]:
    """argon2 at its lowest price, or sign-ins would be most of these tests' time."""
    with pytest.MonkeyPatch.context() as patch:
        cheap = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr(auth, "hasher", cheap)
        yield


@pytest.fixture(scope="module")
def gateway_settings(
    module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Settings of a gateway without Redis: the HTTP path must not miss it."""
    folder: Path = tmp_path_factory.mktemp("gateway")
    return Settings(
        data_dir=folder,
        database_url=module_database_url,
        redis_url="redis://127.0.0.1:1/0",
        secret_key=SECRET,
        identity_keys=IDENTITY_KEYS,
        cookie_secure=False,
        node="test",
    )


@pytest.fixture(scope="module")
def house(gateway_settings: Settings) -> Iterator[House]:
    """The city; tests make their own cases in it."""
    house = House(gateway_settings)
    yield house
    house.close()

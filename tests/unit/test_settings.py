"""What stands in the environment, and what a line without a value means."""

from __future__ import annotations

import dataclasses

import pytest

from broker.settings import PREFIX, Settings, from_env

SHIPPED = Settings()
NAMES = [field.name for field in dataclasses.fields(Settings)]


@pytest.mark.parametrize("name", NAMES)
def test_a_line_without_a_value_says_nothing_or_none(name: str) -> None:
    """Compose hands a name on that stands in .env with nothing behind it."""
    chosen = getattr(from_env({PREFIX + name.upper(): ""}), name)
    shipped = getattr(SHIPPED, name)
    nothing = "" if isinstance(shipped, str) or shipped is None else ()
    assert chosen in (shipped, nothing)

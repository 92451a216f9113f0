"""How an installation on one machine settles on its ports."""

from __future__ import annotations

import socket
from pathlib import Path

from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from web import supervised


def test_parts_never_share_a_port(tmp_path: Path) -> None:
    """The first port is busy: everybody moves on, and nobody moves onto another."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        settled = supervised.settle(Settings(data_dir=tmp_path), port)
    urls = (settled.public_url, settled.stream_url, settled.redis_url)
    ports = {supervised.port_of(url) for url in urls}
    assert len(ports) == 3
    assert port not in ports


def test_it_makes_its_own_identity_key_once_for_its_owner_only(tmp_path: Path) -> None:
    first, again = (supervised.settle(Settings(data_dir=tmp_path), 8900) for _ in range(2))
    assert first.identity_keys == again.identity_keys
    assert len(first.identity_keys[0]) == 44
    assert (tmp_path / "identity_key").stat().st_mode & 0o777 == 0o600
    given = Settings(data_dir=tmp_path, identity_keys=IDENTITY_KEYS)
    assert supervised.settle(given, 8900).identity_keys == IDENTITY_KEYS

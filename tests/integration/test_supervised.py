"""How an installation on one machine settles on its ports."""

from __future__ import annotations

import socket
from pathlib import Path

from broker.settings import Settings
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

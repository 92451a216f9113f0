"""An installation on one machine: how it settles on ports, what it says when it cannot start."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from broker import migrate
from broker.settings import Settings
from tests.conftest import IDENTITY_KEYS
from web import supervised
from web.last_words import last_words


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


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (
            'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n'
            "broker.errors.BadSetting: GOLDENTIME_IDENTITY_KEYS must name a key\n"
            "2026-11-29 INFO exited: relay (exit status 1; not expected)\n",
            "broker.errors.BadSetting: GOLDENTIME_IDENTITY_KEYS must name a key",
        ),
        (
            '{"event": "the audit is not sealed", "why": "no keys", "level": "error"}\n'
            '{"event": "upkeep is listening", "level": "info"}\n',
            "the audit is not sealed: no keys",
        ),
        (
            '{"event": "it broke", "level": "error", "exception": "Traceback\\nOSError: full"}\n',
            "it broke: OSError: full",
        ),
        (
            "[INFO] Starting\n[ERROR] Can't connect to fd://3\n[INFO] Bye\n",
            "[ERROR] Can't connect to fd://3",
        ),
        (
            "1:M # Fatal error, can't open config file\n",
            "1:M # Fatal error, can't open config file",
        ),
        ("first\nlast\n\n", None),
        ("", None),
    ],
)
def test_the_last_error_of_a_log_is_told(tmp_path: Path, written: str, told: str | None) -> None:
    log = tmp_path / "part.log"
    older = "ValueError: of another start\n"
    log.write_text(older + written)
    lines = [line for line in written.splitlines() if line]
    assert last_words(log, len(older)) == (told, lines[-1] if lines else None)
    assert last_words(tmp_path / "none.log") == (None, None)


def test_a_part_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real supervisord over one program that ends at once."""
    program = "import sys; sys.exit('no such weights: /models/none.onnx')"
    part = supervised.Part("relay", (sys.executable, "-c", program))
    monkeypatch.setattr(supervised, "parts", lambda _: [part])
    settings = supervised.settle(Settings(data_dir=tmp_path), 8900)
    migrate.upgrade(settings)
    supervisor = supervised.Supervisor(settings)

    def check() -> str:
        if any(log.stat().st_size for log in supervisor.logs.glob("relay*.log")):
            monkeypatch.setattr(supervised, "START_S", 0.0)  # it has said why: no need to wait
        return "no process has given a sign of life"

    monkeypatch.setattr(supervisor, "_checks", lambda: {"relay": check})
    supervisor.start()
    try:
        with pytest.raises(supervised.DidNotStart, match=r"no such weights: /models/none\.onnx"):
            supervisor.wait_until_ready(lambda _name, _s: None)
    finally:
        supervisor.stop()

"""A whole installation of real processes, started as the demo starts it, on each database."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from broker.settings import Settings
from web import cli, demo, supervised
from web.cli import Prepared
from web.supervised import Supervisor

CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the Python client brings none of its own and runs once in a process."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=path, args=CHROMIUM)
        yield chromium
        chromium.close()


@dataclass
class Installation:
    """Running processes and the demo city's people."""

    settings: Settings
    supervisor: Supervisor
    people: Prepared
    lines: list[str]

    def play(self, film: Path, **more: Any) -> dict[str, Any]:
        """Play the case that users see, with a film of one's own."""
        return demo.play(
            self.settings.public_url,
            self.settings.stream_url,
            self.people.tokens,
            film,
            lambda seconds, text: self.lines.append(f"{seconds:.2f} {text}"),
            **more,
        )

    def crew(self) -> demo.Client:
        """The originating ambulance's device."""
        return demo.Client(
            self.settings.public_url, self.settings.stream_url, self.people.tokens.crew
        )


@pytest.fixture(scope="module")
def installation(
    module_database_url: str, first_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Every process of an installation, stopped at the end of the module."""
    settings = supervised.settle(
        Settings(
            data_dir=tmp_path_factory.mktemp("gt"),
            database_url=module_database_url,
            min_free_bytes=1,
        ),
        first_port=first_port,
    )
    with supervised.running(settings) as supervisor:
        yield Installation(settings, supervisor, cli.prepare(settings), [])

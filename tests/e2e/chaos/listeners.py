"""People who listen to the stream while it breaks: each notes what came, in which order, and when.

A listener goes on where it was by Last-Event-ID, as a browser does; some hang up on purpose.
"""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import datetime

import requests

from tests.e2e.chaos.box import Box


class Listener(threading.Thread):
    """One audience's events, from a number on, until `over`."""

    def __init__(self, box: Box, token: str, after: int, chance: random.Random) -> None:
        super().__init__(daemon=True)
        self._url = f"{box.settings.stream_url}/api/v1/events"
        self._token = token
        self._chance = chance
        self.over = threading.Event()
        self.hangs_up = False
        """After a second to five, again and again."""
        self.heard: list[tuple[int, float, float]] = []
        """Number, moment of the event by the record, seconds until it came."""
        self.first = self.last = after
        self.connections = 0

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._listen()
            except requests.RequestException:
                time.sleep(0.2)

    def _listen(self) -> None:
        self.connections += 1
        headers = {"Authorization": f"Bearer {self._token}", "Last-Event-ID": str(self.last)}
        with requests.get(self._url, headers=headers, stream=True, timeout=(5, 12)) as answer:
            answer.raise_for_status()
            until = time.monotonic() + self._chance.uniform(1, 5)
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    self._note(json.loads(line[6:]))
                if self.over.is_set() or (self.hangs_up and time.monotonic() > until):
                    return

    def _note(self, data: dict[str, str]) -> None:
        if "type" not in data:
            return  # hello and heartbeat
        at = datetime.fromisoformat(data["created_at"]).timestamp()
        self.last = int(data["seq"])
        self.heard.append((self.last, at, time.time() - at))

"""The one who breaks things: at random times, at random places, from a seed that is printed."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType

import psutil

from tests.e2e.chaos.box import DOORS, POOLS, Box

Blow = tuple[str, Callable[[], None]]


class Nemesis(threading.Thread):
    """Strikes every `every_s` seconds inside a `with`; the same seed strikes the same order."""

    def __init__(
        self, box: Box, seed: int, blows: Sequence[Blow], every_s: tuple[float, float]
    ) -> None:
        super().__init__(daemon=True)
        self._box = box
        self._chance = random.Random(seed)
        self._blows = blows
        self._every_s = every_s
        self._over = threading.Event()
        print(f"nemesis: seed {seed} (replay with --seed {seed})")

    def run(self) -> None:
        while not self._over.wait(self._chance.uniform(*self._every_s)):
            name, blow = self._chance.choice(self._blows)
            self._box.strike(name)
            blow()

    def __enter__(self) -> Nemesis:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self.join(30)
        struck = [name for _, name in self._box.struck]
        print(f"nemesis: struck {len(struck)} times: {struck}")


def restart_redis(box: Box) -> None:
    """kill -9, and up again."""
    box.redis.kill()
    box.redis.start()


def kills(box: Box) -> list[Blow]:
    """SIGKILL for every kind of process, parents, children and readers, and for Redis."""
    parts = [*POOLS, "relay", "upkeep", *DOORS]

    def child(part: str) -> None:
        for process in box.children(part)[:1]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def reader(part: str) -> None:
        for process in box.children(part)[:1]:
            with suppress(psutil.NoSuchProcess):
                for grandchild in process.children():
                    grandchild.send_signal(signal.SIGKILL)

    return [
        *((part, lambda part=part: box.kill(part)) for part in parts),  # type: ignore[misc]
        *(
            (f"child of {part}", lambda part=part: child(part))  # type: ignore[misc]
            for part in ("classify", "detect", "dispatch", "gateway1")
        ),
        *(
            (f"reader of {part}", lambda part=part: reader(part))  # type: ignore[misc]
            for part in ("classify", "detect")
        ),
        ("redis", lambda: restart_redis(box)),
    ]

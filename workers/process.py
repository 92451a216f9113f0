"""What one worker process holds: settings, record, image store.

A pool makes them, and each child that it forks takes them over with all that was learnt by then:
SQL once compiled, settings once asked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from broker import settings as settings_
from broker.imagestore import ImageStore
from broker.record import Record
from broker.settings import Settings
from broker.tuning import Tuned


@dataclass(frozen=True)
class Process:
    """A worker's things."""

    tuned: Tuned
    record: Record
    store: ImageStore

    @property
    def owner(self) -> str:
        """This process's name in leases."""
        return f"{self.settings.node}:{os.getpid()}"

    @property
    def settings(self) -> Settings:
        """Those in force at the last look; a task looks when it begins."""
        return self.tuned.settings


@cache
def process() -> Process:
    """This worker's things, made once."""
    settings = settings_.from_env()
    record = Record(settings)
    return Process(Tuned(record), record, ImageStore(settings))

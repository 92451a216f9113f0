"""What one worker child holds: settings, record, image store. Made on first use, after the fork."""

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
    """The child's own things."""

    tuned: Tuned
    record: Record
    store: ImageStore
    owner: str
    """Name in leases."""

    @property
    def settings(self) -> Settings:
        """Those in force at the last look; a task looks when it begins."""
        return self.tuned.settings


@cache
def process() -> Process:
    """This child's things, made once."""
    settings = settings_.from_env()
    record = Record(settings)
    return Process(Tuned(record), record, ImageStore(settings), f"{settings.node}:{os.getpid()}")

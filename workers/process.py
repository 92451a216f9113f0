"""What one worker child holds: settings, record, image store. Made on first use, after the fork."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache

from broker import settings as settings_
from broker.imagestore import ImageStore
from broker.record import Record
from broker.settings import Settings


@dataclass(frozen=True)
class Process:
    """The child's own things."""

    settings: Settings
    record: Record
    store: ImageStore
    owner: str
    """Name in leases."""


@cache
def process() -> Process:
    """This child's things, made once."""
    settings = settings_.from_env()
    return Process(
        settings, Record(settings), ImageStore(settings), f"{settings.node}:{os.getpid()}"
    )

"""What one web process holds: settings, record, film stores; reached from the current app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from broker.imagestore import ImageStore
from broker.partials import Partials
from broker.record import Record
from broker.settings import Settings
from broker.tuning import Tuned

KEY = "goldentime"


@dataclass(frozen=True)
class State:
    """Made once per process, after the fork."""

    door: str
    """gateway or stream."""
    tuned: Tuned
    record: Record
    store: ImageStore
    partials: Partials

    @property
    def settings(self) -> Settings:
        """Those in force at the last look; every request looks first."""
        return self.tuned.settings


def make_state(settings: Settings, door: str) -> State:
    """Open the record and the image store."""
    record = Record(settings)
    return State(door, Tuned(record), record, ImageStore(settings), Partials(settings))


def here() -> State:
    """The state of the app that handles this request."""
    return cast(State, current_app.extensions[KEY])

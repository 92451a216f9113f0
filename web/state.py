"""What one web process holds: settings, record, film stores; reached from the current app."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from flask import current_app

from broker.imagestore import ImageStore
from broker.partials import Partials
from broker.record import Record
from broker.settings import Settings

KEY = "goldentime"


@dataclass(frozen=True)
class State:
    """Made once per process, after the fork."""

    settings: Settings
    record: Record
    store: ImageStore
    partials: Partials


def make_state(settings: Settings) -> State:
    """Open the record and the image store."""
    return State(settings, Record(settings), ImageStore(settings), Partials(settings))


def here() -> State:
    """The state of the app that handles this request."""
    return cast(State, current_app.extensions[KEY])

"""The worker app of the chaos tests: the project's own, with the two networks stood in for.

What is simulated, and nothing else: a film is opened as ever, then a stand-in answers after a
moment instead of a network, and a film with a certain first row of pixels brings its reader down.
Started as `celery -A tests.e2e.chaos.pool`; claims, leases, attempts and writes are the real ones.
"""

from __future__ import annotations

import os
import signal
import time
from enum import Enum
from functools import cache

import numpy as np

from dispatch.reading import Claim, Found
from models import xray
from workers import inference
from workers.app import app  # noqa: F401  # what celery -A looks for
from workers.inference import Outcome
from workers.process import process

LABELS = 14
READ_S = 0.05
SLOW_S = 4.0


class Film(tuple[int, ...], Enum):
    """First pixels of a film that is read otherwise than others."""

    KILLS = (201, 7, 91, 13)
    """Kills its reader each time that it is opened."""
    BREAKS = (202, 8, 92, 14)
    """Raises each time."""
    SLOW = (203, 9, 93, 15)
    """Takes SLOW_S at the first attempt, time enough to be caught in the act."""


@cache
def film(kind: Film) -> bytes:
    """A usable film with that first row, as a PNG; made once, for its making costs a core, too."""
    from web import cli

    pixels = np.array(xray.decode(cli.sample_film().read_bytes()).pixels)
    pixels[0, : len(kind.value)] = kind.value
    return xray.encode_png(pixels)


def read(claim: Claim) -> Outcome:
    """Open the film as the networks do; then do what its first pixels ask for."""
    pixels = xray.decode(process().store.get(claim.case_id, claim.rendition_sha256)).pixels
    first = tuple(int(value) for value in np.asarray(pixels).reshape(-1)[:4])
    if first == Film.KILLS.value:
        os.kill(os.getpid(), signal.SIGKILL)
    if first == Film.BREAKS.value:
        raise ValueError("the network answered NaN")
    time.sleep(SLOW_S if first == Film.SLOW.value and claim.attempt == 1 else READ_S)
    found = [Found(f"label {number}", 0.1, False) for number in range(LABELS)]
    return found, {"name": "stand-in", "version": "1", "sha256": "0" * 64}, {"run": READ_S}


inference.warm = lambda kind: None
inference.classify_film = read
inference.detect_film = read

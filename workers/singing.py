"""What a worker does with a canary: read the project's own sample film and write that it came back.

No case, no finding, no row but the canary's. A film that waits goes first: then it is the proof.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from importlib import resources

import numpy as np
from sqlalchemy import select

from broker import canary, logs
from broker.errors import DatabaseBusy
from broker.lifecycle import ReadingKind, ReadingStatus
from broker.queues import Queue
from broker.tables import Reading
from models import xray
from workers.process import Process, process
from workers.reader import as_logged


def sing(queue: Queue, sent_at: str, work: Callable[[], object]) -> None:
    """Do the work of a queue once, on nobody's film, and write how it went."""
    mine = process()
    error = None
    try:
        if not _somebody_waits(mine, queue):
            work()
    except DatabaseBusy:
        logs.logger().warning("the database is busy; no canary", action="canary.busy")
        return
    except Exception as fault:  # whatever is broken is the canary's news, not the worker's end
        told = as_logged(fault)
        logs.logger().error("a canary failed", action="canary.failed", queue=queue, **told)
        error = told["error"]
    mine.record.again(
        lambda s: canary.back(s, queue, datetime.fromisoformat(sent_at), mine.owner, error)
    )


def _somebody_waits(mine: Process, queue: Queue) -> bool:
    if queue is Queue.DISPATCH:
        return False
    with mine.record.read() as session:
        waiting = session.scalar(
            select(Reading.id)
            .where(
                Reading.kind == ReadingKind(queue.value), Reading.status == ReadingStatus.PENDING
            )
            .limit(1)
        )
    return waiting is not None


@cache
def sample() -> np.ndarray:
    """The pixels of a generated film that the project ships."""
    return xray.decode((resources.files("models") / "samples" / "normal.png").read_bytes()).pixels

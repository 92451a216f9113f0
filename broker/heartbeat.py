"""Signs of life of every long-running process, as rows; health checks read them.

A process that only looks alive stops beating, because the beat is made by its working loop.
"""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import case, delete, func, select
from sqlalchemy.orm import Session

from broker import database
from broker.record import Record
from broker.tables import Heartbeat

STALE_S = 20.0
"""A process silent for longer is taken for dead (RELIABILITY P3)."""
DOORS = frozenset({"gateway", "stream"})
"""Kinds that callers can silence by holding all their threads (web/pulse.py): seen, never ended."""


def beat(session: Session, name: str, kind: str, *, progress: bool = True) -> None:
    """Write this process's sign of life; `progress`: it has finished something since the last."""
    now = database.now(session)
    # Two processes of one name may start at the same moment: neither may fail.
    new = database.insert(session, Heartbeat).values(
        name=name,
        kind=kind,
        pid=os.getpid(),
        born_ticks=born_ticks(os.getpid()),
        started_at=now,
        beat_at=now,
        progress_at=now if progress else None,
    )
    session.execute(
        new.on_conflict_do_update(
            index_elements=[Heartbeat.name],
            set_={
                "started_at": case(
                    (Heartbeat.pid == new.excluded.pid, Heartbeat.started_at),
                    else_=new.excluded.started_at,
                ),
                **{
                    column: new.excluded[column]
                    for column in ("kind", "pid", "born_ticks", "beat_at")
                },
                "progress_at": func.coalesce(new.excluded.progress_at, Heartbeat.progress_at),
            },
        )
    )


class Regular:
    """The sign of life of a loop that is its process's only one of a kind on this machine."""

    def __init__(self, record: Record, kind: str) -> None:
        self._record = record
        self._kind = kind
        self._next = 0.0

    def beat(self) -> bool:
        """Beat if it is time, every sweep_s; call it as often as the loop turns. True when done."""
        if time.monotonic() < self._next:
            return False
        settings = self._record.settings
        with self._record.write() as session:
            beat(session, f"{self._kind}@{settings.node}", self._kind)
        self._next = time.monotonic() + settings.sweep_s
        return True


def born_ticks(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks after boot (Linux; proc(5), stat)."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(line.rpartition(b")")[2].split()[19])  # the name before it may hold anything


def alive(session: Session, kind: str) -> list[Heartbeat]:
    """Processes of a kind whose last beat is fresh."""
    since: datetime = database.now(session) - timedelta(seconds=STALE_S)
    return list(
        session.scalars(select(Heartbeat).where(Heartbeat.kind == kind, Heartbeat.beat_at >= since))
    )


def node_of(name: str) -> str:
    """The machine in a process's name, kind@node or kind@node:pid."""
    return name.partition("@")[2].partition(":")[0]


def forget(session: Session, name: str) -> None:
    """Remove the trace of a process that ends in order."""
    session.execute(delete(Heartbeat).where(Heartbeat.name == name))


def forget_old(session: Session) -> None:
    """Remove the traces of processes that ended an hour ago."""
    before = database.now(session) - timedelta(hours=1)
    session.execute(delete(Heartbeat).where(Heartbeat.beat_at < before))

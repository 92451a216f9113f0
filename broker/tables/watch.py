"""What operations watch and set: heartbeats, alarms, pauses, canaries, samples, settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Index,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from broker.lifecycle import (
    AlarmCode,
)
from broker.queues import Queue
from broker.tables.base import Base


class Heartbeat(Base):
    """The last sign of life of one process."""

    __tablename__ = "heartbeats"
    name: Mapped[str] = mapped_column(String(120), primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    pid: Mapped[int]
    born_ticks: Mapped[int | None] = mapped_column(BigInteger)
    """Start of the process in clock ticks after boot: a pid alone is given out again."""
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    progress_at: Mapped[datetime | None]
    """When it last finished something."""


class Alarm(Base):
    """Something wrong with a machine, from the moment it is noticed until it is over."""

    __tablename__ = "alarms"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    code: Mapped[AlarmCode]
    subject: Mapped[str] = mapped_column(String(120))
    """Which queue, process or machine."""
    details: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime]
    repeated_at: Mapped[datetime]
    repeats: Mapped[int] = mapped_column(default=0)
    """How often it was raised again because nobody took it."""
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[str | None] = mapped_column(String(120))
    closed_at: Mapped[datetime | None]
    closed_by: Mapped[str | None] = mapped_column(String(120))

    __table_args__ = (
        Index(
            "uq_alarms_one_open",
            "code",
            "subject",
            unique=True,
            sqlite_where=text("closed_at IS NULL"),
            postgresql_where=text("closed_at IS NULL"),
        ),
        Index("ix_alarms_opened_at", "opened_at"),
        CheckConstraint(
            "(acknowledged_at IS NULL) = (acknowledged_by IS NULL)", name="acknowledged"
        ),
        CheckConstraint("(closed_at IS NULL) = (closed_by IS NULL)", name="closed"),
    )


class QueuePause(Base):
    """A queue that somebody stopped for a while; it goes on by itself at resume_at."""

    __tablename__ = "queue_pauses"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    queue: Mapped[Queue]
    reason: Mapped[str] = mapped_column(String(200))
    paused_at: Mapped[datetime]
    paused_by: Mapped[str] = mapped_column(String(120))
    resume_at: Mapped[datetime]
    resumed_at: Mapped[datetime | None]
    resumed_by: Mapped[str | None] = mapped_column(String(120))

    __table_args__ = (
        Index(
            "uq_queue_pauses_one_open",
            "queue",
            unique=True,
            sqlite_where=text("resumed_at IS NULL"),
            postgresql_where=text("resumed_at IS NULL"),
        ),
        CheckConstraint("(resumed_at IS NULL) = (resumed_by IS NULL)", name="resumed"),
    )


class Canary(Base):
    """A reading of the project's own sample film, sent through a queue to see that it works.

    It belongs to no case and leaves no finding.
    """

    __tablename__ = "canaries"
    queue: Mapped[Queue] = mapped_column(primary_key=True)
    sent_at: Mapped[datetime] = mapped_column(primary_key=True)
    rung_at: Mapped[datetime | None]
    done_at: Mapped[datetime | None]
    owner: Mapped[str | None] = mapped_column(String(120))
    """The worker that sang."""
    error: Mapped[str | None] = mapped_column(String(200))


class Sample(Base):
    """The board's figures of one minute, or folded of one hour; the charts are drawn from them."""

    __tablename__ = "samples"
    span_s: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """60 or 3600; 300 and 1800 are folded beside the minutes for the longer charts."""
    at: Mapped[datetime] = mapped_column(primary_key=True)
    """When the span began."""
    figures: Mapped[dict[str, Any]]


class Distribution(Base):
    """A histogram since the installation began: how often something took how long."""

    __tablename__ = "distributions"
    metric: Mapped[str] = mapped_column(String(40), primary_key=True)
    stage: Mapped[str] = mapped_column(String(30), primary_key=True, default="")
    acuity: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=0)
    """1 to 5; 0 when none is known."""
    counts: Mapped[list[Any]]
    """One number per bucket of broker/stages.py, not added up."""
    total_s: Mapped[float] = mapped_column(default=0.0)


class RuntimeSetting(Base):
    """A setting that an administrator changed at run time; it wins over the environment."""

    __tablename__ = "runtime_settings"
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    value: Mapped[str] = mapped_column(String(60))
    version: Mapped[int] = mapped_column(default=1)
    changed_at: Mapped[datetime]
    changed_by: Mapped[str] = mapped_column(String(120))

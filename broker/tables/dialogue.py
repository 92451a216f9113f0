"""What is said about a case: directives, notifications, messages, instructions, outcome."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from broker.lifecycle import (
    Channel,
    DirectiveKind,
    MessageStatus,
    NotificationStatus,
    NotificationStep,
)
from broker.tables.base import Base


class Directive(Base):
    """The control room's word about one ER for one case."""

    __tablename__ = "directives"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    emergency_room_id: Mapped[UUID] = mapped_column(ForeignKey("emergency_rooms.id"))
    kind: Mapped[DirectiveKind]
    reason: Mapped[str] = mapped_column(String(500))
    given_by: Mapped[str] = mapped_column(String(120))
    given_at: Mapped[datetime]

    __table_args__ = (UniqueConstraint("case_id", "emergency_room_id"),)


class Notification(Base):
    """One try to reach an ER past its screen; attempt is the fencing token of who sends it."""

    __tablename__ = "notifications"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    offer_id: Mapped[UUID] = mapped_column(ForeignKey("offers.id"))
    step: Mapped[NotificationStep]
    channel: Mapped[Channel]
    status: Mapped[NotificationStatus]
    attempt: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    """When it may be sent (again)."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(200))

    __table_args__ = (
        UniqueConstraint("offer_id", "step", "channel"),
        Index("ix_notifications_status_due", "status", "due_at"),
        CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished"),
        CheckConstraint("attempt >= 0", name="attempt"),
    )


class Message(Base):
    """Words between crew, ER and control room of one case; one row per recipient."""

    __tablename__ = "messages"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    sender: Mapped[str] = mapped_column(String(60))
    """Audience name of the sender."""
    recipient: Mapped[str] = mapped_column(String(60))
    """Audience name of the recipient."""
    body: Mapped[str] = mapped_column(String(2000))
    status: Mapped[MessageStatus]
    sent_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    seen_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_messages_sent_at", "sent_at"),
        CheckConstraint(
            "status = 'sent' OR delivered_at IS NOT NULL OR seen_at IS NOT NULL", name="delivered"
        ),
        CheckConstraint("(status = 'seen') = (seen_at IS NOT NULL)", name="seen"),
    )


class Instructions(Base):
    """What the ER that holds a case asks of its crew before arrival; the latest row counts."""

    __tablename__ = "instructions"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    emergency_room_id: Mapped[UUID] = mapped_column(ForeignKey("emergency_rooms.id"))
    items: Mapped[list[Any]]
    """Values of dispatch/instructions.py's Item."""
    note: Mapped[str | None] = mapped_column(String(1000))
    given_at: Mapped[datetime]
    given_by: Mapped[str] = mapped_column(String(120))
    seen_at: Mapped[datetime | None]
    """When the crew said that it read them."""


class Outcome(Base):
    """What became of the patient, as the ER tells the crew; the latest row counts."""

    __tablename__ = "outcomes"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    emergency_room_id: Mapped[UUID] = mapped_column(ForeignKey("emergency_rooms.id"))
    diagnosis: Mapped[str] = mapped_column(String(500))
    disposition: Mapped[str] = mapped_column(String(30))
    """A value of dispatch/outcome.py's Disposition."""
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str] = mapped_column(String(120))

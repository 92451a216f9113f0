"""What happened: events by audience, in order, and the audit with its seals."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column

from broker.tables.base import Base


class AudienceSequence(Base):
    """The last number given to an audience; its row lock makes number order = commit order."""

    __tablename__ = "audience_sequences"
    audience: Mapped[str] = mapped_column(String(60), primary_key=True)
    seq: Mapped[int] = mapped_column(default=0)


class Event(Base):
    """One entry of an audience's gapless log."""

    __tablename__ = "events"
    audience: Mapped[str] = mapped_column(String(60), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"), index=True)
    type: Mapped[str] = mapped_column(String(40))
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class AuditEntry(Base):
    """Who did or saw what, when; only ever inserted, and the database refuses anything else."""

    __tablename__ = "audit_entries"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(120))
    action: Mapped[str] = mapped_column(String(60))
    case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"), index=True)
    patient_id: Mapped[UUID | None] = mapped_column(index=True)
    """Whose identity was shown or changed."""
    details: Mapped[dict[str, Any]]

    __table_args__ = (
        Index("ix_audit_entries_at", "at"),
        Index("ix_audit_entries_actor_at", "actor", "at"),
        Index("ix_audit_entries_action_at", "action", "at"),
    )


class AuditSeal(Base):
    """One link of the chain over the audit; only ever inserted, too (broker/seals.py)."""

    __tablename__ = "audit_seals"
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """From 1 on, without a gap."""
    entry_id: Mapped[UUID] = mapped_column(ForeignKey("audit_entries.id"), unique=True)
    latest_at: Mapped[datetime]
    """The latest `at` of all entries up to here."""
    sealed_at: Mapped[datetime]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 over this seal, its entry and the digest before it."""
    key_id: Mapped[str] = mapped_column(String(16))
    signature: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the digest under a key that the database does not hold."""

"""Whom a case is about: patients, their sealed identities, merges, suspected doubles."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from broker.lifecycle import (
    DuplicateReason,
    DuplicateResolution,
)
from broker.tables.base import Base


class Patient(Base):
    """A person who is brought; everything may be unknown but the temporary name."""

    __tablename__ = "patients"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    number: Mapped[int | None]
    """Says the temporary name (dispatch/temporary_names.py); given once, never again. NULL only
    where the version before wrote the row: `goldentime encrypt` gives it one."""
    root_id: Mapped[UUID | None]
    """The patient that this one was merged into, at the end of the chain; its own id otherwise."""
    version: Mapped[int] = mapped_column(default=1, server_default=text("1"))
    """Raised by every change; a change that names an older one is refused."""
    sex: Mapped[str | None] = mapped_column(String(10))
    estimated_age_years: Mapped[float | None]
    created_at: Mapped[datetime | None]
    updated_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    """When the identity was erased after its time."""
    plain_name: Mapped[str | None] = mapped_column("name", String(120))
    """Written by the version before only; `goldentime encrypt` moves it, the next version drops
    the column. The same holds for the two below."""
    plain_identifier: Mapped[str | None] = mapped_column("identifier", String(60))
    plain_phone: Mapped[str | None] = mapped_column("phone", String(40))

    __table_args__ = (
        Index("uq_patients_number", "number", unique=True),
        Index("ix_patients_root_id", "root_id"),
    )


class TemporaryName(Base):
    """Gives numbers that are never given again, also when a patient is gone."""

    __tablename__ = "temporary_names"
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    given_at: Mapped[datetime]

    __table_args__ = ({"sqlite_autoincrement": True},)


class PatientIdentity(Base):
    """Who a patient is, encrypted; only broker/keyring.py reads and writes it."""

    __tablename__ = "patient_identities"
    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patients.id"), primary_key=True)
    token: Mapped[str]
    """Name, birth date, identifier and telephone number, as far as they are known."""
    key_id: Mapped[str] = mapped_column(String(16), index=True)
    name_index: Mapped[str | None] = mapped_column(String(64), index=True)
    birth_date_index: Mapped[str | None] = mapped_column(String(64), index=True)
    identifier_index: Mapped[str | None] = mapped_column(String(64), index=True)


class PatientMerge(Base):
    """Somebody said that two patients are one; taken back when split_at is set."""

    __tablename__ = "patient_merges"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    surviving_id: Mapped[UUID] = mapped_column(ForeignKey("patients.id"), index=True)
    absorbed_id: Mapped[UUID] = mapped_column(ForeignKey("patients.id"))
    merged_at: Mapped[datetime]
    merged_by: Mapped[str] = mapped_column(String(120))
    split_at: Mapped[datetime | None]
    split_by: Mapped[str | None] = mapped_column(String(120))

    __table_args__ = (
        Index(
            "uq_patient_merges_in_force",
            "absorbed_id",
            unique=True,
            sqlite_where=text("split_at IS NULL"),
            postgresql_where=text("split_at IS NULL"),
        ),
        CheckConstraint("surviving_id <> absorbed_id", name="two_patients"),
        CheckConstraint("(split_at IS NULL) = (split_by IS NULL)", name="split"),
    )


class DuplicateSuspicion(Base):
    """Two live cases that may be one patient's, until somebody says."""

    __tablename__ = "duplicate_suspicions"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    """The later one."""
    other_case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    """The one that was there before."""
    reason: Mapped[DuplicateReason]
    raised_at: Mapped[datetime]
    same_said_at: Mapped[datetime | None]
    """When somebody first said "the same patient": both cases go on until one is called off."""
    same_said_by: Mapped[str | None] = mapped_column(String(120))
    """The audience that said so: a crew or the control room."""
    resolution: Mapped[DuplicateResolution | None]
    cancelled_case_id: Mapped[UUID | None] = mapped_column(ForeignKey("cases.id"))
    resolved_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None] = mapped_column(String(120))

    __table_args__ = (
        UniqueConstraint("case_id", "other_case_id"),
        CheckConstraint("case_id <> other_case_id", name="two_cases"),
        CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="resolved"),
        CheckConstraint(
            "(cancelled_case_id IS NOT NULL) = (resolution IS NOT NULL "
            "AND resolution = 'cancelled')",
            name="cancelled",
        ),
    )

"""Who takes part: ambulances, emergency rooms and their bed feed, accounts and devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from broker.lifecycle import (
    Role,
)
from broker.tables.base import Base


class Ambulance(Base):
    """A unit that brings patients."""

    __tablename__ = "ambulances"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    call_sign: Mapped[str] = mapped_column(String(40), unique=True)
    phone: Mapped[str | None] = mapped_column(String(40))
    active: Mapped[bool] = mapped_column(default=True, server_default=true())
    """False: its crews and devices may not sign in."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    """Raised by every change of an administrator, so that two do not undo each other."""


class EmergencyRoom(Base):
    """An ER that may be asked."""

    __tablename__ = "emergency_rooms"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    name_ko: Mapped[str | None] = mapped_column(String(120))
    region: Mapped[str] = mapped_column(String(60), default="", server_default="")
    phone: Mapped[str | None] = mapped_column(String(40))
    address: Mapped[str | None] = mapped_column(String(200))
    """As a driver reads it to a navigation device."""
    latitude: Mapped[float]
    longitude: Mapped[float]
    level: Mapped[str] = mapped_column(String(30), default="local")
    capabilities: Mapped[list[Any]] = mapped_column(default=list)
    beds_available: Mapped[int | None]
    beds_at: Mapped[datetime | None]
    beds_source: Mapped[str | None] = mapped_column(String(20))
    """Who gave the figure: dispatch/beds.py:BedSource."""
    feed_id: Mapped[str | None] = mapped_column(String(40))
    """Its name in the bed feed (E-Gen: hpid)."""
    reported_capabilities: Mapped[dict[str, Any] | None]
    """What the feed says is there or not just now; believed for a while (dispatch/beds.py)."""
    reported_at: Mapped[datetime | None]
    diversion_until_at: Mapped[datetime | None]
    diversion_reason: Mapped[str | None] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    notify_email: Mapped[str | None] = mapped_column(String(254))
    notify_webhook: Mapped[str | None] = mapped_column(String(500))
    """Address of a pager, SMS or telephone gateway; its host must be allowed in the settings."""
    version: Mapped[int] = mapped_column(default=1, server_default="1")

    __table_args__ = (
        CheckConstraint("latitude BETWEEN -90 AND 90", name="latitude"),
        CheckConstraint("longitude BETWEEN -180 AND 180", name="longitude"),
        Index("uq_emergency_rooms_feed_id", "feed_id", unique=True),
    )


class BedFeed(Base):
    """How the feed of free beds is doing; one row, taken by whoever asks next."""

    __tablename__ = "bed_feeds"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    due_at: Mapped[datetime]
    polled_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    since_at: Mapped[datetime]
    """When it was switched on: silence is counted from here until the first success."""
    error: Mapped[str | None] = mapped_column(String(200))
    """Why the last try brought nothing."""
    report: Mapped[dict[str, Any] | None]
    """Counts of the last success, and what was left out."""
    alarmed_at: Mapped[datetime | None]
    """The control room was told that it is silent, and not yet that it is back."""


class RoadTime(Base):
    """How long the way from a square of the map to an ER takes by road, as it was last learnt."""

    __tablename__ = "road_times"
    square_row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    square_column: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    emergency_room_id: Mapped[UUID] = mapped_column(
        ForeignKey("emergency_rooms.id"), primary_key=True
    )
    duration_s: Mapped[float | None]
    """None: the service knows no way, or said something that is not believed."""
    measured_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_road_times_measured_at", "measured_at"),
        CheckConstraint("duration_s >= 0", name="duration_s"),
    )


class RoadService(Base):
    """How the service of road times is doing; one row."""

    __tablename__ = "road_services"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    since_at: Mapped[datetime]
    succeeded_at: Mapped[datetime | None]
    failing_since_at: Mapped[datetime | None]
    """It has given nothing since then; None while it answers, or nobody asked."""
    error: Mapped[str | None] = mapped_column(String(200))
    """Why the last question brought nothing, or what in the last answer was not believed."""


class Account(Base):
    """A person who signs in."""

    __tablename__ = "accounts"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    sign_in_name: Mapped[str] = mapped_column(String(60), unique=True)
    display_name: Mapped[str] = mapped_column(String(80))
    password_hash: Mapped[str] = mapped_column(String(200))
    role: Mapped[Role]
    ambulance_id: Mapped[UUID | None] = mapped_column(ForeignKey("ambulances.id"))
    emergency_room_id: Mapped[UUID | None] = mapped_column(ForeignKey("emergency_rooms.id"))
    active: Mapped[bool] = mapped_column(default=True)
    session_epoch: Mapped[int] = mapped_column(default=0)
    """Raised to end every session of this account."""
    failed_sign_ins: Mapped[int] = mapped_column(default=0)
    locked_until_at: Mapped[datetime | None]
    choose_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the one-time secret with which its person chooses a password."""
    choose_until_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(default=1, server_default="1")

    __table_args__ = (
        CheckConstraint("role <> 'crew' OR ambulance_id IS NOT NULL", name="crew_unit"),
        CheckConstraint(
            "role <> 'emergency_room' OR emergency_room_id IS NOT NULL", name="er_unit"
        ),
    )


class DeviceToken(Base):
    """A device's bearer token; only its SHA-256 is kept."""

    __tablename__ = "device_tokens"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(80))
    role: Mapped[Role]
    ambulance_id: Mapped[UUID | None] = mapped_column(ForeignKey("ambulances.id"))
    emergency_room_id: Mapped[UUID | None] = mapped_column(ForeignKey("emergency_rooms.id"))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("role <> 'crew' OR ambulance_id IS NOT NULL", name="crew_unit"),
        CheckConstraint(
            "role <> 'emergency_room' OR emergency_room_id IS NOT NULL", name="er_unit"
        ),
    )


class AnswerCount(Base):
    """How one ER answered in one hour of the week (168: all of them); old offers fade."""

    __tablename__ = "answer_counts"
    hour_of_week: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    emergency_room_id: Mapped[UUID] = mapped_column(
        ForeignKey("emergency_rooms.id"), primary_key=True
    )
    offers: Mapped[float]
    answered: Mapped[float]
    accepted: Mapped[float]
    log_answer_s: Mapped[float]
    """Sum of ln(seconds) of the answers."""
    as_of_at: Mapped[datetime]
    """Up to when the counts have faded."""

    __table_args__ = (
        CheckConstraint("hour_of_week BETWEEN 0 AND 168", name="hour_of_week"),
        CheckConstraint("offers >= 0 AND answered >= 0 AND accepted >= 0", name="counts"),
    )


class AnswerCountProgress(Base):
    """Up to which offer the counts go: one row, so that no offer is counted twice."""

    __tablename__ = "answer_count_progress"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    counted_until_at: Mapped[datetime]

    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

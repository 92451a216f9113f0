"""A case: vital signs, films, readings, findings, offers, and uploads under way."""

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
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from broker.lifecycle import (
    TERMINAL_CASES,
    CaseStatus,
    DeclineReason,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
)
from broker.tables.base import Base
from broker.tables.patients import Patient
from broker.tables.region import Ambulance, EmergencyRoom


class Case(Base):
    """One transport episode with its X-ray."""

    __tablename__ = "cases"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    ambulance_id: Mapped[UUID] = mapped_column(ForeignKey("ambulances.id"))
    patient_id: Mapped[UUID | None] = mapped_column(ForeignKey("patients.id"))
    idempotency_key: Mapped[str] = mapped_column(String(100))
    request_sha256: Mapped[str] = mapped_column(String(64))
    """Hash of the submitted case and image: the same key with another body is refused."""
    status: Mapped[CaseStatus]
    version: Mapped[int] = mapped_column(default=1)
    """Raised by every change; screens drop lower ones."""
    round: Mapped[int] = mapped_column(default=0)
    reminded_round: Mapped[int] = mapped_column(default=0)
    """The last round whose silent ERs were reminded."""
    search_opened_at: Mapped[datetime | None]
    """When the present search for an ER began; unplaced is counted from here."""
    round_opened_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    """When upkeep must look again, by the database's clock; terminal states have none."""
    control_room_until_at: Mapped[datetime | None]
    """Until when a received case waits for the control room's choice; then it goes on by itself."""
    received_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    first_offer_at: Mapped[datetime | None]
    assigned_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    arrived_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    crew_pre_ktas: Mapped[int | None]
    age_years: Mapped[float | None]
    pregnant: Mapped[bool | None]
    sex: Mapped[str | None] = mapped_column(String(10))
    complaint: Mapped[str | None] = mapped_column(String(1000))
    latitude: Mapped[float | None]
    longitude: Mapped[float | None]
    position_at: Mapped[datetime | None]
    approach: Mapped[dict[str, Any] | None]
    """What was seen on the way to the ER that holds it, as dispatch/arrival.py keeps it."""
    acuity: Mapped[int | None]
    triage: Mapped[dict[str, Any] | None]
    """Reasons, needs and NEWS2 of the last triage, as dispatch/triage.py gave them."""
    partial: Mapped[bool] = mapped_column(default=False)
    """A reading is missing."""
    image_unusable: Mapped[str | None] = mapped_column(String(40))
    needs_review: Mapped[bool] = mapped_column(default=False)
    ended_reason: Mapped[str | None] = mapped_column(String(200))

    ambulance: Mapped[Ambulance] = relationship()
    patient: Mapped[Patient | None] = relationship()
    images: Mapped[list[Image]] = relationship(back_populates="case", order_by="Image.received_at")
    offers: Mapped[list[Offer]] = relationship(
        back_populates="case", order_by="(Offer.round, Offer.rank)"
    )
    vital_signs: Mapped[list[VitalSignsEntry]] = relationship(
        order_by="VitalSignsEntry.recorded_at"
    )

    __table_args__ = (
        UniqueConstraint("ambulance_id", "idempotency_key"),
        Index("ix_cases_status_deadline", "status", "deadline_at"),
        Index("ix_cases_received_at", "received_at"),
        Index("ix_cases_ambulance_received", "ambulance_id", "received_at"),
        Index("ix_cases_patient_id", "patient_id"),
        CheckConstraint(
            "(deadline_at IS NULL) = (status IN ({}))".format(
                ", ".join(f"'{s}'" for s in sorted(TERMINAL_CASES))
            ),
            name="live_has_deadline",
        ),
        CheckConstraint("crew_pre_ktas BETWEEN 1 AND 5", name="crew_pre_ktas"),
        CheckConstraint("acuity BETWEEN 1 AND 5", name="acuity"),
        CheckConstraint("age_years BETWEEN 0 AND 130", name="age_years"),
        CheckConstraint("sex IN ('female', 'male', 'other', 'unknown')", name="sex"),
        CheckConstraint("latitude BETWEEN -90 AND 90", name="latitude"),
        CheckConstraint("longitude BETWEEN -180 AND 180", name="longitude"),
        CheckConstraint("(latitude IS NULL) = (longitude IS NULL)", name="position"),
        CheckConstraint("version >= 1 AND round >= 0", name="counters"),
    )


class VitalSignsEntry(Base):
    """One set of vital signs; the latest one counts, the earlier ones stay."""

    __tablename__ = "vital_signs"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    recorded_at: Mapped[datetime]
    respiratory_rate_per_min: Mapped[int | None]
    spo2_percent: Mapped[int | None]
    spo2_scale: Mapped[int] = mapped_column(default=1)
    spo2_scale_confirmed: Mapped[bool | None]
    """A clinician confirmed hypercapnic respiratory failure; without it scale 1 is used."""
    on_oxygen: Mapped[bool | None]
    systolic_bp_mmhg: Mapped[int | None]
    diastolic_bp_mmhg: Mapped[int | None]
    pulse_per_min: Mapped[int | None]
    consciousness: Mapped[str | None] = mapped_column(String(1))
    temperature_c: Mapped[float | None]

    __table_args__ = (
        CheckConstraint("spo2_percent BETWEEN 0 AND 100", name="spo2_percent"),
        CheckConstraint("consciousness IN ('A', 'C', 'V', 'P', 'U')", name="consciousness"),
    )


class Image(Base):
    """One film of a case; the last one received is read and shown."""

    __tablename__ = "images"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the bytes as uploaded; kept in quarantine, never served."""
    rendition_sha256: Mapped[str] = mapped_column(String(64))
    """Of our own re-encoded PNG: what networks read and ERs see."""
    media_type: Mapped[str] = mapped_column(String(30))
    byte_count: Mapped[int]
    width_px: Mapped[int]
    height_px: Mapped[int]
    rendition_width_px: Mapped[int]
    rendition_height_px: Mapped[int]
    facts: Mapped[dict[str, Any] | None]
    unusable_reason: Mapped[str | None] = mapped_column(String(40))
    received_at: Mapped[datetime]

    case: Mapped[Case] = relationship(back_populates="images")
    readings: Mapped[list[Reading]] = relationship(back_populates="image", order_by="Reading.kind")

    __table_args__ = (UniqueConstraint("case_id", "sha256"),)


class Reading(Base):
    """One model's work on one image; attempt is the fencing token of its lease."""

    __tablename__ = "readings"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    image_id: Mapped[UUID] = mapped_column(ForeignKey("images.id"))
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"), index=True)
    kind: Mapped[ReadingKind]
    model_version: Mapped[str] = mapped_column(String(80), default="")
    """Name of the weights asked for; empty means those the project ships."""
    status: Mapped[ReadingStatus]
    attempt: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(120))
    lease_until_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    """When the relay may ring (again) for it."""
    created_at: Mapped[datetime]
    claimed_at: Mapped[datetime | None]
    """When the last attempt began."""
    finished_at: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(60))
    error: Mapped[str | None] = mapped_column(String(500))
    closed_at: Mapped[datetime | None]
    """A dead letter that operations looked at and closed."""
    model: Mapped[dict[str, Any] | None]
    """Name, version and hash of the weights that read it, and what its scores mean: their kind,
    operating points, and the labels that could not be left out of this film."""
    seconds: Mapped[dict[str, Any] | None]

    image: Mapped[Image] = relationship(back_populates="readings")
    findings: Mapped[list[Finding]] = relationship(order_by="Finding.rank")

    __table_args__ = (
        UniqueConstraint("image_id", "kind", "model_version"),
        Index("ix_readings_status_due", "status", "due_at"),
        Index("ix_readings_kind_finished", "kind", "finished_at"),
        CheckConstraint(
            "(status = 'running') = (lease_until_at IS NOT NULL)", name="running_has_lease"
        ),
        CheckConstraint(
            "(status IN ('done', 'failed')) = (finished_at IS NOT NULL)", name="finished"
        ),
        CheckConstraint("attempt >= 0", name="attempt"),
    )


class Finding(Base):
    """A label's score, or a box in pixels of the original film."""

    __tablename__ = "findings"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    reading_id: Mapped[UUID] = mapped_column(ForeignKey("readings.id"), index=True)
    rank: Mapped[int]
    label: Mapped[str] = mapped_column(String(60))
    score: Mapped[float]
    above_threshold: Mapped[bool]
    x0: Mapped[float | None]
    y0: Mapped[float | None]
    x1: Mapped[float | None]
    y1: Mapped[float | None]

    __table_args__ = (
        CheckConstraint("score BETWEEN 0 AND 1", name="score"),
        CheckConstraint(
            "(x0 IS NULL AND y0 IS NULL AND x1 IS NULL AND y1 IS NULL) OR (x0 IS NOT NULL "
            "AND y0 IS NOT NULL AND x1 IS NOT NULL AND y1 IS NOT NULL AND x0 <= x1 AND y0 <= y1)",
            name="box",
        ),
    )


class Offer(Base):
    """A proposal of one case to one ER."""

    __tablename__ = "offers"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    emergency_room_id: Mapped[UUID] = mapped_column(ForeignKey("emergency_rooms.id"), index=True)
    round: Mapped[int]
    rank: Mapped[int]
    status: Mapped[OfferStatus]
    eta_min: Mapped[float | None]
    distance_km: Mapped[float | None]
    explanation: Mapped[dict[str, Any]]
    """Why this ER: the parts of its expected minutes."""
    offered_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(120))
    reason_code: Mapped[DeclineReason | None]
    note: Mapped[str | None] = mapped_column(String(500))
    delay_min: Mapped[int | None]
    ended_reason: Mapped[str | None] = mapped_column(String(60))
    assigned_by: Mapped[str | None] = mapped_column(String(120))
    """Who of the control room accepted it for the ER; empty: the ER's own answer."""
    assigned_reason: Mapped[str | None] = mapped_column(String(500))

    case: Mapped[Case] = relationship(back_populates="offers")
    emergency_room: Mapped[EmergencyRoom] = relationship()

    __table_args__ = (
        UniqueConstraint("case_id", "emergency_room_id", "round"),
        Index("ix_offers_offered_at", "offered_at"),
        Index("ix_offers_room_status", "emergency_room_id", "status"),
        Index("ix_offers_room_offered", "emergency_room_id", "offered_at"),
        Index(
            "uq_offers_one_accepted",
            "case_id",
            unique=True,
            sqlite_where=text("status = 'accepted'"),
            postgresql_where=text("status = 'accepted'"),
        ),
        CheckConstraint(
            "status <> 'rejected' OR reason_code IS NOT NULL", name="rejected_has_reason"
        ),
        CheckConstraint(
            # A NULL in a comparison would let the row through: say that it is none.
            "status <> 'accepted_with_delay' "
            "OR (delay_min IS NOT NULL AND delay_min BETWEEN 1 AND 240)",
            name="delay",
        ),
    )


class Upload(Base):
    """A film that arrives in pieces; how many bytes are here is what its file says."""

    __tablename__ = "uploads"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    ambulance_id: Mapped[UUID] = mapped_column(ForeignKey("ambulances.id"))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the whole film, as its sender says; compared before anybody uses the bytes."""
    byte_count: Mapped[int]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)

    __table_args__ = (
        UniqueConstraint("ambulance_id", "sha256"),
        CheckConstraint("byte_count > 0", name="byte_count"),
    )


class ElsewherePlacement(Base):
    """A hospital outside of this system that took a case by telephone; no offer, no ER of ours."""

    __tablename__ = "elsewhere_placements"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    case_id: Mapped[UUID] = mapped_column(ForeignKey("cases.id"))
    hospital: Mapped[str] = mapped_column(String(120))
    """As whoever rang wrote it."""
    phone: Mapped[str | None] = mapped_column(String(40))
    reason: Mapped[str] = mapped_column(String(500))
    recorded_by: Mapped[str] = mapped_column(String(120))
    recorded_by_role: Mapped[str] = mapped_column(String(20))
    recorded_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    """It does not take the patient after all; None while it does, and when it did."""
    ended_by: Mapped[str | None] = mapped_column(String(120))

    __table_args__ = (
        Index(
            "uq_elsewhere_placements_one_open",
            "case_id",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_elsewhere_placements_recorded_at", "recorded_at"),
        CheckConstraint("(ended_at IS NULL) = (ended_by IS NULL)", name="ended"),
    )

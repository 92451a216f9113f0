"""The record: every table as a SQLAlchemy 2 mapped class, with the checks that the database makes.

No queries and no rules live here. Times are aware UTC (column names end in _at); units stand in
names. There is no jobs table and no outbox: a Reading carries attempt and lease, and rows that are
due ARE the outbox.
"""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from broker.lifecycle import (
    TERMINAL_CASES,
    AlarmCode,
    CaseStatus,
    Channel,
    DeclineReason,
    DirectiveKind,
    DuplicateReason,
    DuplicateResolution,
    MessageStatus,
    NotificationStatus,
    NotificationStep,
    OfferStatus,
    ReadingKind,
    ReadingStatus,
    Role,
)
from broker.queues import Queue


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in Python on every database; SQLite keeps microseconds as text."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times; SQLite stores the UTC wall time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give SQLite's naive UTC its zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _enum(kind: type[enum.StrEnum]) -> Enum:
    """Stored by value, with a CHECK so that no other word gets in."""
    return Enum(
        kind,
        values_callable=lambda members: [member.value for member in members],
        native_enum=False,
        create_constraint=True,
        length=30,
        name=kind.__name__.lower(),
    )


class Base(DeclarativeBase):
    """Naming rules make constraint names equal on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        str: Text,
        Role: _enum(Role),
        CaseStatus: _enum(CaseStatus),
        ReadingStatus: _enum(ReadingStatus),
        ReadingKind: _enum(ReadingKind),
        OfferStatus: _enum(OfferStatus),
        MessageStatus: _enum(MessageStatus),
        Channel: _enum(Channel),
        NotificationStep: _enum(NotificationStep),
        NotificationStatus: _enum(NotificationStatus),
        DeclineReason: _enum(DeclineReason),
        DirectiveKind: _enum(DirectiveKind),
        AlarmCode: _enum(AlarmCode),
        Queue: _enum(Queue),
        DuplicateReason: _enum(DuplicateReason),
        DuplicateResolution: _enum(DuplicateResolution),
    }


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
    """Who did or saw what, when; only ever inserted."""

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
    """60 or 3600."""
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

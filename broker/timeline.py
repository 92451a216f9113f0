"""One case from receipt to end: every event, attempt, offer, notification and message, by time.

Metadata only: who, what and when, no word of a message, no finding and no vital sign. What the
audit keeps beyond the listed facts stays there.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker.errors import NotFound
from broker.tables import (
    Ambulance,
    AuditEntry,
    Case,
    EmergencyRoom,
    Event,
    Image,
    Message,
    Notification,
    Offer,
    Reading,
)

SHOWN = frozenset(
    {
        *("before", "version", "offer_id", "reason", "reading_id", "code", "waited_s", "readings"),
        *("round", "readings", "queue"),
    }
)
"""Facts of audit entries that are states, ids and numbers."""
LONGEST = 2000
"""More entries than that and the newest are left out; `cut` says so."""


def of_case(session: Session, case_id: UUID) -> dict[str, Any]:
    """A case's state and everything that happened to it; NotFound when there is none."""
    case = session.get(Case, case_id)
    if case is None:
        raise NotFound(f"there is no case {case_id}")
    call_sign = session.scalar(select(Ambulance.call_sign).where(Ambulance.id == case.ambulance_id))
    entries = [
        *_images(session, case_id),
        *_readings(session, case_id),
        *_offers(session, case_id),
        *_notifications(session, case_id),
        *_messages(session, case_id),
        *_audit(session, case_id),
        *_events(session, case_id),
    ]
    entries.sort(key=lambda entry: entry["at"])
    return {
        "id": case.id,
        "status": case.status,
        "acuity": case.acuity or case.crew_pre_ktas,
        "call_sign": call_sign,
        "round": case.round,
        "received_at": case.received_at,
        "first_offer_at": case.first_offer_at,
        "assigned_at": case.assigned_at,
        "acknowledged_at": case.acknowledged_at,
        "ended_at": case.ended_at,
        "deadline_at": case.deadline_at,
        "partial": case.partial,
        "needs_review": case.needs_review,
        "entries": entries[:LONGEST],
        "cut": len(entries) > LONGEST,
    }


def _entry(at: datetime, kind: str, what: str, who: str | None = None, **facts: Any) -> Any:
    said = {name: fact for name, fact in facts.items() if fact is not None}
    return {"at": at, "kind": kind, "what": what, "who": who, "facts": said}


def _images(session: Session, case_id: UUID) -> Iterator[Any]:
    for image in session.scalars(select(Image).where(Image.case_id == case_id)):
        yield _entry(
            image.received_at,
            "image",
            "image.received",
            byte_count=image.byte_count,
            unusable=image.unusable_reason,
        )


def _readings(session: Session, case_id: UUID) -> Iterator[Any]:
    for row in session.scalars(select(Reading).where(Reading.case_id == case_id)):
        name = {"reading": row.kind.value}
        yield _entry(row.created_at, "reading", "reading.pending", **name)
        if row.claimed_at:
            facts = {**name, "attempt": row.attempt}
            yield _entry(row.claimed_at, "reading", "reading.running", row.lease_owner, **facts)
        if row.finished_at:
            yield _entry(
                row.finished_at,
                "reading",
                f"reading.{row.status}",
                **name,
                attempt=row.attempt,
                error_code=row.error_code,
                run_s=_seconds(row.claimed_at, row.finished_at),
            )
        if row.closed_at:
            yield _entry(row.closed_at, "reading", "reading.closed", **name)


def _offers(session: Session, case_id: UUID) -> Iterator[Any]:
    rows = session.execute(
        select(Offer, EmergencyRoom.name)
        .join(EmergencyRoom, EmergencyRoom.id == Offer.emergency_room_id)
        .where(Offer.case_id == case_id)
    )
    for offer, room in rows:
        facts = {"round": offer.round, "rank": offer.rank}
        yield _entry(offer.offered_at, "offer", "offer.requested", room, **facts)
        if offer.received_at:
            yield _entry(
                offer.received_at,
                "offer",
                "offer.received",
                room,
                **facts,
                seconds=_seconds(offer.offered_at, offer.received_at),
            )
        if offer.decided_at:
            yield _entry(
                offer.decided_at,
                "offer",
                f"offer.{offer.status}"
                if offer.reason_code or not offer.ended_reason
                else "offer.decided",
                room,
                **facts,
                reason=offer.reason_code,
                delay_min=offer.delay_min,
                seconds=_seconds(offer.offered_at, offer.decided_at),
            )


def _notifications(session: Session, case_id: UUID) -> Iterator[Any]:
    rows = session.execute(
        select(Notification, EmergencyRoom.name)
        .join(Offer, Offer.id == Notification.offer_id)
        .join(EmergencyRoom, EmergencyRoom.id == Offer.emergency_room_id)
        .where(Offer.case_id == case_id)
    )
    for row, room in rows:
        facts = {"channel": row.channel.value, "step": row.step.value}
        yield _entry(row.created_at, "notification", "notification.pending", room, **facts)
        if row.finished_at:
            yield _entry(
                row.finished_at,
                "notification",
                f"notification.{row.status}",
                room,
                **facts,
                attempt=row.attempt,
                error=row.error,
            )


def _messages(session: Session, case_id: UUID) -> Iterator[Any]:
    for row in session.scalars(select(Message).where(Message.case_id == case_id)):
        way = {"to": row.recipient.partition(":")[0]}
        sender = row.sender.partition(":")[0]
        for at, what in (
            (row.sent_at, "message.sent"),
            (row.delivered_at, "message.delivered"),
            (row.seen_at, "message.seen"),
        ):
            if at:
                yield _entry(at, "message", what, sender, **way, seconds=_seconds(row.sent_at, at))


def _audit(session: Session, case_id: UUID) -> Iterator[Any]:
    rows = session.scalars(
        select(AuditEntry)
        .where(AuditEntry.case_id == case_id)
        .order_by(AuditEntry.at)
        .limit(LONGEST)
    )
    for row in rows:
        facts = {name: value for name, value in row.details.items() if name in SHOWN}
        yield _entry(row.at, "audit", row.action, row.actor, **facts)


def _events(session: Session, case_id: UUID) -> Iterator[Any]:
    rows = session.execute(
        select(Event.created_at, Event.type, Event.audience, Event.seq)
        .where(Event.case_id == case_id)
        .order_by(Event.created_at)
        .limit(LONGEST)
    )
    for at, type_, audience, seq in rows:
        yield _entry(at, "event", type_, audience.partition(":")[0], seq=seq)


def _seconds(began: datetime | None, ended: datetime | None) -> float | None:
    return round((ended - began).total_seconds(), 2) if began and ended else None

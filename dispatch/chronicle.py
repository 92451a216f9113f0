"""One patient's story over all cases, from rows: what happened when, as far as the reader may know.

Films, readings, vital signs with NEWS2, urgency as it changed, offers, messages, instructions,
hand-over, outcome, questions about duplicates. Reads only; what each reader may see is access.py's,
and nothing here says who the patient is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events
from broker.lifecycle import CaseStatus, ReadingStatus, Role
from broker.tables import (
    Case,
    DuplicateSuspicion,
    ElsewherePlacement,
    EmergencyRoom,
    Event,
    Finding,
    Image,
    Instructions,
    Message,
    Offer,
    Outcome,
    Patient,
    Reading,
    VitalSignsEntry,
)
from dispatch import access, news2
from dispatch.access import Actor
from dispatch.measured import Measured

MOST_CASES = 20
"""So many cases are told, the newest; earlier ones are counted."""
TOP = 3


class EntryKind(StrEnum):
    """What an entry is about."""

    STATUS = "status"
    ACUITY = "acuity"
    FILM = "film"
    READING = "reading"
    VITALS = "vitals"
    OFFER = "offer"
    ELSEWHERE = "elsewhere"
    MESSAGE = "message"
    INSTRUCTIONS = "instructions"
    OUTCOME = "outcome"
    DUPLICATE = "duplicate"


@dataclass(frozen=True)
class Entry:
    """One line of the story."""

    at: datetime
    kind: EntryKind
    case_id: UUID
    facts: dict[str, Any]


@dataclass(frozen=True)
class Story:
    """Cases from the newest, their entries from the oldest, and how many cases are not told."""

    cases: list[Case]
    entries: list[Entry]
    more_cases: int


def of_patient(session: Session, actor: Actor, root: Patient, most: int = MOST_CASES) -> Story:
    """The story of a root and of all that was merged into it, of the cases this actor may see."""
    found = session.scalars(
        select(Case)
        .join(Patient, Patient.id == Case.patient_id)
        .where(Patient.root_id == root.id, access.identified_cases(actor))
        .order_by(Case.received_at.desc(), Case.id)
    ).all()
    told = list(found[:most])
    entries = [entry for case in told for entry in _of_case(session, actor, case)]
    # Of one moment: what the crew sent before what was made of it.
    order = {kind: place for place, kind in enumerate(EntryKind)}
    entries.sort(key=lambda entry: (entry.at, order[entry.kind]))
    return Story(told, entries, len(found) - len(told))


def _of_case(session: Session, actor: Actor, case: Case) -> Iterator[Entry]:
    for at, kind, facts in (
        *_states(session, case),
        *_films(session, case),
        *_vitals(session, case),
        *_offers(session, actor, case),
        *_elsewhere(session, case),
        *_words(session, actor, case),
        *_duplicates(session, actor, case),
    ):
        yield Entry(at, kind, case.id, facts)


_Told = tuple[datetime, EntryKind, dict[str, Any]]


def _states(session: Session, case: Case) -> Iterator[_Told]:
    """States and urgency, from the control room's log, which hears of every change."""
    status: str | None = None
    acuity: int | None = None
    for event in session.scalars(
        select(Event)
        .where(Event.case_id == case.id, Event.audience == events.CONTROL_ROOM)
        .order_by(Event.seq)
    ):
        body = event.body
        if body.get("status") not in (None, status) and event.type.startswith("case."):
            status = body["status"]
            facts = {"status": status, "reason": body.get("reason")}
            if status == CaseStatus.CANCELLED:
                facts["reason"] = case.ended_reason
            yield event.created_at, EntryKind.STATUS, facts
        if body.get("acuity") not in (None, acuity):
            before, acuity = acuity, body["acuity"]
            yield (
                event.created_at,
                EntryKind.ACUITY,
                {"acuity": acuity, "before": before, "why": body.get("why")},
            )


def _films(session: Session, case: Case) -> Iterator[_Told]:
    for image in session.scalars(
        select(Image).where(Image.case_id == case.id).order_by(Image.received_at)
    ):
        yield (
            image.received_at,
            EntryKind.FILM,
            {"sha256": image.sha256, "unusable_reason": image.unusable_reason},
        )
    for reading in session.scalars(
        select(Reading).where(
            Reading.case_id == case.id,
            Reading.status.in_([ReadingStatus.DONE, ReadingStatus.FAILED]),
        )
    ):
        model = reading.model or {}
        found: Sequence[Finding] = session.scalars(
            select(Finding).where(Finding.reading_id == reading.id).order_by(Finding.rank)
        ).all()
        assert reading.finished_at is not None  # the database checks it
        yield (
            reading.finished_at,
            EntryKind.READING,
            {
                "reading": reading.kind,
                "status": reading.status,
                "model": {name: model.get(name) for name in ("name", "version", "sha256")},
                "score_kind": model.get("score_kind"),
                "findings": [
                    {
                        "label": finding.label,
                        "score": finding.score,
                        "above_threshold": finding.above_threshold,
                    }
                    for finding in found[:TOP]
                ],
                "above_threshold": sum(finding.above_threshold for finding in found),
            },
        )


def _vitals(session: Session, case: Case) -> Iterator[_Told]:
    """Each set as it came, with NEWS2 of what that set measured alone."""
    for row in session.scalars(
        select(VitalSignsEntry)
        .where(VitalSignsEntry.case_id == case.id)
        .order_by(VitalSignsEntry.recorded_at)
    ):
        measured = Measured.of_set(row)
        score = None
        if news2.applicable(case.age_years, pregnant=bool(case.pregnant)):
            score = news2.score(measured.as_vital_signs())
        yield (
            row.recorded_at,
            EntryKind.VITALS,
            {
                "values": measured.values,
                "news2": asdict(score) if score else None,
            },
        )


def _offers(session: Session, actor: Actor, case: Case) -> Iterator[_Told]:
    for offer in session.scalars(
        select(Offer)
        .where(Offer.case_id == case.id, access.offers_visible_to(actor))
        .order_by(Offer.offered_at, Offer.rank)
    ):
        room = session.get_one(EmergencyRoom, offer.emergency_room_id)
        facts = {
            "emergency_room": {"id": str(room.id), "name": room.name, "name_ko": room.name_ko},
            "eta_min": offer.eta_min,
        }
        yield offer.offered_at, EntryKind.OFFER, {**facts, "step": "requested"}
        if offer.decided_at:
            yield (
                offer.decided_at,
                EntryKind.OFFER,
                {
                    **facts,
                    "step": "answered",
                    "status": offer.status,
                    "reason_code": offer.reason_code,
                    "delay_min": offer.delay_min,
                    "ended_reason": offer.ended_reason,
                },
            )


def _elsewhere(session: Session, case: Case) -> Iterator[_Told]:
    """Hospitals outside that took it by telephone, and that did not after all."""
    for row in session.scalars(
        select(ElsewherePlacement).where(ElsewherePlacement.case_id == case.id)
    ):
        facts = {"hospital": row.hospital, "by": row.recorded_by_role}
        yield row.recorded_at, EntryKind.ELSEWHERE, {**facts, "taken": True, "reason": row.reason}
        if row.ended_at:
            yield row.ended_at, EntryKind.ELSEWHERE, {**facts, "taken": False, "reason": None}


def _words(session: Session, actor: Actor, case: Case) -> Iterator[_Told]:
    for message in session.scalars(
        select(Message)
        .where(Message.case_id == case.id, access.messages_visible_to(actor))
        .order_by(Message.sent_at)
    ):
        yield (
            message.sent_at,
            EntryKind.MESSAGE,
            {
                "sender": message.sender.partition(":")[0],
                "recipient": message.recipient.partition(":")[0],
                "body": message.body,
                "status": message.status,
            },
        )
    for asked in session.scalars(select(Instructions).where(Instructions.case_id == case.id)):
        yield (
            asked.given_at,
            EntryKind.INSTRUCTIONS,
            {"items": asked.items, "note": asked.note, "seen_at": asked.seen_at},
        )
    for outcome in session.scalars(select(Outcome).where(Outcome.case_id == case.id)):
        yield (
            outcome.recorded_at,
            EntryKind.OUTCOME,
            {"diagnosis": outcome.diagnosis, "disposition": outcome.disposition},
        )


def _duplicates(session: Session, actor: Actor, case: Case) -> Iterator[_Told]:
    if actor.role not in {Role.CREW, Role.CONTROL_ROOM}:
        return
    for suspicion in session.scalars(
        select(DuplicateSuspicion).where(DuplicateSuspicion.case_id == case.id)
    ):
        yield (
            suspicion.raised_at,
            EntryKind.DUPLICATE,
            {
                "reason": suspicion.reason,
                "same_said_at": suspicion.same_said_at,
                "resolution": suspicion.resolution,
                "resolved_at": suspicion.resolved_at,
            },
        )

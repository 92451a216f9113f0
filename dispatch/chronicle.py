"""One patient's story over all cases, from rows: what happened when, as far as the reader may know.

Films, readings, vital signs with NEWS2, urgency as it changed, offers, messages, instructions,
hand-over, outcome, questions about duplicates. Reads only; what each reader may see is access.py's,
and nothing here says who the patient is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from broker import database, events
from broker.lifecycle import CaseStatus, ReadingStatus, Role
from broker.tables import (
    Case,
    DuplicateSuspicion,
    ElsewherePlacement,
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
        .options(joinedload(Case.ambulance))
    ).all()
    told = list(found[:most])
    entries = [*_entries(session, actor, {case.id: case for case in told})]
    # Of one moment: what the crew sent before what was made of it.
    order = {kind: place for place, kind in enumerate(EntryKind)}
    entries.sort(key=lambda entry: (entry.at, order[entry.kind]))
    return Story(told, entries, len(found) - len(told))


_Cases = Mapping[UUID, Case]


def _entries(session: Session, actor: Actor, cases: _Cases) -> Iterator[Entry]:
    """Each kind of all cases together: so many statements for one case as for twenty."""
    yield from _states(session, cases)
    yield from _films(session, cases)
    yield from _vitals(session, cases)
    yield from _offers(session, actor, cases)
    yield from _elsewhere(session, cases)
    yield from _words(session, actor, cases)
    yield from _duplicates(session, actor, cases)


def _states(session: Session, cases: _Cases) -> Iterator[Entry]:
    """States and urgency, from the control room's log, which hears of every change."""
    status: dict[UUID, str] = {}
    acuity: dict[UUID, int] = {}
    heard = session.scalars(
        select(Event).where(
            Event.case_id.in_(cases), database.not_sought(Event.audience) == events.CONTROL_ROOM
        )
    )
    for event in sorted(heard, key=lambda event: event.seq):
        assert event.case_id is not None  # asked for by it
        case, body = cases[event.case_id], event.body
        if body.get("status") not in (None, status.get(case.id)) and event.type.startswith("case."):
            status[case.id] = body["status"]
            facts = {"status": body["status"], "reason": body.get("reason")}
            if body["status"] == CaseStatus.CANCELLED:
                facts["reason"] = case.ended_reason
            yield Entry(event.created_at, EntryKind.STATUS, case.id, facts)
        if body.get("acuity") not in (None, acuity.get(case.id)):
            facts = {"before": acuity.get(case.id), "why": body.get("why")}
            acuity[case.id] = body["acuity"]
            facts["acuity"] = body["acuity"]
            yield Entry(event.created_at, EntryKind.ACUITY, case.id, facts)


def _films(session: Session, cases: _Cases) -> Iterator[Entry]:
    for image in session.scalars(
        select(Image).where(Image.case_id.in_(cases)).order_by(Image.received_at)
    ):
        yield Entry(
            image.received_at,
            EntryKind.FILM,
            image.case_id,
            {
                "sha256": image.sha256,
                "width_px": image.rendition_width_px,
                "height_px": image.rendition_height_px,
                "unusable_reason": image.unusable_reason,
            },
        )
    readings = session.scalars(
        select(Reading).where(
            Reading.case_id.in_(cases),
            database.not_sought(Reading.status).in_([ReadingStatus.DONE, ReadingStatus.FAILED]),
        )
    ).all()
    findings: dict[UUID, list[Finding]] = {reading.id: [] for reading in readings}
    for finding in session.scalars(
        select(Finding).where(Finding.reading_id.in_(findings)).order_by(Finding.rank)
    ):
        findings[finding.reading_id].append(finding)
    for reading in readings:
        model, found = reading.model or {}, findings[reading.id]
        assert reading.finished_at is not None  # the database checks it
        yield Entry(
            reading.finished_at,
            EntryKind.READING,
            reading.case_id,
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


def _vitals(session: Session, cases: _Cases) -> Iterator[Entry]:
    """Each set as it came, with NEWS2 of what that set measured alone."""
    for row in session.scalars(
        select(VitalSignsEntry)
        .where(VitalSignsEntry.case_id.in_(cases))
        .order_by(VitalSignsEntry.recorded_at)
    ):
        case, measured = cases[row.case_id], Measured.of_set(row)
        score = None
        if news2.applicable(case.age_years, pregnant=bool(case.pregnant)):
            score = news2.score(measured.as_vital_signs())
        yield Entry(
            row.recorded_at,
            EntryKind.VITALS,
            row.case_id,
            {
                "values": measured.values,
                "news2": asdict(score) if score else None,
            },
        )


def _offers(session: Session, actor: Actor, cases: _Cases) -> Iterator[Entry]:
    for offer in session.scalars(
        select(Offer)
        .where(Offer.case_id.in_(cases), access.each_offer_visible_to(actor))
        .order_by(Offer.offered_at, Offer.rank)
        .options(joinedload(Offer.emergency_room))
    ):
        room = offer.emergency_room
        facts = {
            "emergency_room": {"id": str(room.id), "name": room.name, "name_ko": room.name_ko},
            "eta_min": offer.eta_min,
        }
        requested = {**facts, "step": "requested"}
        yield Entry(offer.offered_at, EntryKind.OFFER, offer.case_id, requested)
        if offer.decided_at:
            yield Entry(
                offer.decided_at,
                EntryKind.OFFER,
                offer.case_id,
                {
                    **facts,
                    "step": "answered",
                    "status": offer.status,
                    "reason_code": offer.reason_code,
                    "delay_min": offer.delay_min,
                    "ended_reason": offer.ended_reason,
                },
            )


def _elsewhere(session: Session, cases: _Cases) -> Iterator[Entry]:
    """Hospitals outside that took it by telephone, and that did not after all."""
    for row in session.scalars(
        select(ElsewherePlacement).where(ElsewherePlacement.case_id.in_(cases))
    ):
        facts = {"hospital": row.hospital, "by": row.recorded_by_role}
        taken = {**facts, "taken": True, "reason": row.reason}
        yield Entry(row.recorded_at, EntryKind.ELSEWHERE, row.case_id, taken)
        if row.ended_at:
            ended = {**facts, "taken": False, "reason": None}
            yield Entry(row.ended_at, EntryKind.ELSEWHERE, row.case_id, ended)


def _words(session: Session, actor: Actor, cases: _Cases) -> Iterator[Entry]:
    for message in session.scalars(
        select(Message)
        .where(Message.case_id.in_(cases), access.messages_visible_to(actor))
        .order_by(Message.sent_at)
    ):
        yield Entry(
            message.sent_at,
            EntryKind.MESSAGE,
            message.case_id,
            {
                "sender": message.sender.partition(":")[0],
                "recipient": message.recipient.partition(":")[0],
                "body": message.body,
                "status": message.status,
            },
        )
    for asked in session.scalars(select(Instructions).where(Instructions.case_id.in_(cases))):
        yield Entry(
            asked.given_at,
            EntryKind.INSTRUCTIONS,
            asked.case_id,
            {"items": asked.items, "note": asked.note, "seen_at": asked.seen_at},
        )
    for outcome in session.scalars(select(Outcome).where(Outcome.case_id.in_(cases))):
        yield Entry(
            outcome.recorded_at,
            EntryKind.OUTCOME,
            outcome.case_id,
            {"diagnosis": outcome.diagnosis, "disposition": outcome.disposition},
        )


def _duplicates(session: Session, actor: Actor, cases: _Cases) -> Iterator[Entry]:
    if actor.role not in {Role.CREW, Role.CONTROL_ROOM}:
        return
    for suspicion in session.scalars(
        select(DuplicateSuspicion).where(DuplicateSuspicion.case_id.in_(cases))
    ):
        yield Entry(
            suspicion.raised_at,
            EntryKind.DUPLICATE,
            suspicion.case_id,
            {
                "reason": suspicion.reason,
                "same_said_at": suspicion.same_said_at,
                "resolution": suspicion.resolution,
                "resolved_at": suspicion.resolved_at,
            },
        )

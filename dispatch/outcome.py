"""What became of the patient, told back to the crew by the ER that took them over.

The crew learns whether its picture of the patient was right, and the record gets the answer that
every score of the film is measured against. Belongs to the ER that holds the case, from the door
on; earlier rows stay for the record and the latest counts.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict
from broker.lifecycle import CaseStatus
from broker.tables import Case, Outcome
from dispatch import access
from dispatch.access import Actor
from dispatch.transition import move_case, tell_crew

KNOWN_FROM = frozenset({CaseStatus.ARRIVED, CaseStatus.CLOSED})


class Disposition(StrEnum):
    """Where the patient went from the ER."""

    DISCHARGED = "discharged"
    WARD = "ward"
    INTENSIVE_CARE = "intensive_care"
    OPERATING_ROOM = "operating_room"
    TRANSFERRED = "transferred"
    LEFT = "left"
    """Left before treatment ended."""
    DIED = "died"


def record(
    session: Session, actor: Actor, case_id: UUID, diagnosis: str, disposition: Disposition
) -> Outcome:
    """Write down the outcome and tell crew and control room; Conflict before arrival.

    The same words again are the same outcome.
    """
    case: Case = access.case(session, actor, case_id)
    holder = access.holding_emergency_room(session, case.id)
    if holder is None or holder != actor.emergency_room_id:
        raise Conflict("only the ER that took this patient over can say what became of them")
    if case.status not in KNOWN_FROM:
        raise Conflict(f"the case is {case.status}; the outcome is known after arrival")
    before = latest(session, case.id)
    if before and (before.diagnosis, before.disposition) == (diagnosis, disposition.value):
        return before
    move_case(session, case, case.status, actor, tell=None)
    written = Outcome(
        case_id=case.id,
        emergency_room_id=holder,
        diagnosis=diagnosis,
        disposition=disposition.value,
        recorded_at=database.now(session),
        recorded_by=actor.name,
    )
    session.add(written)
    session.flush()
    events.audit(session, actor.name, "case.outcome", case.id, disposition=disposition.value)
    tell_crew(session, case, "case.outcome")
    return written


def latest(session: Session, case_id: UUID) -> Outcome | None:
    """What became of the patient, as said last."""
    return latest_of(session, [case_id]).get(case_id)


def latest_of(session: Session, case_ids: Collection[UUID]) -> dict[UUID, Outcome]:
    """The same of many cases, by case; one whose end is not known is not in it."""
    found: dict[UUID, Outcome] = {}
    for row in session.scalars(
        select(Outcome)
        .where(Outcome.case_id.in_(case_ids))
        .order_by(Outcome.recorded_at.desc(), Outcome.id)
    ):
        found.setdefault(row.case_id, row)
    return found

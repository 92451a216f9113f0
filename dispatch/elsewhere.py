"""A hospital outside of this system takes the patient by telephone: written by those who rang.

It ends the search as an acceptance does, through the same conditional UPDATE, so the first wins;
open offers are withdrawn as placed elsewhere. It is no offer and no acceptance: no ER answered,
nothing is learnt of any, and no ER sees the case. It may be taken back; then the search goes on.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import AlreadyTaken, Conflict
from broker.lifecycle import HELD_CASES, SEEKING_CASES, CaseStatus, OfferStatus, Role
from broker.settings import Settings
from broker.tables import Case, ElsewherePlacement
from dispatch import access, advance, asking, offers
from dispatch.access import Actor
from dispatch.transition import Ended, end_offers, move_case, tell_crew


def place(
    session: Session,
    settings: Settings,
    actor: Actor,
    case_id: UUID,
    hospital: str,
    phone: str | None,
    reason: str,
) -> Case:
    """Write down that a hospital outside takes a case that nobody holds; the same twice is one.

    By the crew it is acknowledged with it; by the control room the crew is told and confirms. Other
    words for a case that is placed elsewhere correct what was written. AlreadyTaken (409) when an
    ER holds the case, Conflict (409) when it is over.
    """
    case = access.case(session, actor, case_id)
    standing = open_placement(session, case.id)
    now = database.now(session)
    if standing is not None and case.status in HELD_CASES:
        _correct(session, actor, case, standing, hospital, phone, reason)
        return case
    if case.status in HELD_CASES:
        raise AlreadyTaken(status=str(case.status))
    if case.status not in SEEKING_CASES:
        raise Conflict(f"the case is {case.status}", status=str(case.status))
    if case.status is CaseStatus.RECEIVED:
        advance.open_search(session, settings, case, now)
    move_case(
        session,
        case,
        CaseStatus.ASSIGNED,
        actor,
        tell=None,
        assigned_at=now,
        deadline_at=now + timedelta(seconds=settings.scaled(settings.acknowledge_deadline_s)),
    )
    opened = asking.open_offers(session, case.id)
    end_offers(
        session, case, opened, OfferStatus.WITHDRAWN, actor, Ended.PLACED_ELSEWHERE.value
    )  # fmt: skip
    session.add(
        ElsewherePlacement(
            case_id=case.id,
            hospital=hospital,
            phone=phone,
            reason=reason,
            recorded_by=actor.name,
            recorded_by_role=actor.role.value,
            recorded_at=now,
        )
    )
    session.flush()
    events.audit(
        session,
        actor.name,
        "case.taken_elsewhere",
        case.id,
        hospital=hospital,
        phone=phone,
        reason=reason,
    )
    tell_crew(session, case, "case.assigned", elsewhere=True)
    if actor.role is Role.CREW:
        offers.acknowledge(session, settings, actor, case, now)
    return case


def take_back(session: Session, settings: Settings, actor: Actor, case_id: UUID) -> Case:
    """That hospital does not take the patient after all: the search begins again at once.

    Without such a placement nothing happens; Conflict (409) when the case is over.
    """
    case = access.case(session, actor, case_id)
    standing = open_placement(session, case.id)
    if standing is None:
        return case
    if case.status not in HELD_CASES:
        raise Conflict(f"the case is {case.status}", status=str(case.status))
    now = database.now(session)
    offers.reopen(session, settings, case, actor, now)
    standing.ended_at, standing.ended_by = now, actor.name
    session.flush()
    events.audit(
        session, actor.name, "case.not_taken_elsewhere", case.id, hospital=standing.hospital
    )
    tell_crew(session, case, "case.offering", reason=Ended.GIVEN_BACK.value, elsewhere=True)
    if not asking.open_round(session, settings, case, now):
        case.deadline_at = now  # nobody to ask: advance alarms the control room at once
    return case


def open_placement(session: Session, case_id: UUID) -> ElsewherePlacement | None:
    """Where outside a case is, or went; None when that is nowhere."""
    return open_placements(session, [case_id]).get(case_id)


def open_placements(session: Session, case_ids: Collection[UUID]) -> dict[UUID, ElsewherePlacement]:
    """The same of many cases, by case; one that is nowhere outside is not in it."""
    rows = session.scalars(
        select(ElsewherePlacement).where(
            ElsewherePlacement.case_id.in_(case_ids), ElsewherePlacement.ended_at.is_(None)
        )
    )
    return {row.case_id: row for row in rows}


def _correct(
    session: Session,
    actor: Actor,
    case: Case,
    standing: ElsewherePlacement,
    hospital: str,
    phone: str | None,
    reason: str,
) -> None:
    """Change what was written, with before and after in the audit."""
    before = [standing.hospital, standing.phone, standing.reason]
    after = [hospital, phone, reason]
    if before == after:
        return
    move_case(session, case, case.status, actor, tell=None)
    standing.hospital, standing.phone, standing.reason = hospital, phone, reason
    session.flush()
    events.audit(
        session, actor.name, "case.elsewhere_corrected", case.id, before=before, after=after
    )
    tell_crew(session, case, "case.amended", why="elsewhere")

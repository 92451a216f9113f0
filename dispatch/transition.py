"""The one way a case or an offer changes: a conditional UPDATE, its audit row, its events.

Every write unit about a case changes the case row first (a change of version is enough): that one
UPDATE is the lock and the race, so that units queue up instead of waiting for each other in a
circle. A unit that loses raises LostRace and starts again from what is true now.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import database, events, lifecycle
from broker.errors import LostRace
from broker.lifecycle import CaseStatus, OfferStatus
from broker.tables import Case, Offer
from dispatch.access import GRANTING_OFFERS, Actor


class Ended(StrEnum):
    """Why we took an offer back."""

    PLACED_ELSEWHERE = "placed_elsewhere"
    CASE_CANCELLED = "case_cancelled"
    NO_ANSWER = "no_answer"
    GIVEN_BACK = "given_back"
    PASSED_BY_CREW = "passed_by_crew"
    CONTROL_ROOM = "control_room"


def move_case(
    session: Session, case: Case, to: CaseStatus, actor: Actor, *, tell: str | None, **values: Any
) -> None:
    """Move a case (or, with its own status, only raise its version) or raise LostRace.

    `tell` names the event that the ambulance and the control room get; None tells nobody yet.
    IllegalTransition when the table of lifecycle.py does not allow the move.
    """
    before = case.status
    if to is not before:
        lifecycle.check(before, to)
    won = database.changed(
        session,
        update(Case)
        .where(Case.id == case.id, Case.status == before, Case.version == case.version)
        .values(status=to, version=Case.version + 1, updated_at=database.now(session), **values),
    )
    if won != 1:
        raise LostRace(case_id=str(case.id))
    session.refresh(case)
    if to is not before:
        events.audit(
            session, actor.name, f"case.{to}", case.id, before=str(before), version=case.version
        )
    if tell:
        tell_crew(session, case, tell)


def tell_crew(session: Session, case: Case, type_: str, **body: Any) -> None:
    """An event for the originating ambulance and the control room, with the case's state."""
    facts = {"status": case.status, "version": case.version, "acuity": case.acuity, **body}
    events.announce(session, events.ambulance(case.ambulance_id), type_, case.id, **facts)
    events.announce(session, events.CONTROL_ROOM, type_, case.id, **facts)


def tell_emergency_room(
    session: Session, offer: Offer, type_: str, case: Case, **body: Any
) -> None:
    """An event for one ER about its offer; ids and states only, details are fetched by grant.

    Once the offer grants nothing, how urgent the case is says nothing to this ER any more.
    """
    granted = offer.status in GRANTING_OFFERS
    events.announce(
        session,
        events.emergency_room(offer.emergency_room_id),
        type_,
        case.id,
        offer_id=str(offer.id),
        offer_status=offer.status,
        status=case.status,
        version=case.version,
        acuity=case.acuity if granted else None,
        **body,
    )


def tell_granted(session: Session, case: Case, type_: str, **body: Any) -> None:
    """An event for every ER that may see the case just now."""
    granted = session.scalars(
        select(Offer).where(Offer.case_id == case.id, Offer.status.in_(GRANTING_OFFERS))
    )
    for offer in granted:
        tell_emergency_room(session, offer, type_, case, **body)


def tell_holder(session: Session, case: Case, type_: str, **body: Any) -> None:
    """An event for the ER that has accepted the case, if any; for what only it may know."""
    held = select(Offer).where(Offer.case_id == case.id, Offer.status == OfferStatus.ACCEPTED)
    for offer in session.scalars(held):
        tell_emergency_room(session, offer, type_, case, **body)


def move_offer(
    session: Session, offer: Offer, to: OfferStatus, actor: Actor, **values: Any
) -> None:
    """Move one offer or raise LostRace; the case row was changed before in the same unit."""
    before = offer.status
    lifecycle.check(before, to)
    won = database.changed(
        session,
        update(Offer)
        .where(Offer.id == offer.id, Offer.status == before)
        .values(status=to, **values),
    )
    if won != 1:
        raise LostRace(offer_id=str(offer.id))
    session.refresh(offer)
    events.audit(
        session,
        actor.name,
        f"offer.{to}",
        offer.case_id,
        offer_id=str(offer.id),
        before=str(before),
        reason=offer.reason_code or offer.ended_reason,
    )


def end_offers(
    session: Session,
    case: Case,
    offers: Iterable[Offer],
    to: OfferStatus,
    actor: Actor,
    reason: str,
) -> list[UUID]:
    """Withdraw or expire offers and tell their ERs; returns the ERs."""
    ended = []
    for offer in offers:
        move_offer(session, offer, to, actor, ended_reason=reason)
        tell_emergency_room(session, offer, f"offer.{to}", case, reason=reason)
        ended.append(offer.emergency_room_id)
    return ended

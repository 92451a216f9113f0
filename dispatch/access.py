"""Who sees what: the one filter between an actor and the rows.

Every query of a door goes through here. An offer is the grant: an ER sees a case while its offer is
open or held, and no longer. What is invisible is answered as if it did not exist (404).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, false, or_, select, true
from sqlalchemy.orm import Session, aliased

from broker import database, events
from broker.errors import NotFound
from broker.lifecycle import OPEN_OFFERS, OfferStatus, Role
from broker.tables import Case, Message, Offer, Patient

T = TypeVar("T")

GRANTING_OFFERS = OPEN_OFFERS | {OfferStatus.ACCEPTED}
"""While an offer is in one of these, its ER may see the case."""


FEW = 1000


@dataclass(frozen=True)
class Actor:
    """Whoever asks: a person, a device, or the system itself."""

    role: Role
    name: str
    """`account:<id>` or `device:<id>`, for the audit."""
    ambulance_id: UUID | None = None
    emergency_room_id: UUID | None = None

    @property
    def audience(self) -> str | None:
        """Whose events this actor reads; operations and admin read none."""
        if self.role is Role.CREW and self.ambulance_id:
            return events.ambulance(self.ambulance_id)
        if self.role is Role.EMERGENCY_ROOM and self.emergency_room_id:
            return events.emergency_room(self.emergency_room_id)
        if self.role is Role.CONTROL_ROOM:
            return events.CONTROL_ROOM
        return None


SYSTEM = Actor(Role.ADMIN, "system")
"""Deadlines and workers."""


def cases_visible_to(actor: Actor) -> ColumnElement[bool]:
    """A WHERE clause over Case; a crew's own are found by it."""
    if actor.role is Role.CREW:
        return Case.ambulance_id == actor.ambulance_id
    return each_case_visible_to(actor)


def each_case_visible_to(actor: Actor) -> ColumnElement[bool]:
    """The same asked of each case by itself: for cases that something else has found."""
    if actor.role is Role.CONTROL_ROOM or actor is SYSTEM:
        return true()
    if actor.role is Role.CREW:
        return database.not_sought(Case.ambulance_id) == actor.ambulance_id
    if actor.role is Role.EMERGENCY_ROOM:
        return (
            select(Offer.id)
            .where(
                Offer.case_id == Case.id,
                database.not_sought(Offer.emergency_room_id) == actor.emergency_room_id,
                Offer.status.in_(GRANTING_OFFERS),
            )
            .exists()
        )
    return false()


def all_cases_of(session: Session, actor: Actor) -> ColumnElement[bool]:
    """The same for a list over the years: an ER's are found from its offers while these are few,
    and asked of each case, the newest first, when they are many."""
    if actor.role is not Role.EMERGENCY_ROOM:
        return cases_visible_to(actor)
    own = session.scalars(
        select(Offer.case_id)
        .where(
            Offer.emergency_room_id == actor.emergency_room_id, Offer.status.in_(GRANTING_OFFERS)
        )
        .limit(FEW + 1)
    ).all()
    return Case.id.in_(own) if len(own) <= FEW else each_case_visible_to(actor)


def offers_visible_to(actor: Actor) -> ColumnElement[bool]:
    """A WHERE clause over Offer; the crew sees its cases' offers, an ER its own."""
    if actor.role is Role.EMERGENCY_ROOM:
        return Offer.emergency_room_id == actor.emergency_room_id
    if actor.role is Role.CREW:
        return Offer.case_id.in_(select(Case.id).where(Case.ambulance_id == actor.ambulance_id))
    return each_offer_visible_to(actor)


def each_offer_visible_to(actor: Actor) -> ColumnElement[bool]:
    """The same asked of each offer by itself: for offers that something else has found."""
    if actor.role is Role.CONTROL_ROOM or actor is SYSTEM:
        return true()
    if actor.role is Role.EMERGENCY_ROOM:
        return database.not_sought(Offer.emergency_room_id) == actor.emergency_room_id
    if actor.role is Role.CREW:
        theirs = aliased(Case)  # whoever asks may have joined the cases
        own = database.not_sought(theirs.ambulance_id) == actor.ambulance_id
        return select(theirs.id).where(theirs.id == Offer.case_id, own).exists()
    return false()


def messages_visible_to(actor: Actor) -> ColumnElement[bool]:
    """A WHERE clause over Message: those one sent or got."""
    audience = actor.audience
    if audience is None:
        return false()
    return or_(Message.sender == audience, Message.recipient == audience)


def identified_cases(actor: Actor) -> ColumnElement[bool]:
    """A WHERE clause over Case: those whose patient's identity this actor may see.

    The crew's own, those that the ER accepted (not those it is asked about), all for the control
    room.
    """
    if actor.role is not Role.EMERGENCY_ROOM:
        return each_case_visible_to(actor)
    return (
        select(Offer.id)
        .where(
            Offer.case_id == Case.id,
            database.not_sought(Offer.emergency_room_id) == actor.emergency_room_id,
            Offer.status == OfferStatus.ACCEPTED,
        )
        .exists()
    )


def patients_visible_to(actor: Actor) -> ColumnElement[bool]:
    """A WHERE clause over Patient: those with an identified case, also one of a merged patient.

    Asked of each patient by itself: for patients that something else has found.
    """
    if actor.role is Role.CONTROL_ROOM or actor is SYSTEM:
        return true()
    if actor.role not in {Role.CREW, Role.EMERGENCY_ROOM}:
        return false()
    member = aliased(Patient)
    return (
        select(member.id)
        .join(Case, Case.patient_id == member.id)
        .where(member.root_id == Patient.root_id, identified_cases(actor))
        .exists()
    )


def patients_of(actor: Actor) -> ColumnElement[bool]:
    """The same patients, found from the actor's own cases: for a list of all that it may see."""
    if actor.role not in {Role.CREW, Role.EMERGENCY_ROOM}:
        return patients_visible_to(actor)
    member = aliased(Patient)
    roots = select(member.root_id).join(Case, Case.patient_id == member.id)
    if actor.role is Role.CREW:
        own = roots.where(cases_visible_to(actor))
    else:
        own = roots.where(Case.id.in_(_accepted_by(actor)))
    return Patient.id.in_(own)


def _accepted_by(actor: Actor) -> Select[UUID]:
    """Ids of the cases that this ER accepted."""
    return select(Offer.case_id).where(
        Offer.emergency_room_id == actor.emergency_room_id,
        Offer.status == OfferStatus.ACCEPTED,
    )


def patient(session: Session, actor: Actor, patient_id: UUID) -> Patient:
    """The patient, or NotFound when it does not exist for this actor."""
    return _one(
        session,
        select(Patient).where(Patient.id == patient_id, patients_visible_to(actor)),
        "patient",
        patient_id,
    )


def case(session: Session, actor: Actor, case_id: UUID) -> Case:
    """The case, or NotFound when it does not exist for this actor."""
    return _one(
        session,
        select(Case).where(Case.id == case_id, each_case_visible_to(actor)),
        "case",
        case_id,
    )


def offer(session: Session, actor: Actor, offer_id: UUID) -> Offer:
    """The offer, or NotFound when it does not exist for this actor."""
    return _one(
        session,
        select(Offer).where(Offer.id == offer_id, each_offer_visible_to(actor)),
        "offer",
        offer_id,
    )


def sees_identity(actor: Actor, holder: UUID | None) -> bool:
    """Name and identifier go to the crew, the control room and the ER that holds the case."""
    if actor.role in {Role.CREW, Role.CONTROL_ROOM}:
        return True
    if actor.role is not Role.EMERGENCY_ROOM:
        return False
    return holder is not None and holder == actor.emergency_room_id


def holding_emergency_room(session: Session, case_id: UUID) -> UUID | None:
    """The ER whose accepted offer holds the case, if any."""
    return holders(session, [case_id]).get(case_id)


def holders(session: Session, case_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """The same of many cases, by case; one that nobody holds is not in it."""
    rows = session.execute(
        select(Offer.case_id, Offer.emergency_room_id).where(
            Offer.case_id.in_(case_ids), Offer.status == OfferStatus.ACCEPTED
        )
    )
    return {row[0]: row[1] for row in rows}


def _one(session: Session, query: Select[T], kind: str, id_: UUID) -> T:
    found = session.scalars(query).one_or_none()
    if found is None:
        raise NotFound(f"there is no {kind} {id_}, or you may not see it")
    return found

"""What the control room does to a case: pin or veto an ER, assign one, let a waiting case go on.

An assignment is an acceptance that the control room speaks for the ER: the same states, the same
one conditional UPDATE, so the first wins. The ER is told with the reason and may give the case back
like any other. Who may do this is the door's; who sees what is access.py's.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import AlreadyTaken, Conflict, DirectiveStands, NotFound
from broker.lifecycle import (
    HELD_CASES,
    OPEN_OFFERS,
    SEEKING_CASES,
    CaseStatus,
    DirectiveKind,
    NotificationStep,
    OfferStatus,
)
from broker.settings import Settings
from broker.tables import Case, Directive, EmergencyRoom, Offer
from dispatch import access, advance, asking, directives, notify, offers
from dispatch.access import Actor
from dispatch.transition import Ended, end_offers, move_case, tell_emergency_room


def direct(
    session: Session,
    settings: Settings,
    actor: Actor,
    case_id: UUID,
    room_id: UUID,
    kind: DirectiveKind,
    reason: str,
) -> Directive:
    """Pin or veto an ER for a case that nobody holds; the same word twice is one.

    A pinned ER is asked at once while the search runs, or first when it begins. A veto takes back
    an open offer to that ER, and it is told. Conflict (409) when somebody holds the case, or when
    the other word stands already.
    """
    case = access.case(session, actor, case_id)
    room = _room(session, room_id)
    _must_seek(case)
    move_case(session, case, case.status, actor, tell=None)
    given, new = directives.add(session, actor, case, room.id, kind, reason)
    now = database.now(session)
    if new and kind is DirectiveKind.VETO:
        _take_back(session, settings, case, room, actor, now)
    elif new and case.status in asking.SEARCHING:
        _ask(session, settings, case, room, now)
    return given


def lift(session: Session, actor: Actor, case_id: UUID, room_id: UUID) -> None:
    """Take a pin or a veto back; without one nothing happens."""
    case = access.case(session, actor, case_id)
    _room(session, room_id)
    if directives.find(session, case.id, room_id) is None:
        return
    move_case(session, case, case.status, actor, tell=None)
    directives.remove(session, actor, case, room_id)


def assign(
    session: Session,
    settings: Settings,
    actor: Actor,
    case_id: UUID,
    room_id: UUID,
    reason: str,
) -> Offer:
    """Place a case at an ER on the control room's word; a diverted ER may be named, too.

    AlreadyTaken (409) when another ER holds the case, Conflict (409) when the case is over or the
    ER is vetoed. Assigning the ER that holds it already changes nothing.
    """
    case = access.case(session, actor, case_id)
    room = _room(session, room_id)
    if case.status in HELD_CASES:
        held = session.scalars(
            select(Offer).where(Offer.case_id == case.id, Offer.status == OfferStatus.ACCEPTED)
        ).one_or_none()  # none: a hospital outside of the system has it
        if held is not None and held.emergency_room_id == room_id:
            return held
        raise AlreadyTaken(status=str(case.status))
    _must_seek(case)
    said = directives.find(session, case.id, room_id)
    if said is not None and said.kind is DirectiveKind.VETO:
        raise DirectiveStands(
            f"this ER is vetoed for this case ({said.reason}); take the veto back first",
            reason="veto",
        )
    now = database.now(session)
    if case.status is CaseStatus.RECEIVED:
        advance.open_search(session, settings, case, now)
    else:
        move_case(session, case, case.status, actor, tell=None)  # the lock, before any offer
    offer = _offer_to(session, settings, case, room, now)
    offer.assigned_by, offer.assigned_reason = actor.name, reason
    values: dict[str, object] = {"decided_at": now, "decided_by": actor.name}
    offers.hold(session, settings, case, offer, actor, now, values)
    diverted = room.diversion_until_at is not None and room.diversion_until_at > now
    events.audit(
        session,
        actor.name,
        "case.assigned_by_control_room",
        case.id,
        room=str(room.id),
        reason=reason,
        on_diversion=diverted,
    )
    tell_emergency_room(
        session, offer, "offer.assigned", case, reason=reason, on_diversion=diverted
    )
    notify.plan(session, settings, [offer], NotificationStep.OFFERED)
    return offer


def proceed(session: Session, settings: Settings, actor: Actor, case_id: UUID) -> Case:
    """Let a case that waits for the control room go on by itself now; Conflict if it does not."""
    case = access.case(session, actor, case_id)
    now = database.now(session)
    if not advance.waits_for_control_room(case, now):
        raise Conflict("this case does not wait for the control room", status=str(case.status))
    move_case(
        session, case, case.status, actor, tell=None, control_room_until_at=now, deadline_at=now
    )
    events.audit(session, actor.name, "case.proceeds", case.id)
    advance.advance(session, settings, case.id)
    return case


def _room(session: Session, room_id: UUID) -> EmergencyRoom:
    room = session.get(EmergencyRoom, room_id)
    if room is None or not room.active:
        raise NotFound(f"there is no emergency room {room_id}")
    return room


def _must_seek(case: Case) -> None:
    if case.status in HELD_CASES:
        raise AlreadyTaken(status=str(case.status))
    if case.status not in SEEKING_CASES:
        raise Conflict(f"the case is {case.status}", status=str(case.status))


def _open_offer(session: Session, case: Case, room: EmergencyRoom) -> Offer | None:
    """The newest open offer of a case to an ER."""
    return session.scalars(
        select(Offer)
        .where(
            Offer.case_id == case.id,
            Offer.emergency_room_id == room.id,
            Offer.status.in_(OPEN_OFFERS),
        )
        .order_by(Offer.round.desc())
        .limit(1)
    ).one_or_none()


def _asked_in_round(session: Session, case: Case, room: EmergencyRoom) -> bool:
    found = session.scalar(
        select(Offer.id).where(
            Offer.case_id == case.id,
            Offer.emergency_room_id == room.id,
            Offer.round == case.round,
        )
    )
    return found is not None


def _ask(
    session: Session, settings: Settings, case: Case, room: EmergencyRoom, now: datetime
) -> None:
    """Ask a pinned ER in the present round; one that answered in it is asked in the next."""
    if _open_offer(session, case, room) is not None or _asked_in_round(session, case, room):
        return
    ranked = asking.rank(session, settings, case, asking.facts(session, case, [room], now), now)
    place = asking.next_rank(session, case)
    asking.tell_round(
        session, case, asking.ask(session, settings, case, ranked, now, first_rank=place)
    )


def _offer_to(
    session: Session, settings: Settings, case: Case, room: EmergencyRoom, now: datetime
) -> Offer:
    """The open offer to an ER, or a new one that nobody is asked by."""
    found = _open_offer(session, case, room)
    if found is not None:
        return found
    (ranked,) = asking.rank(session, settings, case, asking.facts(session, case, [room], now), now)
    offer = Offer(
        case_id=case.id,
        emergency_room_id=room.id,
        round=case.round + 1 if _asked_in_round(session, case, room) else case.round,
        rank=1,
        status=OfferStatus.REQUESTED,
        eta_min=ranked.eta_min,
        distance_km=ranked.distance_km,
        explanation=asking.explanation(ranked),
        offered_at=now,
    )
    session.add(offer)
    session.flush()
    return offer


def _take_back(
    session: Session,
    settings: Settings,
    case: Case,
    room: EmergencyRoom,
    actor: Actor,
    now: datetime,
) -> None:
    """End the open offers to a vetoed ER; another is asked in its place, or the search goes on at
    once when no other is left."""
    opened = asking.open_offers(session, case.id)
    ended = [offer for offer in opened if offer.emergency_room_id == room.id]
    end_offers(session, case, ended, OfferStatus.WITHDRAWN, actor, Ended.CONTROL_ROOM.value)
    if ended and len(ended) == len(opened):
        case.deadline_at = now
        session.flush()
    elif ended:
        asking.ask_instead(session, settings, case, now)

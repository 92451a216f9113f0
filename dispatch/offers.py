"""Answers to offers: note what was shown, decide, take, pass, give back; first accept wins.

Every function takes a session and changes the case row first (dispatch/transition.py). Who is asked
is asking.py's; when to ask again is advance's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy.orm import Session

from broker import database
from broker.errors import AlreadyDecided, AlreadyTaken, Conflict, Invalid, OfferGone
from broker.lifecycle import (
    HELD_CASES,
    OPEN_OFFERS,
    SEEKING_CASES,
    CaseStatus,
    DeclineReason,
    OfferStatus,
)
from broker.settings import Settings
from broker.tables import Case, Offer
from dispatch import access, asking
from dispatch.access import Actor
from dispatch.transition import (
    Ended,
    end_offers,
    move_case,
    move_offer,
    tell_crew,
    tell_emergency_room,
    tell_granted,
)


class Decision(StrEnum):
    """What an ER may answer."""

    ACCEPT = "accept"
    ACCEPT_WITH_DELAY = "accept_with_delay"
    REJECT = "reject"


MAX_DELAY_MIN = 240
"""Longest promise of a bed; the database checks the same."""


def mark_received(session: Session, actor: Actor, offer_id: UUID) -> Offer:
    """Note that the offer was shown on the ER's screen; a second call changes nothing."""
    offer = access.offer(session, actor, offer_id)
    if offer.status is not OfferStatus.REQUESTED:
        return offer
    case = access.case(session, actor, offer.case_id)
    move_case(session, case, case.status, actor, tell=None)
    move_offer(session, offer, OfferStatus.RECEIVED, actor, received_at=database.now(session))
    tell_crew(session, case, "offer.received", emergency_room_id=str(offer.emergency_room_id))
    return offer


def decide(
    session: Session,
    settings: Settings,
    actor: Actor,
    offer_id: UUID,
    decision: Decision,
    *,
    reason_code: DeclineReason | None = None,
    note: str | None = None,
    delay_min: int | None = None,
) -> Offer:
    """An ER's answer. The same answer twice is one answer.

    Raises AlreadyTaken (409) when another ER was first, AlreadyDecided (409) when this ER answered
    otherwise, OfferGone (410) when the offer was withdrawn or has expired, Invalid when a reason or
    a delay is missing.
    """
    if decision is Decision.REJECT and reason_code is None:
        raise Invalid("reason_code is missing: say why, from the list", field="reason_code")
    if decision is Decision.ACCEPT_WITH_DELAY and not 1 <= (delay_min or 0) <= MAX_DELAY_MIN:
        raise Invalid(
            f"delay_min: say in how many minutes, 1 to {MAX_DELAY_MIN}", field="delay_min"
        )
    offer = access.offer(session, actor, offer_id)
    to = {
        Decision.ACCEPT: OfferStatus.ACCEPTED,
        Decision.ACCEPT_WITH_DELAY: OfferStatus.ACCEPTED_WITH_DELAY,
        Decision.REJECT: OfferStatus.REJECTED,
    }[decision]
    another_delay = to is OfferStatus.ACCEPTED_WITH_DELAY and offer.delay_min != delay_min
    if offer.status is to and not another_delay:
        return offer
    case = session.get_one(Case, offer.case_id)
    if offer.status not in OPEN_OFFERS:
        raise _closed(offer, case)
    if offer.status is to:
        raise AlreadyDecided(
            "you have already promised another delay; withdraw it by accepting or declining",
            offer_status=str(offer.status),
        )
    if case.status not in SEEKING_CASES:
        raise AlreadyTaken(status=str(case.status))
    now = database.now(session)
    values = {
        "decided_at": now,
        "decided_by": actor.name,
        "reason_code": reason_code,
        "note": note,
        "delay_min": delay_min,
    }
    if decision is Decision.ACCEPT:
        hold(session, settings, case, offer, actor, now, values)
    else:
        due = _due_if_last(session, case, offer, now) if decision is Decision.REJECT else {}
        move_case(session, case, case.status, actor, tell=None, **due)
        move_offer(session, offer, to, actor, **values)
        tell_crew(
            session,
            case,
            f"offer.{to}",
            offer_id=str(offer.id),
            emergency_room_id=str(offer.emergency_room_id),
            reason_code=reason_code,
            delay_min=delay_min,
        )
        tell_emergency_room(session, offer, f"offer.{to}", case)  # its other screens
        if decision is Decision.REJECT:
            asking.ask_instead(session, settings, case, now)
    return offer


def take(session: Session, settings: Settings, actor: Actor, offer_id: UUID) -> Offer:
    """The crew takes a "yes, in N minutes": assigned and acknowledged in one step."""
    offer = access.offer(session, actor, offer_id)
    case = access.case(session, actor, offer.case_id)
    if offer.status is OfferStatus.ACCEPTED:
        return offer
    if offer.status is not OfferStatus.ACCEPTED_WITH_DELAY:
        raise _closed(offer, case)
    if case.status not in SEEKING_CASES:
        raise AlreadyTaken(status=str(case.status))
    now = database.now(session)
    hold(session, settings, case, offer, actor, now, {})
    acknowledge(session, settings, actor, case, now)
    return offer


def pass_over(
    session: Session, settings: Settings, actor: Actor, offer_id: UUID, note: str | None
) -> Offer:
    """The crew passes a counter-offer, or gives back an accepted ER it cannot use."""
    offer = access.offer(session, actor, offer_id)
    case = access.case(session, actor, offer.case_id)
    if offer.status is OfferStatus.ACCEPTED:
        _search_again(session, settings, case, offer, actor, Ended.PASSED_BY_CREW, note)
    elif offer.status is OfferStatus.ACCEPTED_WITH_DELAY:
        now = database.now(session)
        due = _due_if_last(session, case, offer, now)
        move_case(session, case, case.status, actor, tell=None, **due)
        end_offers(session, case, [offer], OfferStatus.WITHDRAWN, actor, Ended.PASSED_BY_CREW.value)
        asking.ask_instead(session, settings, case, now)
    elif offer.ended_reason != Ended.PASSED_BY_CREW:
        raise _closed(offer, case)
    return offer


def withdraw(
    session: Session,
    settings: Settings,
    actor: Actor,
    offer_id: UUID,
    reason_code: DeclineReason,
    note: str | None,
) -> Offer:
    """An ER gives an accepted case back, with a reason; the search starts again at once."""
    offer = access.offer(session, actor, offer_id)
    if offer.ended_reason == Ended.GIVEN_BACK:
        return offer
    case = session.get_one(Case, offer.case_id)
    if offer.status is not OfferStatus.ACCEPTED:
        raise _closed(offer, case)
    _search_again(
        session, settings, case, offer, actor, Ended.GIVEN_BACK, note, reason_code=reason_code
    )
    return offer


def acknowledge(
    session: Session, settings: Settings, actor: Actor, case: Case, now: datetime
) -> None:
    """The crew confirms the decision; both sides know. A second call changes nothing."""
    if case.status in HELD_CASES - {CaseStatus.ASSIGNED}:
        return
    move_case(
        session,
        case,
        CaseStatus.ACKNOWLEDGED,
        actor,
        tell="case.acknowledged",
        acknowledged_at=now,
        deadline_at=now + timedelta(seconds=settings.scaled(settings.transport_deadline_s)),
    )
    tell_granted(session, case, "case.acknowledged")


def hold(
    session: Session,
    settings: Settings,
    case: Case,
    offer: Offer,
    actor: Actor,
    now: datetime,
    values: dict[str, object],
) -> None:
    """Give a case to the ER of an offer: the first wins, every other offer is withdrawn."""
    move_case(
        session,
        case,
        CaseStatus.ASSIGNED,
        actor,
        tell=None,
        assigned_at=now,
        deadline_at=now + timedelta(seconds=settings.scaled(settings.acknowledge_deadline_s)),
    )
    move_offer(session, offer, OfferStatus.ACCEPTED, actor, **values)
    others = [o for o in asking.open_offers(session, case.id) if o.id != offer.id]
    end_offers(session, case, others, OfferStatus.WITHDRAWN, actor, Ended.PLACED_ELSEWHERE.value)
    tell_crew(
        session,
        case,
        "case.assigned",
        offer_id=str(offer.id),
        emergency_room_id=str(offer.emergency_room_id),
    )
    tell_emergency_room(session, offer, "offer.accepted", case)


def reopen(session: Session, settings: Settings, case: Case, actor: Actor, now: datetime) -> None:
    """A case that was held is searched for again, in a new round; asks nobody yet."""
    move_case(
        session,
        case,
        CaseStatus.OFFERING,
        actor,
        tell=None,
        round=case.round + 1,
        search_opened_at=now,
        round_opened_at=now,
        deadline_at=now + timedelta(seconds=settings.steps(case.acuity or 3).remind_s),
        assigned_at=None,
        acknowledged_at=None,
    )


def _search_again(
    session: Session,
    settings: Settings,
    case: Case,
    offer: Offer,
    actor: Actor,
    why: Ended,
    note: str | None,
    reason_code: DeclineReason | None = None,
) -> None:
    now = database.now(session)
    reopen(session, settings, case, actor, now)
    move_offer(
        session,
        offer,
        OfferStatus.WITHDRAWN,
        actor,
        ended_reason=why.value,
        reason_code=reason_code,
        note=note,
    )
    tell_crew(
        session,
        case,
        "case.offering",
        reason=why.value,
        reason_code=reason_code,
        emergency_room_id=str(offer.emergency_room_id),
    )
    tell_emergency_room(session, offer, "offer.withdrawn", case, reason=why.value)
    if not asking.open_round(session, settings, case, now):
        case.deadline_at = now  # nobody to ask: advance alarms the control room at once


def _due_if_last(session: Session, case: Case, ending: Offer, now: datetime) -> dict[str, datetime]:
    """A deadline of now when no other offer is open: the next ERs must not wait for a reminder."""
    others = [o for o in asking.open_offers(session, case.id) if o.id != ending.id]
    return {} if others else {"deadline_at": now}


def _closed(offer: Offer, case: Case) -> Conflict | OfferGone:
    """Why an offer that is not open cannot be answered."""
    facts = {"offer_status": str(offer.status), "reason": offer.ended_reason}
    if offer.status in {OfferStatus.ACCEPTED, OfferStatus.REJECTED}:
        return AlreadyDecided(f"you have already answered this offer: {offer.status}", **facts)
    if offer.status in OPEN_OFFERS:
        return Conflict("this offer is not held by you", **facts)
    if offer.ended_reason == Ended.PLACED_ELSEWHERE and case.status in HELD_CASES:
        return AlreadyTaken(**facts)
    return OfferGone(**facts)

"""Offers to ERs: open a round, note what was shown, decide, take, withdraw; first accept wins.

Every function takes a session and changes the case row first (dispatch/transition.py). Who is asked
is routing's choice; when to ask again is advance's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import AlreadyDecided, AlreadyTaken, Conflict, Invalid, OfferGone
from broker.lifecycle import (
    HELD_CASES,
    OPEN_OFFERS,
    SEEKING_CASES,
    UNANSWERED_OFFERS,
    CaseStatus,
    DeclineReason,
    NotificationStep,
    OfferStatus,
)
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Offer
from dispatch import access, beds, behaviour, directives, learning, notify, road_times, routing
from dispatch.access import GRANTING_OFFERS, Actor
from dispatch.routing import Chosen, EmergencyCentreLevel, EmergencyRoomFacts, Ranked
from dispatch.transition import (
    Ended,
    end_offers,
    move_case,
    move_offer,
    tell_crew,
    tell_emergency_room,
    tell_granted,
)
from dispatch.travel import position_or_none
from dispatch.triage import Capability


class Decision(StrEnum):
    """What an ER may answer."""

    ACCEPT = "accept"
    ACCEPT_WITH_DELAY = "accept_with_delay"
    REJECT = "reject"


MAX_DELAY_MIN = 240
"""Longest promise of a bed; the database checks the same."""


def open_round(session: Session, settings: Settings, case: Case, now: datetime) -> list[Offer]:
    """Offer the case to the next best ERs; an empty list when nobody is left to ask.

    The caller has just moved the case row and set its round.
    """
    rooms = candidates(session, settings, case, now)
    ranked = rank(session, settings, case, rooms, now, asked=_times_asked(session, case.id))
    chosen = routing.choose_set(
        ranked,
        settings.offers_per_round,
        pinned=directives.pinned(session, case.id),
        vetoed=directives.vetoed(session, case.id),
    )
    _tell_few(session, settings, case, chosen)
    return ask(session, settings, case, chosen.rooms, now, of_set=chosen)


def rank(
    session: Session,
    settings: Settings,
    case: Case,
    rooms: Sequence[EmergencyRoomFacts],
    now: datetime,
    asked: Mapping[UUID, int] | None = None,
) -> Sequence[Ranked]:
    """ERs in the order in which they suit a case as it was last triaged."""
    judged = case.triage or {}
    position = position_or_none(case.latitude, case.longitude)
    return routing.rank(
        position,
        tuple(Capability(need) for need in judged.get("needs", [])),
        case.acuity or 3,
        rooms,
        now=now,
        asked=asked,
        wished=tuple(Capability(wish) for wish in judged.get("wishes", [])),
        by_road=road_times.by_road(session, settings, position, rooms),
        answer_within_s=replace(settings, time_scale=1.0).steps(case.acuity or 3).widen_s,
    )


def ask(
    session: Session,
    settings: Settings,
    case: Case,
    chosen: Sequence[Ranked],
    now: datetime,
    first_rank: int = 1,
    of_set: Chosen | None = None,
) -> list[Offer]:
    """Offer the case to these ERs in its present round."""
    opened = [
        Offer(
            case_id=case.id,
            emergency_room_id=choice.id,
            round=case.round,
            rank=place,
            status=OfferStatus.REQUESTED,
            eta_min=choice.eta_min,
            distance_km=choice.distance_km,
            explanation=explanation(choice, of_set),
            offered_at=now,
        )
        for place, choice in enumerate(chosen, start=first_rank)
    ]
    session.add_all(opened)
    session.flush()
    for offer in opened:
        tell_emergency_room(session, offer, "offer.requested", case, eta_min=offer.eta_min)
    if (case.acuity or 3) <= notify.URGENT_ACUITY:
        notify.plan(session, settings, opened, NotificationStep.OFFERED)
    return opened


def explanation(choice: Ranked, of_set: Chosen | None = None) -> dict[str, Any]:
    """Score by part and the reasons of one ER, and what is known of its set, as an offer keeps
    them."""
    own = asdict(choice)
    for name in ("id", "eta_min", "distance_km", "neighbourhood", "place"):
        del own[name]
    if of_set is not None:
        own["set"] = {
            "yes_probability": of_set.yes_probability,
            "gap_min": of_set.gap_min,
            "not_nearest": asdict(of_set.not_nearest) if of_set.not_nearest else None,
        }
    return own


def _tell_few(session: Session, settings: Settings, case: Case, chosen: Chosen) -> None:
    """Tell the control room when fewer suitable ERs were left than are asked at a time."""
    suitable = sum(choice.excluded_reason is None for choice in chosen.rooms)
    if suitable < settings.offers_per_round:
        events.announce(
            session,
            events.CONTROL_ROOM,
            "alarm.few_suitable",
            case.id,
            status=case.status,
            version=case.version,
            acuity=case.acuity,
            suitable=suitable,
            asked=len(chosen.rooms),
        )


def candidates(
    session: Session, settings: Settings, case: Case, now: datetime
) -> list[EmergencyRoomFacts]:
    """ERs that may be asked now: those never asked; then also those whose no is long ago.

    ERs on diversion stay in; routing asks them only when there is nobody else. Never one that the
    control room vetoed; one that it pinned also when it has said no.
    """
    asked = _by_emergency_room(session, case.id)
    never = directives.vetoed(session, case.id)
    pinned = directives.pinned(session, case.id)
    active = session.scalars(select(EmergencyRoom).where(EmergencyRoom.active)).all()
    rooms = [room for room in active if room.id not in never]
    may = [
        room
        for room in rooms
        if room.id not in asked
        or (room.id in pinned and not any(o.status in GRANTING_OFFERS for o in asked[room.id]))
    ]
    if all(_diverted(room, now) for room in may):
        said_no_before = now - timedelta(seconds=settings.scaled(settings.ask_again_s))
        may += [
            room
            for room in rooms
            if room.id in asked
            and room not in may
            and _may_be_asked_again(case, asked[room.id], said_no_before)
        ]
    return facts(session, may, now)


def facts(
    session: Session, rooms: Sequence[EmergencyRoom], now: datetime
) -> list[EmergencyRoomFacts]:
    """ERs as the ranking sees them, with how they have answered so far."""
    behaviours = learning.read(session, now)
    return [
        EmergencyRoomFacts(
            id=room.id,
            name=room.name,
            latitude=place.latitude if place else None,
            longitude=place.longitude if place else None,
            capabilities=beds.capabilities(room, now),
            on_diversion=_diverted(room, now),
            beds_available=room.beds_available,
            beds_at=room.beds_at,
            answer_rate=expected.answer_rate,
            accept_rate=expected.accept_rate,
            median_answer_s=expected.median_answer_s,
            offers_observed=expected.offers_observed,
            level=EmergencyCentreLevel(room.level),
        )
        for room in rooms
        for place in (position_or_none(room.latitude, room.longitude),)
        for expected in (behaviours.get(room.id, behaviour.PRIOR),)
    ]


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
        if decision is Decision.REJECT and settings.replace_declined and not due:
            _replace(session, settings, case, now)
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
        due = _due_if_last(session, case, offer, database.now(session))
        move_case(session, case, case.status, actor, tell=None, **due)
        end_offers(session, case, [offer], OfferStatus.WITHDRAWN, actor, Ended.PASSED_BY_CREW.value)
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


def open_offers(session: Session, case_id: UUID) -> list[Offer]:
    """Offers of a case that may still become accepted."""
    return list(
        session.scalars(
            select(Offer)
            .where(Offer.case_id == case_id, Offer.status.in_(OPEN_OFFERS))
            .order_by(Offer.emergency_room_id)
        )
    )


def unanswered(session: Session, case_id: UUID) -> list[Offer]:
    """Offers of a case that nobody has answered."""
    return [o for o in open_offers(session, case_id) if o.status in UNANSWERED_OFFERS]


def declined_in_round(session: Session, case: Case) -> list[Offer]:
    """Offers of a case's present round to which the answer was no."""
    found = session.scalars(
        select(Offer).where(
            Offer.case_id == case.id,
            Offer.round == case.round,
            Offer.status == OfferStatus.REJECTED,
        )
    )
    return list(found)


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
    others = [o for o in open_offers(session, case.id) if o.id != offer.id]
    end_offers(session, case, others, OfferStatus.WITHDRAWN, actor, Ended.PLACED_ELSEWHERE.value)
    tell_crew(
        session,
        case,
        "case.assigned",
        offer_id=str(offer.id),
        emergency_room_id=str(offer.emergency_room_id),
    )
    tell_emergency_room(session, offer, "offer.accepted", case)


def _replace(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    """Ask the next best ER beside the open offers, so that a no does not cost the round's end.

    Only one that was never asked and may be; when nobody is left, the round goes on without.
    """
    missing = settings.offers_per_round - len(unanswered(session, case.id))
    if missing < 1 or case.status not in {CaseStatus.OFFERING, CaseStatus.UNPLACED}:
        return
    asked = _times_asked(session, case.id)
    fresh = [room for room in candidates(session, settings, case, now) if room.id not in asked]
    chosen = routing.choose_set(
        rank(session, settings, case, fresh, now), 1, pinned=directives.pinned(session, case.id)
    )
    may = [choice for choice in chosen.rooms if choice.excluded_reason is None][:1]
    last = session.scalar(
        select(func.max(Offer.rank)).where(Offer.case_id == case.id, Offer.round == case.round)
    )
    opened = ask(session, settings, case, may, now, first_rank=(last or 0) + 1)
    tell_round(session, case, opened)


def tell_round(session: Session, case: Case, opened: Sequence[Offer]) -> None:
    """Tell crew and control room whom a round asks; nothing when it asks nobody."""
    if opened:
        tell_crew(
            session,
            case,
            "case.offering",
            round=case.round,
            emergency_room_ids=[str(o.emergency_room_id) for o in opened],
        )


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
    if not open_round(session, settings, case, now):
        case.deadline_at = now  # nobody to ask: advance alarms the control room at once


def _due_if_last(session: Session, case: Case, ending: Offer, now: datetime) -> dict[str, datetime]:
    """A deadline of now when no other offer is open: the next ERs must not wait for a reminder."""
    others = [o for o in open_offers(session, case.id) if o.id != ending.id]
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


def _diverted(room: EmergencyRoom, now: datetime) -> bool:
    return room.diversion_until_at is not None and room.diversion_until_at > now


def _by_emergency_room(session: Session, case_id: UUID) -> dict[UUID, list[Offer]]:
    groups: dict[UUID, list[Offer]] = {}
    for offer in session.scalars(select(Offer).where(Offer.case_id == case_id)):
        groups.setdefault(offer.emergency_room_id, []).append(offer)
    return groups


def _may_be_asked_again(case: Case, earlier: list[Offer], said_no_before: datetime) -> bool:
    """No offer open or held, and every no of this ER (or of the crew to it) is long enough ago."""
    for offer in earlier:
        if offer.status in OPEN_OFFERS or offer.status is OfferStatus.ACCEPTED:
            return False
        said_no_at = None
        if offer.status is OfferStatus.REJECTED:
            said_no_at = offer.decided_at
        elif offer.ended_reason in {Ended.GIVEN_BACK, Ended.PASSED_BY_CREW}:
            said_no_at = case.search_opened_at  # not earlier than the search that it caused
        if said_no_at is not None and said_no_at >= said_no_before:
            return False
    return True


def _times_asked(session: Session, case_id: UUID) -> dict[UUID, int]:
    rows = session.execute(
        select(Offer.emergency_room_id, func.count())
        .where(Offer.case_id == case_id)
        .group_by(Offer.emergency_room_id)
    )
    return {row[0]: row[1] for row in rows}

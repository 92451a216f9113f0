"""Asking ERs: whom a round asks, whom it asks next, and what each is told about why.

Reads the record, lets routing choose, opens offers. Takes no answer (offers.py) and looks at no
deadline (advance.py); every function takes a session whose unit has moved the case row first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from broker import events
from broker.lifecycle import (
    OPEN_OFFERS,
    UNANSWERED_OFFERS,
    CaseStatus,
    NotificationStep,
    OfferStatus,
)
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom, Offer
from dispatch import beds, behaviour, directives, learning, notify, refusals, road_times, routing
from dispatch.access import GRANTING_OFFERS
from dispatch.routing import Chosen, EmergencyCentreLevel, EmergencyRoomFacts, Ranked
from dispatch.transition import Ended, tell_crew, tell_emergency_room
from dispatch.travel import position_or_none
from dispatch.triage import Capability

SEARCHING = frozenset({CaseStatus.OFFERING, CaseStatus.UNPLACED})
"""ERs are being asked."""


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


def ask_instead(session: Session, settings: Settings, case: Case, now: datetime) -> list[Offer]:
    """Ask one ER in the place of one that has just said no, where that is set.

    As many stay asked as were, up to two rounds' worth. Chosen as a set with those that may still
    answer, among ERs that were never asked for this case. Empty when nobody is left (the round goes
    on with whom it has) and when no offer is open (the next round is due now).
    """
    opened = open_offers(session, case.id)
    if not settings.replace_declined or case.status not in SEARCHING:
        return []
    if not 0 < len(opened) < 2 * settings.offers_per_round:
        return []
    waiting = {o.emergency_room_id for o in opened if o.status in UNANSWERED_OFFERS}
    asked = _times_asked(session, case.id)
    fresh = [r for r in candidates(session, settings, case, now) if r.id not in asked]
    beside = session.scalars(select(EmergencyRoom).where(EmergencyRoom.id.in_(waiting))).all()
    ranked = rank(session, settings, case, fresh + facts(session, case, beside, now), now)
    chosen = routing.choose_beside(ranked, waiting)
    place = next_rank(session, case)
    new = ask(session, settings, case, chosen.rooms, now, first_rank=place, of_set=chosen)
    tell_round(session, case, new)
    return new


def next_rank(session: Session, case: Case) -> int:
    """The place behind all that the present round has asked."""
    last = session.scalar(
        select(func.max(Offer.rank)).where(Offer.case_id == case.id, Offer.round == case.round)
    )
    return (last or 0) + 1


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
    return facts(session, case, may, now)


def facts(
    session: Session, case: Case, rooms: Sequence[EmergencyRoom], now: datetime
) -> list[EmergencyRoomFacts]:
    """ERs as a case's ranking sees them, with how they have answered, ever and in the last hour."""
    behaviours = learning.read(session, now)
    lately = learning.lately(session, now, case.id)
    needs = frozenset(Capability(need) for need in (case.triage or {}).get("needs", []))
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
            refused_min=refusals.ages_min(lately.get(room.id, ()), needs, now),
            level=EmergencyCentreLevel(room.level),
        )
        for room in rooms
        for place in (position_or_none(room.latitude, room.longitude),)
        for expected in (behaviours.get(room.id, behaviour.PRIOR),)
    ]


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


def freed_in_round(session: Session, case: Case) -> int:
    """How many offers of the present round have ended; each may have brought another one."""
    found = session.scalar(
        select(func.count())
        .select_from(Offer)
        .where(
            Offer.case_id == case.id,
            Offer.round == case.round,
            Offer.status.in_((OfferStatus.REJECTED, OfferStatus.WITHDRAWN)),
        )
    )
    return found or 0


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

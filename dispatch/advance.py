"""The only mover of a waiting case: looks at the clock and takes the next step.

Called when a reading ends, by the queue's `route` task and by upkeep at a deadline; whoever wins
the UPDATE takes the step, and calling it too often does nothing. Every live state leaves here with
a deadline.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.lifecycle import CaseStatus, NotificationStep, OfferStatus, ReadingStatus
from broker.settings import EscalationSteps, Settings
from broker.tables import Case, EmergencyRoom, Offer
from dispatch import access, amend, asking, beds, notify
from dispatch.access import SYSTEM
from dispatch.assessing import as_json, assess, current_readings
from dispatch.transition import (
    Ended,
    end_offers,
    move_case,
    tell_crew,
    tell_emergency_room,
    tell_granted,
)

ENDED_READINGS = frozenset({ReadingStatus.DONE, ReadingStatus.FAILED})


def advance(session: Session, settings: Settings, case_id: UUID) -> None:
    """Take the step that is due for a case, if any; LostRace when somebody else just did."""
    case = session.get(Case, case_id, populate_existing=True)
    if case is None or case.deadline_at is None:
        return
    now = database.now(session)
    match case.status:
        case CaseStatus.RECEIVED:
            _begin(session, settings, case, now)
        case CaseStatus.OFFERING | CaseStatus.UNPLACED if case.deadline_at <= now:
            _search(session, settings, case, now)
        case CaseStatus.ASSIGNED if case.deadline_at <= now:
            _remind_crew(session, settings, case, now)
        case CaseStatus.ACKNOWLEDGED | CaseStatus.EN_ROUTE if case.deadline_at <= now:
            move_case(
                session,
                case,
                case.status,
                SYSTEM,
                tell="alarm.no_news",
                deadline_at=now + timedelta(seconds=settings.scaled(settings.transport_deadline_s)),
            )
        case CaseStatus.ARRIVED if case.deadline_at <= now:
            move_case(
                session,
                case,
                CaseStatus.CLOSED,
                SYSTEM,
                tell="case.closed",
                deadline_at=None,
                ended_at=now,
                ended_reason="closed by deadline",
            )


def reassess(session: Session, settings: Settings, case: Case, why: str) -> None:
    """Triage again after new facts; what was decided stays, what is shown is amended.

    The caller has changed the case row in this unit. Open offers are ranked anew (amend.py); the
    ER that holds the case is told, with the capabilities that it lacks for what is needed now.
    """
    if case.status is CaseStatus.RECEIVED and case.control_room_until_at is None:
        return  # advance triages when the offers go out
    result, partial = assess(session, settings, case)
    before, needed = case.acuity, set((case.triage or {}).get("needs", []))
    case.acuity, case.triage, case.partial = result.acuity, as_json(result, settings), partial
    session.flush()
    now = database.now(session)
    worse = result.acuity < (before or 3)
    more = sorted(set(case.triage["needs"]) - needed)
    missing = _missing_at_holder(session, case, more)
    amend.rerank(session, settings, case, now)
    tell_crew(session, case, "case.amended", why=why, acuity_before=before, missing=missing)
    tell_granted(session, case, "offer.amended", why=why, acuity_before=before, missing=missing)
    if (worse or more) and case.status in asking.SEARCHING:
        asking.tell_round(session, case, amend.ask_one_more(session, settings, case, now))
    if worse and case.status in asking.SEARCHING and case.deadline_at is not None:
        due = _next_look(case, settings.steps(result.acuity))  # an urgent case is not left to wait
        case.deadline_at = max(now, min(case.deadline_at, due))
    if result.acuity <= notify.URGENT_ACUITY < (before or 3):
        silent = asking.unanswered(session, case.id)
        notify.plan(session, settings, silent, NotificationStep.OFFERED)


def patience(settings: Settings, crew_pre_ktas: int | None) -> timedelta:
    """How long a case waits for its readings, from its receipt on."""
    urgent = crew_pre_ktas is not None and crew_pre_ktas <= 2
    wait_s = settings.urgent_reading_deadline_s if urgent else settings.reading_deadline_s
    return timedelta(seconds=settings.scaled(wait_s))


def _begin(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    readings = current_readings(session, case)
    assert case.deadline_at is not None  # advance() looked
    ended = bool(readings) and all(r.status in ENDED_READINGS for r in readings)
    if case.deadline_at > now and not ended:  # no reading yet: its film is on the way
        return
    if _control_room_first(session, settings, case, now):
        return
    open_search(session, settings, case, now)
    asking.tell_round(session, case, asking.open_round(session, settings, case, now))
    if not asking.open_offers(session, case.id):
        _unplaced(session, settings, case, now)


def open_search(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    """Triage a received case and let its search begin; asks nobody yet."""
    result, partial = assess(session, settings, case)
    move_case(
        session,
        case,
        CaseStatus.OFFERING,
        SYSTEM,
        tell=None,
        acuity=result.acuity,
        triage=as_json(result, settings),
        partial=partial,
        round=1,
        search_opened_at=now,
        round_opened_at=now,
        first_offer_at=now,
        deadline_at=now + timedelta(seconds=settings.steps(result.acuity).remind_s),
    )


def waits_for_control_room(case: Case, now: datetime) -> bool:
    """Whether a received case waits for the control room's choice just now."""
    until = case.control_room_until_at
    return case.status is CaseStatus.RECEIVED and until is not None and until > now


def _control_room_first(session: Session, settings: Settings, case: Case, now: datetime) -> bool:
    """Whether the control room chooses first and its time is not over; says so once."""
    until = case.control_room_until_at
    if until is not None:
        if until > now and case.deadline_at is not None and case.deadline_at <= now:
            _sleep(session, case, until)
        return until > now
    if not settings.control_room_first_acuity:
        return False
    result, partial = assess(session, settings, case)
    if result.acuity > settings.control_room_first_acuity:
        return False
    until = now + timedelta(seconds=settings.scaled(settings.control_room_wait_s))
    move_case(
        session,
        case,
        CaseStatus.RECEIVED,
        SYSTEM,
        tell=None,
        acuity=result.acuity,
        triage=as_json(result, settings),
        partial=partial,
        control_room_until_at=until,
        deadline_at=until,
    )
    tell_crew(session, case, "alarm.control_room_chooses", until_at=until.isoformat())
    return True


def _search(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    assert case.search_opened_at is not None
    assert case.round_opened_at is not None
    steps = settings.steps(case.acuity or 3)
    opened = asking.open_offers(session, case.id)
    tired = [o for o in opened if o.offered_at + timedelta(seconds=steps.unplaced_s) <= now]
    waiting = [o for o in opened if o not in tired]
    widen_at = case.round_opened_at + timedelta(seconds=steps.widen_s)
    remind_at = case.round_opened_at + timedelta(seconds=steps.remind_s)
    unplaced_at = case.search_opened_at + timedelta(seconds=steps.unplaced_s)
    if not waiting or widen_at <= now:
        move_case(
            session,
            case,
            case.status,
            SYSTEM,
            tell=None,
            round=case.round + 1,
            round_opened_at=now,
            deadline_at=_next(case, steps.remind_s, unplaced_at, now),
        )
        end_offers(session, case, tired, OfferStatus.EXPIRED, SYSTEM, Ended.NO_ANSWER.value)
        new = asking.open_round(session, settings, case, now)
        if new:
            asking.tell_round(session, case, new)
        if (unplaced_at <= now or not (new or waiting)) and case.status is CaseStatus.OFFERING:
            _unplaced(session, settings, case, now)
        elif not (new or waiting):
            # Everybody said no a moment ago: look again in a while, not in a loop.
            _sleep(session, case, now + timedelta(seconds=steps.widen_s))
    elif case.reminded_round < case.round and remind_at <= now:
        move_case(
            session,
            case,
            case.status,
            SYSTEM,
            tell=None,
            reminded_round=case.round,
            deadline_at=min(widen_at, unplaced_at)
            if case.status is CaseStatus.OFFERING
            else widen_at,
        )
        silent = [
            offer
            for offer in asking.unanswered(session, case.id)
            if offer.offered_at + timedelta(seconds=steps.remind_s / 2) <= now  # not one just asked
        ]
        for offer in silent:
            tell_emergency_room(session, offer, "offer.reminded", case, eta_min=offer.eta_min)
        notify.plan(session, settings, silent, NotificationStep.REMINDED)
        tell_crew(session, case, "offer.reminded")
        if case.status is CaseStatus.OFFERING and unplaced_at <= now:  # due at the same moment
            _unplaced(session, settings, case, now)
    elif case.status is CaseStatus.OFFERING and unplaced_at <= now:
        _unplaced(session, settings, case, now)
    else:
        soon = now + timedelta(seconds=settings.scaled(1))  # woken early: nothing is due yet
        _sleep(session, case, max(_next_look(case, steps), soon))


def _next_look(case: Case, steps: EscalationSteps) -> datetime:
    """When a search asks for its next step: a reminder, the next three, or the alarm."""
    assert case.search_opened_at is not None
    assert case.round_opened_at is not None
    looks = [case.round_opened_at + timedelta(seconds=steps.widen_s)]
    if case.reminded_round < case.round:
        looks.append(case.round_opened_at + timedelta(seconds=steps.remind_s))
    if case.status is CaseStatus.OFFERING:
        looks.append(case.search_opened_at + timedelta(seconds=steps.unplaced_s))
    return min(looks)


def _missing_at_holder(session: Session, case: Case, more: list[str]) -> list[str]:
    """Of what a case has come to need, what the ER that holds it does not offer."""
    holder = access.holding_emergency_room(session, case.id)
    if holder is None or not more:
        return []
    offered = beds.capabilities(session.get_one(EmergencyRoom, holder), database.now(session))
    return [need for need in more if need not in offered]


def _next(case: Case, remind_s: float, unplaced_at: datetime, now: datetime) -> datetime:
    remind_at = now + timedelta(seconds=remind_s)
    if case.status is CaseStatus.OFFERING and unplaced_at > now:
        return min(remind_at, unplaced_at)
    return remind_at


def _sleep(session: Session, case: Case, until: datetime) -> None:
    move_case(session, case, case.status, SYSTEM, tell=None, deadline_at=until)


def _unplaced(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    """Alarm the control room and give the crew numbers to ring; offers go on."""
    assert case.round_opened_at is not None
    steps = settings.steps(case.acuity or 3)
    reminded = case.reminded_round >= case.round
    next_at = case.round_opened_at + timedelta(
        seconds=steps.widen_s if reminded else steps.remind_s
    )
    move_case(
        session,
        case,
        CaseStatus.UNPLACED,
        SYSTEM,
        tell=None,
        deadline_at=next_at if next_at > now else now + timedelta(seconds=steps.remind_s),
    )
    asked = {
        o.emergency_room_id: o
        for o in session.scalars(select(Offer).where(Offer.case_id == case.id))
    }
    rooms = session.scalars(
        select(EmergencyRoom).where(EmergencyRoom.active, EmergencyRoom.phone.is_not(None))
    ).all()
    rooms = sorted(rooms, key=lambda r: asked[r.id].eta_min or 999 if r.id in asked else 1000)
    tell_crew(
        session,
        case,
        "case.unplaced",
        phone_numbers=[
            {"name": room.name, "name_ko": room.name_ko, "phone": room.phone} for room in rooms[:6]
        ],
    )


def _remind_crew(session: Session, settings: Settings, case: Case, now: datetime) -> None:
    assert case.assigned_at is not None
    # Twice as long each time, at most a minute: loud at first, never a drum-fire.
    waited_s = max(
        (now - case.assigned_at).total_seconds(), settings.scaled(settings.acknowledge_deadline_s)
    )
    move_case(
        session,
        case,
        case.status,
        SYSTEM,
        tell=None,
        deadline_at=now + timedelta(seconds=min(waited_s, settings.scaled(60))),
    )
    tell_crew(session, case, "alarm.unacknowledged", waited_s=round(waited_s))
    events.audit(session, SYSTEM.name, "case.unacknowledged", case.id, waited_s=round(waited_s))

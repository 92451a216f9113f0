"""The crew's steps after the decision, and the facts it sends on the way.

Acknowledge, depart, arrive, close, cancel, new vitals and position. Each is idempotent: the same
step twice is one step; a step that the present state does not allow is a 409 with that state.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict
from broker.lifecycle import ON_THE_WAY_CASES, TERMINAL_CASES, CaseStatus, OfferStatus
from broker.settings import Settings
from broker.tables import Case, EmergencyRoom
from dispatch import access, advance, asking, measured, offers
from dispatch.access import SYSTEM, Actor
from dispatch.arrival import Approach
from dispatch.transition import (
    Ended,
    end_offers,
    move_case,
    tell_crew,
    tell_granted,
    tell_holder,
)
from dispatch.travel import great_circle_km, position_or_none


def acknowledge(session: Session, settings: Settings, actor: Actor, case_id: UUID) -> Case:
    """The crew confirms the ER's decision."""
    case = access.case(session, actor, case_id)
    offers.acknowledge(session, settings, actor, case, database.now(session))
    return case


def depart(session: Session, settings: Settings, actor: Actor, case_id: UUID) -> Case:
    """The crew is on the way to the ER."""
    case = access.case(session, actor, case_id)
    if case.status in {CaseStatus.EN_ROUTE, CaseStatus.ARRIVED}:
        return case
    now = database.now(session)
    if case.status is CaseStatus.ASSIGNED:  # driving there says yes more plainly than a button
        offers.acknowledge(session, settings, actor, case, now)
    _move(session, case, CaseStatus.EN_ROUTE, actor, deadline_at=_news_by(session, settings))
    return case


def arrive(session: Session, settings: Settings, actor: Actor, case_id: UUID) -> Case:
    """The ambulance is at the door."""
    case = access.case(session, actor, case_id)
    if case.status is CaseStatus.ARRIVED:
        return case
    if case.status is not CaseStatus.EN_ROUTE:
        depart(session, settings, actor, case_id)
    now = database.now(session)
    _move(
        session,
        case,
        CaseStatus.ARRIVED,
        actor,
        arrived_at=now,
        deadline_at=now + timedelta(seconds=settings.scaled(settings.arrived_close_s)),
    )
    return case


def close(session: Session, actor: Actor, case_id: UUID) -> Case:
    """The patient is handed over (crew or ER)."""
    case = access.case(session, actor, case_id)
    if case.status is not CaseStatus.CLOSED:
        _move(
            session,
            case,
            CaseStatus.CLOSED,
            actor,
            deadline_at=None,
            ended_at=database.now(session),
            ended_reason="handed over",
        )
    return case


def cancel(session: Session, actor: Actor, case_id: UUID, reason: str) -> Case:
    """Call a case off; open offers are withdrawn and whoever held it is told."""
    case = access.case(session, actor, case_id)
    if case.status is CaseStatus.CANCELLED:
        return case
    move_case(
        session,
        case,
        CaseStatus.CANCELLED,
        actor,
        tell="case.cancelled",
        deadline_at=None,
        ended_at=database.now(session),
        ended_reason=reason,
    )
    tell_granted(session, case, "case.cancelled")
    end_offers(
        session,
        case,
        asking.open_offers(session, case.id),
        OfferStatus.WITHDRAWN,
        actor,
        Ended.CASE_CANCELLED.value,
    )
    return case


def update(
    session: Session,
    settings: Settings,
    actor: Actor,
    case_id: UUID,
    *,
    changes: Mapping[str, Any],
    vitals: Mapping[str, Any] | None,
) -> Case:
    """New facts from the crew: position, level, complaint, vital signs; triage looks again."""
    case = access.case(session, actor, case_id)
    if case.status in TERMINAL_CASES:
        raise Conflict(f"the case is {case.status}", status=str(case.status))
    now = database.now(session)
    values = dict(changes)
    if "latitude" in values:
        values["position_at"] = now
    waits_for_readings = case.status is CaseStatus.RECEIVED and case.control_room_until_at is None
    if waits_for_readings and case.deadline_at and "crew_pre_ktas" in values:
        waits_until = case.received_at + advance.patience(settings, values["crew_pre_ktas"])
        values["deadline_at"] = min(case.deadline_at, waits_until)
    arrived = _approach(session, case, values, now) if "latitude" in values else False
    move_case(session, case, case.status, actor, tell=None, **values)
    if arrived:
        tell_crew(session, case, "case.seems_arrived")
        tell_holder(session, case, "case.seems_arrived")
        events.audit(session, SYSTEM.name, "case.seems_arrived", case.id)
    if vitals:
        session.add(measured.entry(session, case.id, now, vitals))
        session.flush()
        session.expire(case, ["vital_signs"])
    if vitals or {"crew_pre_ktas", "pregnant"} & values.keys():
        advance.reassess(session, settings, case, "vitals")
    else:
        tell_granted(session, case, "case.position" if "latitude" in values else "offer.amended")
        if "latitude" in values:
            facts = {"status": case.status, "version": case.version}
            events.announce(session, events.CONTROL_ROOM, "case.position", case.id, **facts)
    return case


def seems_arrived_at(case: Case) -> datetime | None:
    """Since when the crew may be asked whether it has arrived; None while there is no ground to."""
    if case.status not in ON_THE_WAY_CASES or not case.approach:
        return None
    return Approach.of_json(case.approach).arrived_at


def _approach(session: Session, case: Case, values: dict[str, Any], now: datetime) -> bool:
    """Follow the way to the ER that holds the case; True when it has just been recognised there.

    The last position before the first one counts, too: it tells where the ambulance came from.
    """
    holder = access.holding_emergency_room(session, case.id)
    if holder is None or case.status not in ON_THE_WAY_CASES:
        return False
    room = session.get_one(EmergencyRoom, holder)
    end = position_or_none(room.latitude, room.longitude)
    here = position_or_none(values["latitude"], values["longitude"])
    if end is None or here is None:
        return False
    before = Approach.of_json(case.approach) if case.approach else None
    if before is None or before.emergency_room_id != str(holder):
        before = Approach(str(holder))
        start = position_or_none(case.latitude, case.longitude)
        if start is not None and case.position_at is not None:
            before = before.seen(great_circle_km(start, end) * 1000, case.position_at)
    after = before.seen(great_circle_km(here, end) * 1000, now)
    values["approach"] = after.as_json()
    return after.arrived_at is not None and before.arrived_at is None


def _move(session: Session, case: Case, to: CaseStatus, actor: Actor, **values: Any) -> None:
    move_case(session, case, to, actor, tell=f"case.{to}", **values)
    tell_granted(session, case, f"case.{to}")


def _news_by(session: Session, settings: Settings) -> Any:
    return database.now(session) + timedelta(seconds=settings.scaled(settings.transport_deadline_s))

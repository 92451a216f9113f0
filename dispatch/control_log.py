"""What the control room did by hand for a case: took its alarm, telephoned.

Kept in the audit, which is only ever inserted and says who and when; no table of its own holds it
a second time. An alarm that is taken falls silent on every screen of the control room until its
case raises one anew. Nothing here moves a case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import events
from broker.lifecycle import LIVE_CASES
from broker.tables import AuditEntry, Case
from dispatch import access
from dispatch.access import Actor

MOST = 500
"""Entries of live cases that a screen gets at once, the newest."""


class CaseAlarm(StrEnum):
    """Why a case calls for the control room."""

    CONTROL_ROOM_CHOOSES = "control_room_chooses"
    UNPLACED = "unplaced"
    UNACKNOWLEDGED = "unacknowledged"
    FEW_SUITABLE = "few_suitable"
    NO_NEWS = "no_news"


class Did(StrEnum):
    """What an entry says; the audit's own word for it."""

    TOOK = "case.alarm_taken"
    TELEPHONED = "case.telephoned"


@dataclass(frozen=True)
class Entry:
    """One thing that somebody did."""

    case_id: UUID
    did: Did
    at: datetime
    by: str
    alarm: CaseAlarm | None
    counts: bool
    """False: the case has raised this alarm anew since it was taken."""
    to: str | None
    said: str | None


def take(session: Session, actor: Actor, case_id: UUID, alarm: CaseAlarm) -> Entry:
    """Take an alarm of a case; who takes it second is told who was first, and changes nothing."""
    case = access.case(session, actor, case_id)
    # Two who take it at once come one after the other; its version stays, for no fact changes.
    session.execute(select(Case.id).where(Case.id == case.id).with_for_update())
    for entry in reversed(_entries(session, [case])):
        if entry.did is Did.TOOK and entry.alarm is alarm and entry.counts:
            return entry
    return _write(session, actor, case, Did.TOOK, alarm=alarm.value)


def telephoned(session: Session, actor: Actor, case_id: UUID, to: str, said: str) -> Entry:
    """Write down a call: with whom, and what was said."""
    case = access.case(session, actor, case_id)
    return _write(session, actor, case, Did.TELEPHONED, to=to, said=said)


def of_live_cases(session: Session, actor: Actor) -> Sequence[Entry]:
    """Everything that was done for live cases, oldest first."""
    live = select(Case).where(access.cases_visible_to(actor), Case.status.in_(LIVE_CASES))
    return _entries(session, session.scalars(live).all())


def _write(session: Session, actor: Actor, case: Case, did: Did, **facts: Any) -> Entry:
    events.audit(session, actor.name, did, case.id, **facts)
    session.flush()
    events.announce(session, events.CONTROL_ROOM, did, case.id, alarm=facts.get("alarm"))
    return _entries(session, [case])[-1]


def _entries(session: Session, cases: Sequence[Case]) -> list[Entry]:
    by_id = {case.id: case for case in cases}
    if not by_id:
        return []
    rows = session.scalars(
        select(AuditEntry)
        .where(AuditEntry.case_id.in_(by_id), AuditEntry.action.in_(tuple(Did)))
        .order_by(AuditEntry.at.desc())
        .limit(MOST)
    )
    return [_entry(row, by_id[row.case_id]) for row in reversed(rows.all()) if row.case_id]


def _entry(row: AuditEntry, case: Case) -> Entry:
    said = row.details.get("alarm")
    alarm = CaseAlarm(said) if said else None
    # A case that was placed and lost its place again calls anew.
    since = case.assigned_at if alarm is CaseAlarm.UNACKNOWLEDGED else case.search_opened_at
    return Entry(
        case_id=case.id,
        did=Did(row.action),
        at=row.at,
        by=row.actor,
        alarm=alarm,
        counts=alarm is not None and (since is None or row.at >= since),
        to=row.details.get("to"),
        said=row.details.get("said"),
    )

"""The event log: per audience, gapless, in commit order; Redis only wakes readers.

Services queue events on their session; the write unit gives them their numbers at the very end,
locking audiences in sorted order, so that no two units can wait for each other in a circle.
Operations is no audience: it polls rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from broker import database
from broker.tables import AudienceSequence, AuditEntry, Event

CONTROL_ROOM = "control_room"
_QUEUED = "goldentime.events"
_POKE = "goldentime.poke"
_NOTED = "goldentime.noted"


def ambulance(ambulance_id: UUID) -> str:
    """Audience name of an ambulance."""
    return f"ambulance:{ambulance_id}"


def emergency_room(emergency_room_id: UUID) -> str:
    """Audience name of an ER."""
    return f"emergency_room:{emergency_room_id}"


@dataclass(frozen=True)
class Queued:
    """An event that waits for its number."""

    audience: str
    type: str
    case_id: UUID | None
    body: Mapping[str, Any]


def announce(
    session: Session, audience: str, type_: str, case_id: UUID | None, **body: Any
) -> None:
    """Queue an event for one audience; it is written when the write unit ends."""
    session.info.setdefault(_QUEUED, []).append(Queued(audience, type_, case_id, body))


def work_due(session: Session) -> None:
    """Say that rows became due for the relay, so that it is poked even without events."""
    session.info[_POKE] = True


def audit(
    session: Session,
    actor: str,
    action: str,
    case_id: UUID | None,
    *,
    patient_id: UUID | None = None,
    **details: Any,
) -> None:
    """Add an audit entry to this unit; patient_id where somebody's identity is concerned."""
    entry = AuditEntry(
        at=database.now(session),
        actor=actor,
        action=action,
        case_id=case_id,
        patient_id=patient_id,
        details=details,
    )
    noted = session.info.get(_NOTED)
    if noted is None:
        session.add(entry)
    else:
        noted.append(entry)


def note_audit(session: Session) -> list[AuditEntry]:
    """From now on entries of this session go to the list returned. For Record.look only."""
    return cast(list[AuditEntry], session.info.setdefault(_NOTED, []))


def write_queued(session: Session) -> list[str]:
    """Number and insert the queued events; returns the audiences to wake. For the write unit only.

    An empty list means that nobody needs to be poked.
    """
    queued: list[Queued] = session.info.pop(_QUEUED, [])
    due = session.info.pop(_POKE, False)
    if not queued:
        return [CONTROL_ROOM] if due else []
    session.flush()
    at = database.now(session)
    by_audience: dict[str, list[Queued]] = {}
    for item in queued:
        by_audience.setdefault(item.audience, []).append(item)
    rows: list[dict[str, Any]] = []
    for audience in sorted(by_audience):
        items = by_audience[audience]
        last = _take_numbers(session, audience, len(items))
        for seq, item in enumerate(items, start=last - len(items) + 1):
            rows.append(
                {
                    "audience": audience,
                    "seq": seq,
                    "case_id": item.case_id,
                    "type": item.type,
                    "body": dict(item.body),
                    "created_at": at,
                }
            )
    session.execute(insert(Event), rows)
    return sorted(by_audience)


def _take_numbers(session: Session, audience: str, count: int) -> int:
    """Reserve `count` numbers; the row stays locked until commit, so order is commit order."""
    take = (
        update(AudienceSequence)
        .where(AudienceSequence.audience == audience)
        .values(seq=AudienceSequence.seq + count)
        .returning(AudienceSequence.seq)
        .execution_options(synchronize_session=False)
    )
    last = session.scalar(take)
    if last is None:
        session.execute(
            database.insert(session, AudienceSequence)
            .values(audience=audience, seq=0)
            .on_conflict_do_nothing()
        )
        last = session.scalar(take)
    assert last is not None
    return last


@dataclass(frozen=True)
class Entry:
    """An event as readers get it."""

    seq: int
    type: str
    case_id: UUID | None
    body: Mapping[str, Any]
    created_at: datetime


def after(session: Session, audience: str, seq: int, limit: int = 200) -> Sequence[Entry]:
    """Events of an audience with a number above `seq`, in order."""
    rows = session.execute(
        select(Event.seq, Event.type, Event.case_id, Event.body, Event.created_at)
        .where(Event.audience == audience, Event.seq > seq)
        .order_by(Event.seq)
        .limit(limit)
    )
    return [Entry(*row) for row in rows]


def last_seq(session: Session, audience: str) -> int:
    """The newest number of an audience, 0 when nothing was ever said to it."""
    found = session.scalar(
        select(AudienceSequence.seq).where(AudienceSequence.audience == audience)
    )
    return found or 0

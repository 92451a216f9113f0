"""What the ER that holds a case asks of its crew before arrival: a few coded items and words.

Belongs to the ER's hold: once the case is given back or placed elsewhere, the next ER's count and
the old ones are shown to nobody. Earlier rows stay for the record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict
from broker.lifecycle import HELD_CASES
from broker.tables import Instructions
from dispatch import access
from dispatch.access import Actor
from dispatch.transition import move_case, tell_crew, tell_granted


class Item(StrEnum):
    """Where to come to, what to do on the way, what to bring."""

    AMBULANCE_ENTRANCE = "ambulance_entrance"
    RESUSCITATION_BAY = "resuscitation_bay"
    ISOLATION_ENTRANCE = "isolation_entrance"
    GIVE_OXYGEN = "give_oxygen"
    SIT_UPRIGHT = "sit_upright"
    LIE_FLAT = "lie_flat"
    IV_ACCESS = "iv_access"
    ECG_12_LEAD = "ecg_12_lead"
    NIL_BY_MOUTH = "nil_by_mouth"
    WEAR_MASKS = "wear_masks"
    BRING_MEDICATION = "bring_medication"
    BRING_RELATIVE = "bring_relative"


def give(
    session: Session, actor: Actor, case_id: UUID, items: Sequence[Item], note: str | None
) -> Instructions:
    """Replace what this ER asks of the crew and tell it; Conflict unless this ER holds the case.

    The same words again are the same instructions.
    """
    case = access.case(session, actor, case_id)
    holder = access.holding_emergency_room(session, case.id)
    if holder is None or holder != actor.emergency_room_id or case.status not in HELD_CASES:
        raise Conflict("only the ER that holds this case may instruct its crew")
    values = [item.value for item in items]
    before = latest(session, case.id)
    if before and (before.items, before.note) == (values, note):
        return before
    move_case(session, case, case.status, actor, tell=None)
    given = Instructions(
        case_id=case.id,
        emergency_room_id=holder,
        items=values,
        note=note,
        given_at=database.now(session),
        given_by=actor.name,
    )
    session.add(given)
    session.flush()
    events.audit(session, actor.name, "case.instructions", case.id, items=values)
    tell_crew(session, case, "case.instructions")
    return given


def latest(session: Session, case_id: UUID) -> Instructions | None:
    """What the ER that holds the case asks for now, if anything."""
    return latest_of(session, access.holders(session, [case_id])).get(case_id)


def latest_of(session: Session, holders: Mapping[UUID, UUID]) -> dict[UUID, Instructions]:
    """The same of many cases with the ER that holds each, by case."""
    found: dict[UUID, Instructions] = {}
    if not holders:
        return found
    for row in session.scalars(
        select(Instructions)
        .where(Instructions.case_id.in_(holders))
        .order_by(Instructions.given_at.desc(), Instructions.id)
    ):
        if row.emergency_room_id == holders[row.case_id]:
            found.setdefault(row.case_id, row)
    return found


def seen(session: Session, actor: Actor, case_id: UUID) -> None:
    """The crew read what is asked now; the ER is told. Twice is once, without any: Conflict."""
    case = access.case(session, actor, case_id)
    given = latest(session, case.id)
    if given is None:
        raise Conflict("this case has no instructions")
    if given.seen_at is None:
        move_case(session, case, case.status, actor, tell=None)
        given.seen_at = database.now(session)
        session.flush()
        tell_granted(session, case, "case.instructions_seen")

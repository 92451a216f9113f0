"""What the control room said about an ER for one case: ask it first (pin), or never (veto).

Rows only: who, why, when. One per case and ER; a contradiction is refused until the first word is
taken back, so that two operators cannot undo each other unseen. What follows from it is asking.py's
and assigning.py's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import DirectiveStands
from broker.lifecycle import OPEN_OFFERS, DirectiveKind
from broker.tables import Case, Directive, Offer
from dispatch.access import Actor
from dispatch.transition import tell_crew


def of_case(session: Session, case_id: UUID) -> Sequence[Directive]:
    """Every directive of a case, oldest first."""
    return of_cases(session, [case_id])[case_id]


def of_cases(session: Session, case_ids: Collection[UUID]) -> dict[UUID, list[Directive]]:
    """The same of many cases, by case."""
    found: dict[UUID, list[Directive]] = {id_: [] for id_ in case_ids}
    for row in session.scalars(
        select(Directive)
        .where(Directive.case_id.in_(found))
        .order_by(Directive.given_at, Directive.id)
    ):
        found[row.case_id].append(row)
    return found


def find(session: Session, case_id: UUID, room_id: UUID) -> Directive | None:
    """The directive about one ER, if any."""
    return session.scalars(
        select(Directive).where(
            Directive.case_id == case_id, Directive.emergency_room_id == room_id
        )
    ).one_or_none()


def vetoed(session: Session, case_id: UUID) -> frozenset[UUID]:
    """ERs that must not be asked."""
    rows = of_case(session, case_id)
    return frozenset(r.emergency_room_id for r in rows if r.kind is DirectiveKind.VETO)


def pinned(session: Session, case_id: UUID) -> frozenset[UUID]:
    """ERs that must be asked next; a pin is spent once its ER was asked, or answered, after it."""
    pins = {
        r.emergency_room_id: r.given_at
        for r in of_case(session, case_id)
        if r.kind is DirectiveKind.PIN
    }
    if not pins:
        return frozenset()
    asked = session.scalars(
        select(Offer).where(Offer.case_id == case_id, Offer.emergency_room_id.in_(pins))
    )
    spent = {
        offer.emergency_room_id
        for offer in asked
        if offer.status in OPEN_OFFERS
        or offer.offered_at >= pins[offer.emergency_room_id]
        or (offer.decided_at is not None and offer.decided_at >= pins[offer.emergency_room_id])
    }
    return frozenset(pins) - spent


def add(
    session: Session, actor: Actor, case: Case, room_id: UUID, kind: DirectiveKind, reason: str
) -> tuple[Directive, bool]:
    """Write a directive; False beside it when the same word stood already.

    The caller has changed the case row in this unit. DirectiveStands when the other word stands.
    """
    before = find(session, case.id, room_id)
    if before is not None and before.kind is kind:
        return before, False
    if before is not None:
        raise DirectiveStands(
            f"there is a {before.kind} for this ER already ({before.reason}); take it back first",
            reason=str(before.kind),
        )
    given = Directive(
        case_id=case.id,
        emergency_room_id=room_id,
        kind=kind,
        reason=reason,
        given_by=actor.name,
        given_at=database.now(session),
    )
    session.add(given)
    session.flush()
    events.audit(
        session, actor.name, f"directive.{kind}", case.id, room=str(room_id), reason=reason
    )
    tell_crew(session, case, "case.directive", kind=kind, emergency_room_id=str(room_id))
    return given, True


def remove(session: Session, actor: Actor, case: Case, room_id: UUID) -> None:
    """Take a directive back; nothing happens when there is none."""
    found = find(session, case.id, room_id)
    if found is None:
        return
    session.execute(delete(Directive).where(Directive.id == found.id))
    session.expire_all()
    events.audit(
        session, actor.name, "directive.lifted", case.id, room=str(room_id), kind=found.kind
    )
    tell_crew(session, case, "case.directive", kind=None, emergency_room_id=str(room_id))

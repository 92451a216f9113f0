"""The audit, searched: by actor, action, case and time, in pages; who searched is written, too.

Entries are only ever inserted (events.audit); nothing here changes one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, func, or_, select
from sqlalchemy.orm import Session

from broker import events
from broker.errors import Invalid
from broker.tables import AuditEntry

PAGE = 50


@dataclass(frozen=True)
class Wanted:
    """What to look for; None looks at all."""

    actor: str | None = None
    """account:<id>, device:<id> or system."""
    action: str | None = None
    """A whole action (case.viewed), or its beginning with a trailing dot (case.)."""
    case_id: UUID | None = None
    from_at: datetime | None = None
    until_at: datetime | None = None
    after: str | None = None
    """`next` of the page before."""


def search(
    session: Session, actor_name: str, wanted: Wanted
) -> tuple[Sequence[AuditEntry], str | None]:
    """A page of entries, newest first, and where the next begins; the search itself is audited."""
    query = _filtered(wanted)
    if wanted.after is not None:
        at, id_ = _position(wanted.after)
        query = query.where(or_(AuditEntry.at < at, and_(AuditEntry.at == at, AuditEntry.id < id_)))
    query = query.order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(PAGE + 1)
    queries = [query]
    if wanted.action is not None and wanted.action.endswith("."):
        # The newest of each action, then the newest of these: in one query, all that begin so would
        # be sorted, which after a year are millions.
        actions = _beginning(session, wanted.action)
        queries = [query.where(AuditEntry.action == action) for action in actions]
    found = [row for one in queries for row in session.scalars(one)]
    rows = sorted(found, key=lambda row: (row.at, row.id), reverse=True)[: PAGE + 1]
    page = rows[:PAGE]
    more = f"{page[-1].at.isoformat()}_{page[-1].id}" if len(rows) > PAGE else None
    events.audit(
        session,
        actor_name,
        "audit.searched",
        wanted.case_id,
        found=len(page),
        **_said(wanted),
    )
    return page, more


def _filtered(wanted: Wanted) -> Select[AuditEntry]:
    query = select(AuditEntry)
    if wanted.actor is not None:
        query = query.where(AuditEntry.actor == wanted.actor)
    if wanted.action is not None and not wanted.action.endswith("."):
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.case_id is not None:
        query = query.where(AuditEntry.case_id == wanted.case_id)
    if wanted.from_at is not None:
        query = query.where(AuditEntry.at >= wanted.from_at)
    if wanted.until_at is not None:
        query = query.where(AuditEntry.at < wanted.until_at)
    return query


def _beginning(session: Session, beginning: str) -> Iterator[str]:
    """Every action that begins so, each found by one step along the index."""
    after, end = AuditEntry.action >= beginning, AuditEntry.action < beginning[:-1] + "/"
    while (
        found := session.scalar(select(func.min(AuditEntry.action)).where(after, end))
    ) is not None:
        yield found
        after = AuditEntry.action > found


def _position(text: str) -> tuple[datetime, UUID]:
    at, _, id_ = text.partition("_")
    try:
        position = datetime.fromisoformat(at), UUID(id_)
    except ValueError:
        position = None
    if position is None or position[0].tzinfo is None:
        raise Invalid("`after` is the `next` of the page before", field="after")
    return position


def _said(wanted: Wanted) -> dict[str, Any]:
    """The filters that were set, as plain text; the case stands in its own column."""
    facts = {
        "actor": wanted.actor,
        "action": wanted.action,
        "from_at": wanted.from_at and wanted.from_at.isoformat(),
        "until_at": wanted.until_at and wanted.until_at.isoformat(),
        "after": wanted.after,
    }
    return {f"by_{name}": fact for name, fact in facts.items() if fact is not None}

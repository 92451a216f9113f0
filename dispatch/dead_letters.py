"""Dead letters: readings that gave up, until operations try them again or put them away.

The case went on without them long ago (reading.py); nothing here is clinical, and each step is
audited.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from broker import database, events
from broker.errors import Conflict, LostRace, NotFound
from broker.lifecycle import CaseStatus, ReadingStatus
from broker.tables import Case, Image, Reading
from dispatch import assessing


def requeue(session: Session, actor_name: str, case: Case) -> list[UUID]:
    """Let failed readings of a case be tried again from the first attempt (operations)."""
    image = assessing.current_image(session, case.id)
    if image is None:
        return []
    again = session.scalars(
        update(Reading)
        .where(Reading.image_id == image.id, Reading.status == ReadingStatus.FAILED)
        .values(
            status=ReadingStatus.PENDING,
            attempt=0,
            finished_at=None,
            due_at=database.now(session),
            closed_at=None,
        )
        .returning(Reading.id)
        .execution_options(synchronize_session=False)
    ).all()
    events.audit(session, actor_name, "case.requeue", case.id, readings=[str(i) for i in again])
    events.work_due(session)
    return list(again)


def still_open(session: Session, limit: int = 200) -> list[dict[str, Any]]:
    """Readings that gave up and that nobody closed, the latest first; nothing clinical."""
    rows = session.execute(
        select(Reading, Case.status)
        .join(Case, Case.id == Reading.case_id)
        .where(Reading.status == ReadingStatus.FAILED, Reading.closed_at.is_(None))
        .order_by(Reading.finished_at.desc())
        .limit(limit)
    )
    return [_dead_letter(reading, status) for reading, status in rows]


def replay(
    session: Session, actor_name: str, reading_id: UUID, *, dry_run: bool
) -> tuple[dict[str, Any], str]:
    """Try a dead letter again from its first attempt, or (dry run) only say what would be tried.

    Returns the dead letter and the hash of the film that is read. NotFound when there is no such
    reading, Conflict when it is no dead letter.
    """
    reading, status, film = _find_dead(session, reading_id)
    found = _dead_letter(reading, status)
    if not dry_run:
        _leave_dead(
            session,
            reading,
            status=ReadingStatus.PENDING,
            attempt=0,
            finished_at=None,
            closed_at=None,
            due_at=database.now(session),
        )
        events.audit(
            session, actor_name, "reading.replayed", reading.case_id, reading_id=str(reading_id)
        )
        events.work_due(session)
    return found, film


def close(session: Session, actor_name: str, reading_id: UUID) -> dict[str, Any]:
    """Put a dead letter away: somebody looked at it. A second call changes nothing."""
    reading, status, _ = _find_dead(session, reading_id)
    if reading.closed_at is None:
        _leave_dead(session, reading, closed_at=database.now(session))
        events.audit(
            session, actor_name, "reading.closed", reading.case_id, reading_id=str(reading_id)
        )
    return _dead_letter(reading, status)


def _find_dead(session: Session, reading_id: UUID) -> tuple[Reading, CaseStatus, str]:
    row = session.execute(
        select(Reading, Case.status, Image.rendition_sha256)
        .join(Case, Case.id == Reading.case_id)
        .join(Image, Image.id == Reading.image_id)
        .where(Reading.id == reading_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no reading {reading_id}")
    reading, status, film = row
    if reading.status is not ReadingStatus.FAILED:
        raise Conflict(f"this reading is {reading.status}; it is no dead letter")
    return reading, status, film


def _leave_dead(session: Session, reading: Reading, **values: Any) -> None:
    won = database.changed(
        session,
        update(Reading)
        .where(Reading.id == reading.id, Reading.status == ReadingStatus.FAILED)
        .values(**values),
    )
    if won != 1:
        raise LostRace(reading_id=str(reading.id))


def _dead_letter(reading: Reading, status: CaseStatus) -> dict[str, Any]:
    return {
        "reading_id": reading.id,
        "case_id": reading.case_id,
        "case_status": status,
        "kind": reading.kind,
        "attempts": reading.attempt,
        "error_code": reading.error_code,
        "error": reading.error,
        "created_at": reading.created_at,
        "finished_at": reading.finished_at,
    }

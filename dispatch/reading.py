"""Readings: who works on which film, and what one model found.

A claim bumps the attempt BEFORE the film is opened; the attempt is the fencing token: a worker that
lost its lease cannot write. The second reading to finish moves the case on. What gave up for good
is dead_letters.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from broker import database, events, pauses
from broker.errors import LeaseLost
from broker.lifecycle import CaseStatus, ReadingKind, ReadingStatus
from broker.queues import Queue
from broker.settings import Settings
from broker.tables import Case, Finding, Image, Reading
from dispatch import advance
from dispatch.access import SYSTEM
from dispatch.transition import move_case

TOO_MANY_ATTEMPTS = "too_many_attempts"
WORKER_LOST = "worker_lost"


@dataclass(frozen=True)
class Claim:
    """One worker's right to read one film for the length of its lease."""

    reading_id: UUID
    attempt: int
    case_id: UUID
    rendition_sha256: str
    model_version: str
    scale_x: float
    """Pixels of the original film per pixel of the rendition."""
    scale_y: float


@dataclass(frozen=True)
class Found:
    """A label's score, or a box in pixels of the original film."""

    label: str
    score: float
    above_threshold: bool
    box: tuple[float, float, float, float] | None = None


def claim(session: Session, settings: Settings, kind: ReadingKind, owner: str) -> Claim | None:
    """Take the most urgent reading of a kind that waits, or None when nothing does or may."""
    urgency = func.coalesce(Case.acuity, Case.crew_pre_ktas, 3)
    now = database.now(session)
    row = session.execute(
        select(Reading, Image)
        .join(Image, Image.id == Reading.image_id)
        .join(Case, Case.id == Reading.case_id)
        .where(database.not_sought(Reading.kind) == kind, Reading.status == ReadingStatus.PENDING)
        .where(~pauses.holds(Queue(kind.value), now))
        # Among equals a film that already cost a worker waits: it may be the film's own doing.
        .order_by(urgency, Reading.attempt, Reading.created_at)
        .limit(1)
        .with_for_update(of=Reading, skip_locked=True)
    ).first()
    if row is None:
        return None
    reading, image = row
    attempt = reading.attempt + 1
    won = database.changed(
        session,
        update(Reading)
        .where(
            Reading.id == reading.id,
            Reading.status == ReadingStatus.PENDING,
            Reading.attempt == reading.attempt,
        )
        .values(
            status=ReadingStatus.RUNNING,
            attempt=attempt,
            lease_owner=owner,
            lease_until_at=now + _lease(settings),
            claimed_at=now,
        ),
    )
    if won != 1:
        return None
    return Claim(
        reading_id=reading.id,
        attempt=attempt,
        case_id=reading.case_id,
        rendition_sha256=image.rendition_sha256,
        model_version=reading.model_version,
        scale_x=image.width_px / image.rendition_width_px,
        scale_y=image.height_px / image.rendition_height_px,
    )


def ring_again(session: Session, reading_id: UUID) -> None:
    """Make a reading due at once whose bell another film answered, if it still waits.

    Films are claimed by urgency and age, not by bell: one that was committed later but is older
    takes the bell of another, whose next would come with the sweep, seconds later.
    """
    now = database.now(session)
    waits = update(Reading).where(
        Reading.id == reading_id, Reading.status == ReadingStatus.PENDING, Reading.due_at > now
    )
    if database.changed(session, waits.values(due_at=now)):
        events.work_due(session)


def renew(session: Session, settings: Settings, claim: Claim) -> None:
    """Lengthen the lease, or raise LeaseLost."""
    _mine(session, claim, lease_until_at=database.now(session) + _lease(settings))


def done(
    session: Session,
    settings: Settings,
    claim: Claim,
    found: Sequence[Found],
    model: dict[str, Any],
    seconds: dict[str, float],
) -> None:
    """Write what a model found and move the case on; LeaseLost when the claim is no longer ours."""
    _mine(
        session,
        claim,
        status=ReadingStatus.DONE,
        lease_owner=None,
        lease_until_at=None,
        finished_at=database.now(session),
        model=model,
        seconds=seconds,
    )
    session.add_all(
        Finding(
            reading_id=claim.reading_id,
            rank=rank,
            label=item.label,
            score=item.score,
            above_threshold=item.above_threshold,
            **dict(zip(("x0", "y0", "x1", "y1"), item.box or (None,) * 4, strict=True)),
        )
        for rank, item in enumerate(found, start=1)
    )
    session.flush()
    _move_on(session, settings, claim.case_id)


def failed(session: Session, settings: Settings, claim: Claim, code: str, message: str) -> None:
    """Note that a try went wrong: again while tries are left, else a dead letter.

    One reader that ended may be an accident, and its film is read again at once.
    """
    if claim.attempt < settings.reading_attempts:
        at_once = code == WORKER_LOST and claim.attempt == 1
        _mine(
            session,
            claim,
            status=ReadingStatus.PENDING,
            lease_owner=None,
            lease_until_at=None,
            due_at=database.now(session) + timedelta(seconds=0 if at_once else settings.scaled(1)),
            error_code=code,
            error=message[:500],
        )
        if at_once:
            events.work_due(session)
        return
    _mine(session, claim, **_dead(session, code, message))
    _note_dead(session, claim.reading_id, claim.case_id, code)
    _move_on(session, settings, claim.case_id, review=True)


def silent(session: Session) -> Sequence[UUID]:
    """Readings whose worker let its lease run out."""
    return session.scalars(
        select(Reading.id).where(
            Reading.status == ReadingStatus.RUNNING,
            Reading.lease_until_at <= database.now(session),
        )
    ).all()


def owners(session: Session, kind: ReadingKind) -> Sequence[str]:
    """Workers that hold a lease on a reading of a kind just now."""
    found = session.scalars(
        select(Reading.lease_owner).where(
            Reading.kind == kind,
            Reading.status == ReadingStatus.RUNNING,
            Reading.lease_owner.is_not(None),
        )
    )
    return [owner for owner in found if owner]


def let_go(session: Session, owner: str) -> Sequence[UUID]:
    """End the leases of a worker that is known to be no more; its readings can be rescued then."""
    now = database.now(session)
    return session.scalars(
        update(Reading)
        .where(Reading.status == ReadingStatus.RUNNING, Reading.lease_owner == owner)
        .values(lease_until_at=now)
        .returning(Reading.id)
        .execution_options(synchronize_session=False)
    ).all()


def rescue(session: Session, settings: Settings, reading_id: UUID) -> bool:
    """Give a silent worker's reading back to the queue; False when there is nothing to rescue.

    One reading per write unit: two of one case in one unit could wait in a circle with the worker
    of the second, which writes its reading first and the case after it.
    """
    now = database.now(session)
    reading = session.get(Reading, reading_id)
    if reading is None:
        return False
    last = reading.attempt >= settings.reading_attempts
    values: dict[str, Any] = (
        _dead(session, TOO_MANY_ATTEMPTS, f"its worker died {reading.attempt} times")
        if last
        else {
            "status": ReadingStatus.PENDING,
            "lease_owner": None,
            "lease_until_at": None,
            "due_at": now,
            "error_code": WORKER_LOST,
            "error": f"worker {reading.lease_owner} fell silent",
        }
    )
    won = database.changed(
        session,
        update(Reading)
        .where(
            Reading.id == reading.id,
            Reading.status == ReadingStatus.RUNNING,
            Reading.attempt == reading.attempt,
            Reading.lease_until_at <= now,
        )
        .values(**values),
    )
    if won != 1:
        return False
    session.refresh(reading)  # advance must see how it ended
    events.work_due(session)
    if last:
        _note_dead(session, reading.id, reading.case_id, TOO_MANY_ATTEMPTS)
        _move_on(session, settings, reading.case_id, review=True)
    return True


def _mine(session: Session, claim: Claim, **values: Any) -> None:
    won = database.changed(
        session,
        update(Reading)
        .where(
            Reading.id == claim.reading_id,
            Reading.status == ReadingStatus.RUNNING,
            Reading.attempt == claim.attempt,
        )
        .values(**values),
    )
    if won != 1:
        raise LeaseLost(reading_id=str(claim.reading_id))


def _dead(session: Session, code: str, message: str) -> dict[str, Any]:
    return {
        "status": ReadingStatus.FAILED,
        "lease_owner": None,
        "lease_until_at": None,
        "finished_at": database.now(session),
        "error_code": code,
        "error": message[:500],
    }


def _note_dead(session: Session, reading_id: UUID, case_id: UUID, code: str) -> None:
    events.audit(
        session, SYSTEM.name, "reading.failed", case_id, reading_id=str(reading_id), code=code
    )


def _move_on(session: Session, settings: Settings, case_id: UUID, *, review: bool = False) -> None:
    """Change the case row in this unit, so that two readings that end together see each other."""
    case = session.get(Case, case_id, populate_existing=True)
    if case is None or case.deadline_at is None:
        return
    values: dict[str, Any] = {"needs_review": True} if review else {}
    move_case(session, case, case.status, SYSTEM, tell=None, **values)
    if case.status is CaseStatus.RECEIVED and case.control_room_until_at is None:
        advance.advance(session, settings, case_id)
    else:
        advance.reassess(session, settings, case, "reading")


def _lease(settings: Settings) -> timedelta:
    return timedelta(seconds=settings.reading_lease_s)
